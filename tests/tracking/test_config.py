"""`TrackConfig`: what contradicts itself is refused, and what is left out is filled in."""

from __future__ import annotations

from pathlib import Path

import pytest
from unitrack_edge.errors import RequestError
from unitrack_edge.heads.config import (
    MotConfig,
    MotsConfig,
    PoseConfig,
    PosetrackConfig,
    SotConfig,
    VosConfig,
)
from unitrack_edge.tracking.config import (
    DetectorConfig,
    RunConfig,
    SourceConfig,
    TrackConfig,
    default_output,
)
from unitrack_edge.tracking.report import config_data

MOT, SOT, VOS = MotConfig(), SotConfig(), VosConfig()
DETECTED = SourceConfig("clip.mp4", init="detect:car")
DETECTED_IN_FILE = SourceConfig("clip.mp4", init="detect", detections=Path("det.txt"))
CLIP, PROMPTED = SourceConfig("clip.mp4"), SourceConfig("clip.mp4", init="1,2,3,4")
FILE = SourceConfig("clip.mp4", detections=Path("det.txt"))
MOTION, MODEL = DetectorConfig("motion"), DetectorConfig("yolox.onnx")


@pytest.mark.parametrize(
    ("sources", "tasks", "detector", "message"),
    [
        ((), (MOT,), MOTION, "nothing to track"),
        ((CLIP,), (), MOTION, "nothing to track"),
        ((CLIP,), (SOT,), DetectorConfig(), r"task sot starts from .*--init X,Y,W,H"),
        ((PROMPTED, CLIP), (VOS,), DetectorConfig(), "task vos starts from"),
        ((PROMPTED,), (SOT,), MOTION, "task sot takes no detections"),
        ((PROMPTED,), (MOT,), MOTION, "task mot takes no --init"),
        ((FILE, CLIP), (MOT,), DetectorConfig(), "clip.mp4 has no --detections and other sources"),
        ((FILE,), (MOT,), DetectorConfig(detector_confidence=0.1), "belong to --detector MODEL"),
        ((PROMPTED,), (SOT,), DetectorConfig(detector_classes="0"), "belong to --detector MODEL"),
        ((FILE,), (MOT,), MOTION, "got both"),
        ((CLIP,), (MOT,), DetectorConfig("motion", Path("p.onnx")), "--pose-model belongs to"),
        ((FILE,), (MOT,), DetectorConfig(mask_model=Path("m.onnx")), "--mask-model belongs to"),
        ((CLIP,), (PosetrackConfig(),), MOTION, "add --pose-model"),
        ((CLIP,), (MotsConfig(),), MODEL, "add --mask-model"),
        ((DETECTED,), (PoseConfig(),), MOTION, "task pose tracks poses.*add --pose-model"),
        ((DETECTED,), (MOT,), MOTION, "task mot takes no --init"),
        (
            (PROMPTED,),
            (PoseConfig(),),
            DetectorConfig(pose_model=Path("p")),
            "--pose-model belongs",
        ),
        ((PROMPTED,), (SOT,), DetectorConfig(detect_every="2"), "--detect-every belongs to"),
    ],
)
def test_contradictions_name_the_flags(sources, tasks, detector, message):
    with pytest.raises(RequestError, match=message):
        TrackConfig(sources, tasks, RunConfig(), detector)


@pytest.mark.parametrize(
    ("sources", "tasks", "run", "detector"),
    [
        ((CLIP,), (MOT,), RunConfig(), MOTION),
        ((FILE,), (MOT, MotsConfig()), RunConfig(), DetectorConfig(mask_model=Path("m.onnx"))),
        ((CLIP,), (MotsConfig(),), RunConfig(), MOTION),
        ((PROMPTED,), (MOT, VOS), RunConfig(), MOTION),
        ((CLIP,), (SOT,), RunConfig(serve="8080"), DetectorConfig()),
        ((CLIP,), (MOT,), RunConfig(), DetectorConfig(detector_confidence=0.1)),
        ((CLIP,), (PosetrackConfig(),), RunConfig(), DetectorConfig(pose_model=Path("p.onnx"))),
        ((CLIP,), (PosetrackConfig(),), RunConfig(), DetectorConfig("movenet")),
    ],
)
def test_what_fits_together(sources, tasks, run, detector):
    assert TrackConfig(sources, tasks, run, detector).task_names == tuple(t.task for t in tasks)


@pytest.mark.parametrize(
    ("sources", "tasks", "given", "detector"),
    [
        ((CLIP,), (MOT,), DetectorConfig(), DetectorConfig("movenet")),
        ((CLIP,), (PosetrackConfig(),), DetectorConfig(), DetectorConfig("movenet")),
        ((PROMPTED,), (MOT, SOT), DetectorConfig(), DetectorConfig("movenet")),
        (
            *((CLIP,), (MotsConfig(), MOT), DetectorConfig()),
            DetectorConfig("movenet", mask_model=Path("blazepose")),
        ),
        (
            *((CLIP,), (MotsConfig(),), DetectorConfig("movenet", mask_model=Path("m.onnx"))),
            DetectorConfig("movenet", mask_model=Path("m.onnx")),
        ),
        ((CLIP,), (MotsConfig(),), MOTION, MOTION),
        ((FILE,), (MOT, MotsConfig()), DetectorConfig(), DetectorConfig()),
        ((PROMPTED,), (SOT,), DetectorConfig(), DetectorConfig()),
        ((DETECTED,), (SOT,), DetectorConfig(), DetectorConfig("movenet")),
        ((DETECTED,), (PoseConfig(),), DetectorConfig(), DetectorConfig("movenet")),
        ((DETECTED, PROMPTED), (VOS,), DetectorConfig(), DetectorConfig("movenet")),
        ((DETECTED_IN_FILE,), (SOT,), DetectorConfig(), DetectorConfig()),
    ],
)
def test_default_models(sources, tasks, given, detector):
    config = TrackConfig(sources, tasks, RunConfig(), given)
    assert config.detector == detector
    assert config_data(config)["detector"].get("detector") == detector.detector


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RunConfig(bundle=Path("b"), backbone="vfs-r18"), "give one of them"),
        (lambda: RunConfig(max_frames=0), "--max-frames 0"),
        (lambda: RunConfig(segment_minutes=0.0), "--segment 0"),
        (lambda: SourceConfig("a", detections_class="car"), "belongs to --detections FILE"),
        (lambda: SourceConfig("a", freeze_s=0.0), "--reconnect-after 0"),
        (lambda: SourceConfig("a", give_up_s=-1.0), "--give-up -1"),
        (lambda: DetectorConfig(detect_every="0"), "--detect-every 0: expected a number"),
        (lambda: DetectorConfig(detect_every="often"), "--detect-every often"),
        (lambda: DetectorConfig("motion", detector_confidence=0.1), "belong to --detector MODEL"),
        (lambda: DetectorConfig("m.onnx", detector_size="640"), "expected HEIGHTxWIDTH"),
        (lambda: DetectorConfig("m.onnx", detector_size="16x640"), "of 32 to 8192"),
        (lambda: DetectorConfig("motion", detector_names=Path("n.txt")), "--detector-names"),
        (
            lambda: DetectorConfig("m.onnx", detector_classes="cat,"),
            "expected names or numbers",
        ),
    ],
)
def test_values_out_of_range(make, message):
    with pytest.raises(RequestError, match=message):
        make()


def test_default_output_is_the_first_that_is_free(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_output(["a/street.mp4"], "mot") == Path("runs/street-mot")
    Path("runs/street-mot").mkdir(parents=True)
    Path("runs/street-mot-2").mkdir()
    assert default_output(["a/street.mp4"], "mot") == Path("runs/street-mot-3")
    assert default_output(["a", "b"], "mot-vos") == Path("runs/2-sources-mot-vos")
    assert default_output(["a/street.mp4"], "mot", overwrite=True) == Path("runs/street-mot")
