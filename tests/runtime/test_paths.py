"""Pipes and devices in place of files: an error at once, never a wait or an endless read."""

import os
import threading

import pytest
from unitrack_edge.errors import DetectionError, RequestError, SourceError
from unitrack_edge.runtime.detectors.classes import read_names
from unitrack_edge.runtime.formats.davis import read_label_png
from unitrack_edge.runtime.formats.detections import open_detections
from unitrack_edge.runtime.formats.keypoints import load_json
from unitrack_edge.runtime.formats.mot import read_mot_rows
from unitrack_edge.runtime.formats.otb import read_otb_boxes
from unitrack_edge.runtime.sources.open import open_source
from unitrack_edge.tracking.config_file import read_config

READERS = {
    "video": (lambda path: open_source(str(path)), "x.mp4", SourceError),
    "image": (lambda path: open_source(str(path)), "x.png", SourceError),
    "detections": (open_detections, "det.txt", DetectionError),
    "JSON": (open_detections, "det.json", DetectionError),
    "rows": (lambda path: list(read_mot_rows(path)), "det.txt", DetectionError),
    "poses": (load_json, "poses.json", DetectionError),
    "boxes": (read_otb_boxes, "init.txt", DetectionError),
    "mask": (read_label_png, "init.png", DetectionError),
    "names": (lambda path: read_names(path, None), "names.txt", DetectionError),
    "config": (read_config, "run.yaml", RequestError),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_refused_at_once(name, tmp_path):
    read, file, failure = READERS[name]
    path = tmp_path / file
    os.mkfifo(path)
    # Without the check, opening would wait for a writer: this one ends it, with nothing in it.
    late = threading.Timer(2.0, lambda: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK)))
    late.start()
    try:
        with pytest.raises(failure, match="a pipe, a socket or a device; expected a file"):
            read(path)
    finally:
        late.cancel()


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_video(name):
    with pytest.raises(SourceError, match="expected a file"):
        open_source(name)
