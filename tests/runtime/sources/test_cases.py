"""Files that failed once, where they lie beside the repository; each stands for a kind."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.runtime.formats.detections import open_detections
from unitrack_edge.runtime.prompts.mask import labels_to_start
from unitrack_edge.runtime.sources.image_files.numbering import numbered
from unitrack_edge.runtime.sources.open import open_source

from ...conftest import DATA


@pytest.fixture
def cases():
    folder = DATA.parent / "cases"
    if not folder.is_dir():
        pytest.skip("no folder 'cases' beside that of real sequences")
    return folder


@pytest.mark.parametrize(
    ("name", "count", "end_s"),
    [("vfr.mkv", 20, 4.0), ("c_av1.mkv", 6, None), ("anim.png", 6, None)],
)
def test_every_frame_at_its_time(cases, name, count, end_s):
    with open_source(str(cases / name)) as source:
        frames = list(source)
        assert (source.ended_early, source.notes()) == (None, [])
    assert len(frames) == count
    times = [frame.time_s for frame in frames]
    assert (np.diff(times) > 0).all()
    assert end_s is None or times[-1] == pytest.approx(end_s, abs=0.001)


def test_a_half_with_the_detections_of_the_whole(cases):
    with (
        open_source(str(cases / "half")) as source,
        open_detections(cases / "small_det.txt") as detector,
    ):
        files = [("small_det.txt", detector.numbered_frames())]
        frames = list(numbered(source, None, files))
        assert [frame.index for frame in frames] == [3, 4, 5]
        assert [len(detector.detect(frame)) for frame in frames] == [2, 2, 2]


def test_void_is_no_object(cases):
    with open_source(str(cases / "small.mp4")) as source:
        labels, _ = labels_to_start(str(cases / "mask_void.png"), source.info.size_hw)
    assert 255 not in labels
    assert labels.any()
