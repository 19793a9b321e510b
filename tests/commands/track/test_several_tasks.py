"""Several tasks over one source: one pass of the backbone a frame, the same results as alone."""

from __future__ import annotations

import pytest
from unitrack_edge.evaluation.synthetic.files import write_scene
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.runtime.detectors.motion import MotionDetector
from unitrack_edge.runtime.inference.runner import GraphRunner

from ...support.command_line import report_of, run_cli

FRAMES = 5


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    config = SceneConfig(frames=FRAMES, height=160, width=288, objects=3)
    return write_scene(Scene(config), tmp_path_factory.mktemp("multitask") / "clip")


def track(clip, bundle, output, *tasks, **options):
    words = [word for task in tasks for word in ("--task", task)]
    for name, value in {"init": clip.init_mask, "detections": clip.detections, **options}.items():
        if value is not None:
            words += [f"--{name}", str(value)]
    sizes = ["--mot-height", "160", "--mot-width", "288"] if "mot" in tasks else []
    run_cli("track", clip.source, *words, *sizes, "--bundle", bundle.path, "--output", output)
    return report_of(output)


def test_two_tasks_run_the_backbone_once_a_frame(clip, lite_bundle, tmp_path, monkeypatch):
    calls = []
    run = GraphRunner.run
    monkeypatch.setattr(
        GraphRunner,
        "run",
        lambda self, graph, *feeds: calls.append(graph) or run(self, graph, *feeds),
    )
    whole = {"vos-focus": "off", "mot-appearance": "always"}
    report = track(clip, lite_bundle, tmp_path / "both", "mot", "vos", **whole)
    assert report["frames"] == FRAMES
    assert calls.count("backbone") == FRAMES
    assert {"box_features", "propagate_labels"} <= set(calls)


MOVING = SceneConfig(frames=16, height=160, width=288, objects=3)
BY_MOTION = {"init": None, "detections": None, "detector": "motion"}


@pytest.fixture
def looked(monkeypatch):
    """The frames that the motion detector looks at, as often as it does."""
    frames, detect = [], MotionDetector.detect
    monkeypatch.setattr(
        MotionDetector,
        "detect",
        lambda self, frame: frames.append(frame.index) or detect(self, frame),
    )
    return frames


def test_tasks_that_want_the_same_share_a_detector(lite_bundle, tmp_path, looked):
    clip = write_scene(Scene(MOVING), tmp_path / "clip")
    track(clip, lite_bundle, tmp_path / "both", "mot", "mots", **BY_MOTION)
    assert looked == list(range(16))
    for task in ("mot", "mots"):
        track(clip, lite_bundle, tmp_path / task, task, **BY_MOTION)
        alone = (tmp_path / task / "tracks.txt").read_bytes()
        assert alone
        assert (tmp_path / "both" / task / "tracks.txt").read_bytes() == alone


def test_a_model_of_masks_looks_at_the_boxes_of_the_other_task(lite_bundle, tmp_path, looked):
    """The mask model is of `mots` alone: what finds the boxes is still shared."""
    pytest.importorskip("onnx")
    from ...support.models.person_networks import red_mask

    clip = write_scene(Scene(MOVING), tmp_path / "clip")
    models = {"mask-model": red_mask(tmp_path / "mask.onnx")}
    both = track(clip, lite_bundle, tmp_path / "both", "mot", "mots", **BY_MOTION, **models)
    assert looked == list(range(16))
    for task, more in (("mot", {}), ("mots", models)):
        alone = track(clip, lite_bundle, tmp_path / task, task, **BY_MOTION, **more)
        rows = (tmp_path / task / "tracks.txt").read_bytes()
        assert (tmp_path / "both" / task / "tracks.txt").read_bytes() == rows
        assert both["tasks"][task]["dropped"] == alone["tasks"][task]["dropped"]


def test_two_tasks_give_what_each_gives_alone(clip, lite_bundle, tmp_path):
    both = tmp_path / "both"
    track(clip, lite_bundle, both, "mot", "vos")
    track(clip, lite_bundle, tmp_path / "mot", "mot", init=None)
    track(clip, lite_bundle, tmp_path / "vos", "vos", detections=None)
    rows = (both / "mot" / "tracks.txt").read_bytes()
    assert rows
    assert rows == (tmp_path / "mot" / "tracks.txt").read_bytes()
    names = sorted(path.name for path in (tmp_path / "vos" / "masks").iterdir())
    assert len(names) == FRAMES
    for name in names:
        alone = (tmp_path / "vos" / "masks" / name).read_bytes()
        assert (both / "vos" / "masks" / name).read_bytes() == alone


def test_what_no_task_takes_is_refused(clip, lite_bundle):
    words = ("--task", "vos", "--task", "pose", "--init", str(clip.init_mask))
    message = run_cli(
        "track", clip.source, *words, "--detector", "motion", "--bundle", lite_bundle.path, status=2
    )
    assert "no detections" in str(message)


def test_what_is_left_out_is_said_with_its_task(clip, quick_bundle, tmp_path):
    words = ("--detections", clip.detections, "--bundle", quick_bundle.path)
    few = ("--mot-confidence", "1", "--mot-start-confidence", "1", "--mot-low-confidence", "0.999")
    said = run_cli("track", clip.source, "--task", "mot", *words, *few, "--output", tmp_path / "1")
    assert "note: mot: " not in said
    box = ("--task", "sot", "--init", "20,20,30,30")
    both = run_cli(
        "track", clip.source, "--task", "mot", *box, *words, *few, "--output", tmp_path / "2"
    )
    lines = [line for line in said.splitlines() if "--mot-low-confidence" in line]
    assert lines
    assert all(line.replace("note: ", "note: mot: ") in both for line in lines)
