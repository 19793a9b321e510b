"""`cli track`: what it writes, and one clear line for everything that is wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from unitrack_edge.commands.console import bundles
from unitrack_edge.evaluation.synthetic.files import write_scene
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.heads.config import MotConfig
from unitrack_edge.runtime.bundle.bundle import SPEC_FILE
from unitrack_edge.runtime.drawing.colors import davis_palette
from unitrack_edge.runtime.formats.davis import encode_palette_png, read_label_png
from unitrack_edge.tracking.config import default_output

from ..support.command_line import check_error, report_of, rows_of, run_cli, video_of

FRAMES, HEIGHT, WIDTH = 12, 96, 160
NETWORK = ("--mot-height", HEIGHT, "--mot-width", WIDTH)
STAGES = ("read", "letterbox", "backbone", "head", "latency", "write")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    config = SceneConfig(frames=FRAMES, height=HEIGHT, width=WIDTH, objects=3)
    return write_scene(Scene(config), tmp_path_factory.mktemp("cli") / "clip")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The same clip as images."""
    config = SceneConfig(frames=FRAMES, height=HEIGHT, width=WIDTH, objects=3)
    return write_scene(Scene(config), tmp_path_factory.mktemp("cli") / "images", form="images")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Runs happen in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mot(clip, quick_bundle, here):
    """Runs task mot into a folder; keywords stand for other options."""

    def run(*more, source=clip.source, detections=clip.detections, bundle=quick_bundle.path, **kw):
        output = kw.pop("output", here / "out")
        seen = () if detections is None else ("--detections", detections)
        options = ("--task", "mot", "--bundle", bundle, *seen, "--output", output, *NETWORK)
        return run_cli("track", source, *options, *more, **kw)

    return run


@pytest.fixture
def vos(clip, lite_bundle, here):
    def run(*more, source=clip.source, init=clip.init_mask, output=here / "out", **kw):
        options = ("--task", "vos", "--bundle", lite_bundle.path, "--output", output)
        return run_cli("track", source, *options, "--init", init, *more, **kw)

    return run


# What is written.


def test_mot_from_a_file_of_detections(mot, here, clip):
    said = mot("--save-video")
    out = here / "out"
    assert {path.name for path in out.iterdir()} == {"tracks.txt", "video.mp4", "run.json"}
    rows = rows_of(out)
    assert len(np.unique(rows[:, 1])) == 3
    assert (np.diff(rows[:, 0]) >= 0).all()
    assert rows[0, 0] == 1
    assert rows[-1, 0] == FRAMES
    assert len(np.unique(rows[:, :2], axis=0)) == len(rows)
    report = report_of(out)
    assert (report["frames"], report["identities"]) == (FRAMES, 3)
    assert f"{FRAMES} frames" in said
    assert str(out) in said
    video = video_of(out / "video.mp4")
    assert video.shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert cv2.VideoCapture(str(out / "video.mp4")).get(cv2.CAP_PROP_FPS) == 25
    # Something is drawn: colours far from those of the clip.
    plain = video_of(clip.source).astype(int)
    assert np.abs(video.astype(int) - plain).max(axis=(1, 2, 3)).min() > 80


def test_the_report_says_how_it_went(mot, here, quick_bundle):
    mot("--max-frames", 6)
    report = report_of(here / "out")
    assert report["frames"] == 6
    assert report["backend"]["asked"] == "cpu"
    assert report["backend"]["in_use"]["backbone"] == "CPUExecutionProvider"
    assert {"rsm", "box_features"} <= set(report["backend"]["in_use"])
    assert set(report["stages_ms"]) >= {*STAGES, "detect"}
    for stage in report["stages_ms"].values():
        assert 0 <= stage["p50"] <= stage["p95"] <= stage["p99"]
    assert report["fps"] == pytest.approx(6 / report["elapsed_s"], rel=0.05)
    assert report["source"]["dropped"] == 0
    assert report["source"]["size_hw"] == [HEIGHT, WIDTH]
    assert report["peak_memory_mb"] > 20
    assert {"python", "numpy", "onnxruntime"} <= set(report["versions"])
    assert report["bundle"]["backbone"] == quick_bundle.spec.backbone
    assert report["bundle"]["sha256"]["backbone"] == quick_bundle.spec.graphs["backbone"].sha256
    assert (report["interrupted"], report["error"], report["notes"]) == (False, None, [])


def test_parameters_of_the_command_line_reach_the_head(mot, here):
    mot("--mot-preset", "unitrack", "--mot-buffer", 7.5, "--mot-no-use-motion")
    text = (here / "out" / "run.json").read_text()
    assert '"buffer": 7.5' in text
    assert '"use_motion": false' in text
    assert '"preset": "unitrack"' in text
    assert f'"cost_limit": {MotConfig(preset="unitrack").cost_limit}' in text


def test_motion_before_a_still_camera(quick_bundle, here):
    config = SceneConfig(frames=24, height=120, width=200, objects=3, sway=0.0)
    still = write_scene(Scene(config), here / "still", form="images")
    out = here / "out"
    run_cli(
        *("track", still.source, "--task", "mot", "--bundle", quick_bundle.path),
        *("--detector", "motion", "--output", out, "--mot-height", 120, "--mot-width", 200),
    )
    rows = rows_of(out)
    assert len(np.unique(rows[:, 1])) >= 1
    assert report_of(out)["frames"] == 24


def test_vos_from_a_mask(vos, here, clip):
    vos("--save-video")
    masks = here / "out" / "masks"
    names = [f"{index:05d}.png" for index in range(FRAMES)]
    assert sorted(path.name for path in masks.iterdir()) == names
    given = read_label_png(clip.init_mask)
    np.testing.assert_array_equal(read_label_png(masks / names[0]), given)
    for name in names:
        data = (masks / name).read_bytes()
        assert data[24:26] == b"\x08\x03"  # eight bits, palette
        assert davis_palette().tobytes() in data
        labels = read_label_png(masks / name)
        assert labels.shape == (HEIGHT, WIDTH)
        assert set(np.unique(labels)) <= set(np.unique(given))
    assert len(np.unique(read_label_png(masks / names[-1]))) > 2
    assert video_of(here / "out" / "video.mp4").shape == (FRAMES, HEIGHT, WIDTH, 3)
    report = report_of(here / "out")
    assert set(report["stages_ms"]) >= set(STAGES)
    assert set(report["backend"]["in_use"]) >= {"backbone", "propagate_global", "propagate_local"}
    assert not (here / "out" / "tracks.txt").exists()


def test_vos_from_a_box(vos, here):
    x, y, w, h = 20, 30, 30, 40
    vos("--max-frames", 3, init=f"{x},{y},{w},{h}")
    first = read_label_png(here / "out" / "masks" / "00000.png")
    inside = first[y : y + h, x : x + w]
    assert inside.any()
    assert np.count_nonzero(first) == np.count_nonzero(inside)
    assert first.max() == 1


def test_images_are_numbered_like_the_video(mot, here, images):
    mot(source=images.source)
    shutil.move(here / "out", here / "folder")
    mot(source=f"{images.source}/*.jpg")
    folder, pattern = rows_of(here / "folder"), rows_of(here / "out")
    np.testing.assert_array_equal(folder, pattern)
    assert report_of(here / "folder")["source"]["fps"] == 25


def test_the_same_input_gives_the_same_bytes(mot, vos, here):
    for name in ("a", "b"):
        mot("--save-video", output=here / name / "mot")
        vos("--save-video", output=here / name / "vos")
    files = sorted(p.relative_to(here / "a") for p in (here / "a").rglob("*") if p.is_file())
    assert len(files) == FRAMES + 5
    for file in files:
        if file.name != "run.json":
            assert (here / "a" / file).read_bytes() == (here / "b" / file).read_bytes(), file


def test_max_frames_ends_early_without_a_word(mot, vos, here):
    mot("--max-frames", 5, "--save-video", output=here / "m")
    assert rows_of(here / "m")[-1, 0] == 5
    assert len(video_of(here / "m" / "video.mp4")) == 5
    assert report_of(here / "m")["notes"] == []
    vos("--max-frames", 1, output=here / "v")
    assert [path.name for path in (here / "v" / "masks").iterdir()] == ["00000.png"]


def test_results_are_not_overwritten_unasked(mot, vos, here):
    out = here / "out"
    mot()
    (out / "mine.txt").write_text("keep me")
    before = (out / "tracks.txt").read_bytes()
    said = mot("--max-frames", 2, status=1)
    assert f"output folder {out} is not empty" in said
    assert "--overwrite" in said
    assert (out / "tracks.txt").read_bytes() == before
    assert report_of(out)["frames"] == FRAMES
    vos("--max-frames", 2, "--overwrite")
    # Nothing of the former task is left beside the new results; what is not ours stays.
    assert {path.name for path in out.iterdir()} == {"masks", "run.json", "mine.txt"}


def test_default_output_is_numbered(clip, quick_bundle, here):
    arguments = ("track", clip.source, "--task", "mot", "--bundle", quick_bundle.path)
    for _ in range(3):
        run_cli(*arguments, "--detections", clip.detections, "--max-frames", 1, *NETWORK)
    names = sorted(path.name for path in (here / "runs").iterdir())
    assert names == ["clip-mot", "clip-mot-2", "clip-mot-3"]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("videos/street.mp4", "street-mot"),
        ("camera0", "camera0-mot"),
        ("frames/", "frames-mot"),
        ("frames/*.jpg", "source-mot"),
        ("rtsp://me:secret@host/live?key=secret", "live-mot"),
        (".", "source-mot"),
    ],
)
def test_default_output_has_a_plain_name(source, name):
    output = default_output([source], "mot")
    assert output == Path("runs") / name
    assert "secret" not in str(output)


def test_default_output_of_several_sources():
    assert default_output(["camera0", "b.mp4", "c.mp4"], "mot") == Path("runs") / "3-sources-mot"


# Requests that contradict themselves: status 2, and nothing is written.

WRONG_USAGE = {
    "no task": (["clip.mp4"], "Missing option '--task'"),
    "unknown task": (["clip.mp4", "--task", "dance"], "'dance' is not one of"),
    "no source": (["--task", "mot"], "Missing argument 'SOURCE"),
    "unknown option": (["a", "--task", "mot", "--speed", "9"], "--speed"),
    "vos without a mask": (["a", "--task", "vos"], "--init MASK.png, X,Y,W,H"),
    "vos with detections": (
        ["a", "--task", "vos", "--init", "m.png", "--detections", "d.txt"],
        "takes no detections",
    ),
    "mot with a mask": (
        ["a", "--task", "mot", "--detector", "motion", "--init", "m.png"],
        "takes no --init",
    ),
    "detections of one source alone": (
        ["a", "b", "--task", "mot", "--detections", "d.txt", "--detections", ""],
        "b has no --detections and other sources have",
    ),
    "one mask for two sources": (
        ["a", "b", "--task", "vos", "--init", "m.png"],
        "give it once each, in their order, or once with {name} in it",
    ),
    "no time at all": (
        ["a", "--task", "mot", "--detector", "motion", "--reconnect-after", "0"],
        "expected seconds above 0",
    ),
    "negative patience": (
        ["a", "--task", "mot", "--detector", "motion", "--give-up", "-1"],
        "expected seconds of 0 or more",
    ),
    "two detectors": (
        ["a", "--task", "mot", "--detections", "d.txt", "--detector", "motion"],
        "got both",
    ),
    "no frame at all": (
        ["a", "--task", "mot", "--detector", "motion", "--max-frames", "0"],
        "--max-frames 0: expected 1 or more",
    ),
    "two bundles": (
        ["a", "--task", "mot", "--detector", "motion", "--bundle", "b", "--backbone", "c"],
        "--bundle and --backbone",
    ),
    "classes": (
        ["a", "--task", "mot", "--detector", "m.onnx", "--detector-classes", "person,"],
        "--detector-classes person,: expected names or numbers",
    ),
    "classes of no model": (
        ["a", "--task", "mot", "--detector", "motion", "--detector-classes", "0"],
        "belong to --detector MODEL.onnx",
    ),
    "threads": (["a", "--task", "mot", "--detector", "motion", "--threads", "-1"], "'--threads'"),
    "not a number": (
        ["a", "--task", "mot", "--detector", "motion", "--mot-cost-limit", "nan"],
        "--mot-cost-limit nan: expected a finite number",
    ),
    "out of range": (
        ["a", "--task", "mot", "--detector", "motion", "--mot-appearance-weight", "2"],
        "expected 0 to 1",
    ),
}


@pytest.mark.parametrize("what", WRONG_USAGE)
def test_wrong_usage(what, here):
    arguments, message = WRONG_USAGE[what]
    assert message in run_cli("track", *arguments, status=2)
    assert list(here.iterdir()) == []


def test_unknown_command():
    assert "No such command 'fly'" in run_cli("fly", status=2)


# Bad sources.


def refused(run, here, *arguments, **options):
    """The one line of a run that could not begin, which leaves no folder behind."""
    said = run(*arguments, status=1, **options)
    assert not (here / "out").exists()
    return said


def test_parameters_of_another_task_are_refused(mot):
    said = mot("--vos-top-k", "5", status=2)
    assert "--vos-top-k belongs to task vos, which is not run: add --task vos" in said


def test_missing_source(mot, here):
    said = refused(mot, here, source="nowhere.mp4")
    assert "no file or folder 'nowhere.mp4'" in said
    assert "a video file" in said


@pytest.mark.parametrize("content", [b"", b"no video at all " * 99], ids=["empty", "garbage"])
def test_undecodable_source(mot, here, content):
    (here / "bad.mp4").write_bytes(content)
    assert "bad.mp4" in refused(mot, here, source=here / "bad.mp4")


def test_a_folder_without_images(mot, here):
    (here / "frames").mkdir()
    assert "no image in this folder" in refused(mot, here, source=here / "frames")


def test_an_absent_camera_names_those_there_are(mot, here):
    said = refused(mot, here, source="camera97")
    assert "camera97" in said
    if sys.platform.startswith("linux"):
        assert "found" in said  # "no cameras found" or "found camera0, …"


def test_a_stream_that_is_not_there_keeps_the_password(mot, here):
    said = refused(mot, here, source="rtsp://me:secret@127.0.0.1:9/live")
    assert "secret" not in said


def motion_jpeg(path, source, count=40):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (WIDTH, HEIGHT))
    images = video_of(source)
    for index in range(count):
        writer.write(images[index % len(images)])
    writer.release()
    return path


def test_a_video_that_breaks_off_keeps_what_was_read(mot, here, clip):
    whole = motion_jpeg(here / "whole.avi", clip.source).read_bytes()
    (here / "cut.avi").write_bytes(whole[: len(whole) // 2])
    said = mot("--save-video", source=here / "cut.avi", status=1)
    report = report_of(here / "out")
    frames = report["frames"]
    assert 5 < frames < 35
    assert f"ended after {frames} of 40 announced frames" in said
    assert str(here / "out") in said
    assert report["source"]["ended_early"] in report["notes"]
    assert rows_of(here / "out")[-1, 0] <= frames
    assert len(video_of(here / "out" / "video.mp4")) == frames


def test_a_change_of_size_keeps_what_was_read(vos, here, images):
    frames = here / "frames"
    shutil.copytree(images.source, frames)
    small = cv2.resize(cv2.imread(str(frames / "000008.jpg")), (80, 48))
    cv2.imwrite(str(frames / "000008.jpg"), small)
    said = vos(source=frames, status=1)
    assert "changes size at frame 7 (000008.jpg) from 160x96 to 80x48" in said
    assert len(list((here / "out" / "masks").iterdir())) == 7
    assert report_of(here / "out")["frames"] == 7


def test_an_image_that_cannot_be_read_keeps_those_before_it(mot, here, images):
    frames = here / "frames"
    shutil.copytree(images.source, frames)
    (frames / "000006.jpg").write_bytes(b"damaged")
    said = mot("--save-video", source=frames, status=1)
    assert "000006.jpg: cannot be decoded" in said
    assert "the results of 5 frames before it are in" in said
    assert rows_of(here / "out")[-1, 0] == 5
    assert len(video_of(here / "out" / "video.mp4")) == 5
    assert report_of(here / "out")["frames"] == 5
    assert "000006.jpg" in report_of(here / "out")["error"]


# Bad detections.

GOOD = "1,-1,20,30,25,50,0.9,0,-1\n"
BAD_ROWS = {
    "letters": "2,-1,20,thirty,25,50,0.9",
    "too few columns": "2,-1,20,30,25",
    "NaN": "2,-1,nan,30,25,50,0.9",
    "infinite": "2,-1,20,inf,25,50,0.9",
    "no width": "2,-1,20,30,0,50,0.9",
    "inverted": "2,-1,20,30,-25,50,0.9",
    "frame -1": "-1,-1,20,30,25,50,0.9",
    "half a frame": "1.5,-1,20,30,25,50,0.9",
    "class": "2,-1,20,30,25,50,0.9,car,-1",
}


@pytest.mark.parametrize("what", BAD_ROWS)
def test_malformed_rows_are_named(mot, here, what):
    path = here / "det.txt"
    path.write_text(GOOD + BAD_ROWS[what] + "\n" + GOOD)
    said = refused(mot, here, "--strict", detections=path)
    assert f"{path}, line 2: expected" in said
    assert repr(BAD_ROWS[what]) in said


def test_detections_that_cannot_be_read(mot, here):
    assert "none.txt: there is no such file" in refused(mot, here, detections=here / "none.txt")
    (here / "det.bin").write_bytes(bytes(range(256)))
    assert "cannot be read" in refused(mot, here, detections=here / "det.bin")


def test_detections_for_another_picture_size(mot, here):
    path = here / "det.txt"
    path.write_text("".join(f"{f},-1,{900 + f},700,60,120,0.9\n" for f in range(1, 9)))
    said = mot(detections=path, status=1)
    assert "were made for another image size" in said
    assert f"{WIDTH}x{HEIGHT}" in said
    assert not (here / "out").exists()


def test_detections_for_frames_that_do_not_exist(mot, here):
    path = here / "det.txt"
    path.write_text(GOOD + f"{FRAMES + 1},-1,20,30,25,50,0.9\n900,-1,20,30,25,50,0.9\n")
    said = mot(detections=path)
    note = f"detections for frames {FRAMES + 1}-900 of {path} not used (2 rows)"
    assert note in said
    assert note in report_of(here / "out")["notes"][0]


def test_boxes_at_and_beyond_the_border(mot, here):
    path = here / "det.txt"
    rows = [GOOD.replace("1,", f"{f},", 1) for f in range(1, FRAMES + 1)]
    rows += [f"{f},-1,-9,-9,30,60,0.8\n" for f in range(1, FRAMES + 1)]
    rows += ["3,-1,-500,30,25,50,0.9\n", "4,-1,20,30000,25,50,0.9\n"]
    path.write_text("".join(rows))
    said = mot(detections=path)
    assert f"2 boxes of {path} wholly outside the image left out" in said
    assert len(np.unique(rows_of(here / "out")[:, 1])) == 2


@pytest.mark.parametrize("text", ["", GOOD], ids=["none at all", "one frame only"])
def test_frames_without_detections(mot, here, text):
    (here / "det.txt").write_text(text)
    said = mot("--save-video", detections=here / "det.txt")
    assert ("holds no detections" in said) == (text == "")
    assert len(rows_of(here / "out")) == text.count("\n")
    assert report_of(here / "out")["frames"] == FRAMES
    assert len(video_of(here / "out" / "video.mp4")) == FRAMES


def test_five_hundred_detections_in_one_frame(mot, here):
    rng = np.random.default_rng(0)
    corners = rng.uniform([1, 1], [WIDTH - 20, HEIGHT - 30], (500, 2))
    many = "".join(f"2,-1,{x:.1f},{y:.1f},16,28,0.9\n" for x, y in corners)
    (here / "det.txt").write_text(GOOD + many + GOOD.replace("1,", "3,", 1))
    mot("--max-frames", 4, detections=here / "det.txt")
    assert report_of(here / "out")["frames"] == 4
    assert rows_of(here / "out")[0, 0] == 1


# Bad first masks.


def test_first_mask_of_another_size(vos, here):
    labels = np.ones((HEIGHT, WIDTH // 2), np.uint8)
    (here / "m.png").write_bytes(encode_palette_png(labels, davis_palette()))
    said = refused(vos, here, init=here / "m.png")
    assert f"the mask is {WIDTH // 2}x{HEIGHT}, the source is {WIDTH}x{HEIGHT}" in said


def test_first_mask_without_an_object(vos, here):
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    (here / "m.png").write_bytes(encode_palette_png(labels, davis_palette()))
    assert "the mask is empty" in refused(vos, here, init=here / "m.png")


def test_first_masks_that_are_none(vos, here, images):
    jpeg = images.source / "000001.jpg"
    assert "not a PNG" in refused(vos, here, init=jpeg)
    assert "cannot be read" in refused(vos, here, init=here / "none.png")
    cv2.imwrite(str(here / "colour.png"), cv2.imread(str(jpeg)))
    assert "expected palette or grey" in refused(vos, here, init=here / "colour.png")
    whole = encode_palette_png(np.ones((HEIGHT, WIDTH), np.uint8), davis_palette())
    (here / "cut.png").write_bytes(whole[:-20])
    assert "damaged PNG" in refused(vos, here, init=here / "cut.png")


@pytest.mark.parametrize(
    "box", ["500,10,20,20", "10,10,0,20", "10,10,-5,20", "1,2,nan,4", "1,2,x,4"]
)
def test_first_boxes_that_hold_nothing(vos, here, box):
    said = refused(vos, here, init=box)
    assert f"--init {box}: " in said
    assert "X,Y,W,H" in said


def test_more_keys_than_the_bundle_keeps(vos, here):
    said = refused(vos, here, "--vos-top-k", 99)
    assert "cli export --top-k 99" in said


# Bad bundles and backends.


@pytest.fixture
def own_bundle(quick_bundle, here):
    """A copy to spoil."""
    return Path(shutil.copytree(quick_bundle.path, here / "bundle"))


def test_a_truncated_graph(mot, here, own_bundle):
    path = own_bundle / "backbone.onnx"
    path.write_bytes(path.read_bytes()[:-1000])
    said = refused(mot, here, bundle=own_bundle)
    assert "backbone.onnx has" in said
    assert "cli export --force" in said


def test_a_tampered_graph(mot, here, own_bundle):
    path = own_bundle / "rsm.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert "rsm.onnx has sha256" in refused(mot, here, bundle=own_bundle)


def test_a_bundle_of_another_version_or_damaged(mot, here, own_bundle):
    path = own_bundle / SPEC_FILE
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "format_version": 99}))
    assert "format version 99, this toolkit reads 1" in refused(mot, here, bundle=own_bundle)
    path.write_text(json.dumps(data)[:-50])
    assert "cannot be read" in refused(mot, here, bundle=own_bundle)


def test_a_bundle_without_a_graph_that_the_task_needs(mot, here, own_bundle):
    path = own_bundle / SPEC_FILE
    data = json.loads(path.read_text())
    del data["graphs"]["rsm"]
    path.write_text(json.dumps(data))
    said = refused(mot, here, bundle=own_bundle)
    assert "has no graph rsm" in said
    assert "cli export --backbone" in said


def test_a_named_bundle_that_is_missing_is_never_made(mot, here):
    said = refused(mot, here, bundle=here / "none")
    assert f"cli export --backbone NAME --output {here / 'none'}" in said
    assert not (here / "none").exists()


def track_backbone(clip, here, *more, **options):
    arguments = ("track", clip.source, "--task", "mot", "--detections", clip.detections)
    return run_cli(*arguments, "--output", here / "out", *NETWORK, *more, **options)


def test_a_missing_bundle_without_pytorch_gives_the_command(clip, here, monkeypatch):
    real = importlib.util.find_spec
    hidden = lambda name, *rest: None if name == "torch" else real(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    said = track_backbone(clip, here, status=1)
    assert "bundles/efficientnet-lite0 does not exist" in said
    assert "`cli export --backbone efficientnet-lite0` on a machine with" in said
    assert "unitrack-edge[export]" in said
    assert list(here.iterdir()) == []


def test_a_missing_bundle_is_exported_where_pytorch_is(clip, here, monkeypatch, quick_bundle):
    pytest.importorskip("torch")
    asked = []

    def export(output, request):
        asked.append(request.backbone)
        shutil.copytree(quick_bundle.path, output)

    monkeypatch.setattr(bundles, "export_with_progress", export)
    told = "bundles/random-r18 does not exist yet: exporting random-r18 (once)\n"
    track_backbone(clip, here, "--backbone", "random-r18", "--max-frames", 1, stderr=told)
    assert asked == ["random-r18"]
    said = track_backbone(clip, here, "--backbone=random-r18", "--max-frames=1", "--overwrite")
    assert asked == ["random-r18"]
    assert "does not exist" not in said


def test_an_unknown_backbone_is_told_at_once(clip, here):
    said = track_backbone(clip, here, "--backbone", "efficientnet", status=1)
    assert "did you mean efficientnet-lite0" in said
    assert list(here.iterdir()) == []


def test_an_absent_backend_is_never_replaced(mot, here):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    said = refused(mot, here, "--backend", "cuda")
    assert "CPUExecutionProvider" in said
    assert "--backend cpu" in said


def test_detectors_that_are_none(mot, here):
    said = refused(mot, here, "--detector", "none.onnx", detections=None)
    assert "none.onnx: there is no such file" in said
    (here / "bad.onnx").write_bytes(b"garbage")
    assert "bad.onnx" in refused(mot, here, "--detector", here / "bad.onnx", detections=None)


# Outputs that cannot be written.


def test_output_in_the_way_of_a_file(mot, here):
    (here / "file").write_text("mine")
    assert "a file is in the way" in mot(output=here / "file", status=1)
    assert "file" in mot(output=here / "file" / "below", status=1)
    assert (here / "file").read_text() == "mine"


def test_what_a_run_reads_is_not_written_over(mot, clip, here):
    rows = clip.detections.read_text()
    detections = here / "tracks.txt"
    detections.write_text(rows)
    said = mot("--jsonl", detections, detections=detections, status=2)
    assert "this run reads that file" in said
    said = mot("--overwrite", detections=detections, output=here, status=1)
    assert "--overwrite would remove" in said
    assert detections.read_text() == rows


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="displays are asked for on Linux")
def test_show_without_a_display(mot, here, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    said = refused(mot, here, "--show")
    assert "no display" in said
    assert "--save-video" in said


@contextmanager
def files_of_at_most(limit):
    """As on a full disk: no file of this process may grow beyond `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_disk_full_in_the_rows(mot, here):
    with files_of_at_most(400):
        said = mot(status=1)
    rows = rows_of(here / "out")
    frames = int(rows[-1, 0])
    assert 2 < frames < FRAMES
    assert "disk full while writing" in said
    assert f"tracks.txt, {frames} frames kept" in said


def test_disk_full_in_the_video_keeps_the_rows(mot, here):
    with files_of_at_most(20_000):
        said = mot("--save-video", status=1)
    assert "disk full while writing" in said
    assert "leave out --save-video" in said
    names = {path.name for path in (here / "out").iterdir()}
    assert names == {"tracks.txt", "run.json", "video.mp4"}
    kept = len(video_of(here / "out" / "video.mp4"))
    assert 2 < kept < FRAMES
    assert f"video.mp4, {kept} frames kept" in said
    report = report_of(here / "out")
    assert rows_of(here / "out")[-1, 0] == report["frames"] == FRAMES
    assert "disk full" in report["error"]


@pytest.fixture
def small_disk(tmp_path_factory):
    """A file system of 64 kB."""
    folder = tmp_path_factory.mktemp("disk")
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_full_in_the_masks(vos, small_disk):
    (small_disk / "filling").write_bytes(b"x" * 40_000)
    said = vos(output=small_disk / "out", status=1)
    kept = sorted((small_disk / "out" / "masks").iterdir())
    assert 2 < len(kept) < FRAMES
    assert [path.name for path in kept] == [f"{index:05d}.png" for index in range(len(kept))]
    for path in kept:
        assert read_label_png(path).shape == (HEIGHT, WIDTH)
    assert "disk full while writing" in said
    assert f"{len(kept)} frames kept" in said
    assert f"the results of {len(kept)} frames before it are in" in said


# Ctrl-C and SIGTERM, to a process of its own.


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory, clip):
    """The clip over and over, longer than any test waits, and its detections."""
    folder = tmp_path_factory.mktemp("long")
    repeats = 150
    video = motion_jpeg(folder / "long.avi", clip.source, FRAMES * repeats)
    lines = [line.split(",", 1) for line in clip.detections.read_text().splitlines()]
    rows = [f"{int(f) + FRAMES * n},{rest}\n" for n in range(repeats) for f, rest in lines]
    (folder / "det.txt").write_text("".join(rows))
    return video, folder / "det.txt"


def wait_for(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended by itself"
        assert time.monotonic() < end, "the run did not get going"
        time.sleep(0.02)


@contextmanager
def started(*arguments, **options):
    """`cli track` in a process of its own, on one thread."""
    code = "from unitrack_edge.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "track", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_killed_run_leaves_whole_rows_and_the_next_one_succeeds(long_clip, quick_bundle, here):
    video, detections = long_clip
    out = here / "out"
    rows, lines = out / "tracks.txt", here / "lines.jsonl"
    arguments = (video, "--task", "mot", "--bundle", quick_bundle.path, "--output", out)
    arguments += ("--detections", detections, "--save-video", "--threads", 1, *NETWORK)
    with started(*arguments, "--jsonl", lines, stderr=subprocess.PIPE) as process:
        wait_for(lambda: rows.exists() and rows.read_text().count("\n") >= 10, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    # Whole rows and whole lines; without run.json nothing takes it for a finished run.
    assert len(rows_of(out)) >= 10
    assert all(json.loads(line) for line in lines.read_text().splitlines())
    assert not (out / "run.json").exists()
    lines.unlink()
    run_cli("track", *arguments, "--jsonl", lines, "--max-frames", 3, "--overwrite")
    assert report_of(out)["frames"] == 3
    assert len(lines.read_text().splitlines()) == 3


def test_ctrl_c_keeps_everything_so_far(long_clip, quick_bundle, here):
    video, detections = long_clip
    out = here / "out"
    rows = out / "tracks.txt"
    with started(
        *(video, "--task", "mot", "--bundle", quick_bundle.path, "--detections", detections),
        *("--output", out, "--save-video", "--threads", 1, *NETWORK),
        stderr=subprocess.PIPE,
    ) as process:
        wait_for(lambda: rows.exists() and rows.read_text().count("\n") > 20, process)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == b""
    assert b"(interrupted)" in said
    report = report_of(out)
    frames = report["frames"]
    assert report["interrupted"] is True
    assert rows_of(out)[-1, 0] == frames < 1000
    assert len(video_of(out / "video.mp4")) == frames
    assert {path.name for path in out.iterdir()} == {"tracks.txt", "run.json", "video.mp4"}


def test_sigterm_does_the_same_and_progress_shows_on_a_terminal(
    long_clip, quick_bundle, here, clip
):
    video, _ = long_clip
    out = here / "out"
    main_end, their_end = os.openpty()
    seen = bytearray()

    def read_terminal():
        try:
            while data := os.read(main_end, 4096):
                seen.extend(data)
        except OSError:  # the other end is closed
            return

    reader = threading.Thread(target=read_terminal)
    with started(
        *(video, "--task", "vos", "--bundle", quick_bundle.path, "--init", clip.init_mask),
        *("--output", out, "--save-video", "--threads", 1),
        stderr=their_end,
    ) as process:
        reader.start()
        os.close(their_end)
        wait_for(lambda: b"FPS" in seen and (out / "masks" / "00009.png").exists(), process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    reader.join()
    os.close(main_end)
    assert process.returncode == 130
    report = report_of(out)
    frames = report["frames"]
    assert report["interrupted"] is True
    names = sorted(path.name for path in (out / "masks").iterdir())
    assert names == [f"{index:05d}.png" for index in range(frames)]
    assert len(video_of(out / "video.mp4")) == frames
    text = seen.decode(errors="replace")
    assert "long.avi" in text
    assert "FPS" in text
    assert "tracked" in text


@pytest.mark.usefixtures("here")
def test_the_process_ends_with_the_status_and_one_line(clip):
    """What the tests above see through click's runner is what a shell sees."""
    with started(
        clip.source,
        "--task",
        "mot",
        "--bundle",
        "none",
        "--detector=motion",
        stderr=subprocess.PIPE,
    ) as process:
        said, errors = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, b"")
    check_error(errors.decode())


def test_a_detectors_file_says_what_it_is_and_may_find_masks(tmp_path, quick_bundle):
    pytest.importorskip("onnx", reason="onnx is not installed: extra 'export'")
    from ..support.detector_graphs import write_detector

    rows = np.zeros((1, 300, 38), np.float32)
    rows[0, 0, :7] = [8, 8, 40, 60, 0.9, 1, 1]
    prototypes = np.full((1, 32, 16, 16), 20, np.float32)
    path = write_detector(
        tmp_path / "seg.onnx",
        {"output0": rows, "output1": prototypes},
        metadata={"names": "{0: 'cat', 1: 'dog'}"},
    )
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((64, 64, 3), np.uint8))
    said = (
        f"--detector {path}: recognised as end2end-seg: boxes and masks of 2 classes (cat, dog), "
        "image 64x64 rgb-1\n"
    )
    track = ("track", f"{tmp_path}/*.png", "--task", "mots", "--bundle", quick_bundle.path)
    own = ("--detector", path, "--detector-classes", "Dog", "--output", tmp_path / "out")
    run_cli(*track, *own, stderr=said)
    assert len((tmp_path / "out" / "tracks.txt").read_text().splitlines()) == 3
    other = ("--detector", path, "--detector-classes", "dogs", "--output", tmp_path / "out2")
    assert "got 'dogs', but the detector has cat, dog" in run_cli(*track, *other, status=1)
