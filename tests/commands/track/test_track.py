"""`cli track`: what it writes, and what becomes of bad sources, detections and masks."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from unitrack_edge.evaluation.synthetic.files import write_scene
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.heads.config import MotConfig
from unitrack_edge.runtime.drawing.colors import davis_palette
from unitrack_edge.runtime.formats.davis import encode_palette_png, read_label_png
from unitrack_edge.tracking.config import default_output

from ...support.command_line import report_of, rows_of, run_cli, video_of
from ...support.track_runs import FRAMES, HEIGHT, NETWORK, WIDTH, motion_jpeg, refused

STAGES = ("read", "letterbox", "backbone", "head", "latency", "write")
pytestmark = pytest.mark.usefixtures("here")


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


def test_a_run_of_another_version_is_done_again_with_its_defaults(mot, here):
    mot("--max-frames", 2)
    file = here / "out" / "run.json"
    record = report_of(here / "out")
    record["defaults"]["tasks"]["mot"]["cost_limit"] = 0.5
    record["defaults"]["run"]["degrade"] = False
    file.write_text(json.dumps(record))
    said = (
        f"{file} was written when other defaults held: --degrade False is kept (by default True "
        "today), --mot-cost-limit 0.5 is kept (by default 0.75 today)\n"
    )
    run_cli("track", "--config", file, "--output", here / "again", stderr=said)
    again = report_of(here / "again")
    assert again["tasks"]["mot"]["parameters"]["cost_limit"] == 0.5
    assert again["config"]["run"]["degrade"] is False


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
    # What one convolution of random weights follows, it soon loses.
    assert len(np.unique(read_label_png(masks / names[1]))) > 2
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
    again = ("--detections", clip.detections, "--max-frames", 2, *NETWORK, "--overwrite")
    run_cli(*arguments, *again)
    assert sorted(path.name for path in (here / "runs").iterdir()) == names
    assert report_of(here / "runs" / "clip-mot")["frames"] == 2


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


def test_a_detectors_file_says_what_it_is_and_may_find_masks(tmp_path, quick_bundle):
    pytest.importorskip("onnx", reason="onnx is not installed: extra 'export'")
    from ...support.models.detector_graphs import write_detector

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
    assert "got 'dogs', but the detector has cat, dog" in run_cli(*track, *other, status=2)


# Bad sources.


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


def test_a_change_of_size_is_scaled_into_the_first_and_noted(vos, here, images):
    frames = here / "frames"
    shutil.copytree(images.source, frames)
    small = cv2.resize(cv2.imread(str(frames / "000008.jpg")), (80, 48))
    cv2.imwrite(str(frames / "000008.jpg"), small)
    said = vos(source=frames)
    assert "changes size at frame 7 (000008.jpg) from 160x96 to 80x48" in said
    assert "1 frame of another size was scaled into the first size" in said
    assert len(list((here / "out" / "masks").iterdir())) == FRAMES
    assert report_of(here / "out")["source"]["ended_early"] is None


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
    assert "there is no such file" in refused(vos, here, init=here / "none.png")
    cv2.imwrite(str(here / "colour.png"), cv2.imread(str(jpeg)))
    assert "expected palette or grey" in refused(vos, here, init=here / "colour.png")
    whole = encode_palette_png(np.ones((HEIGHT, WIDTH), np.uint8), davis_palette())
    (here / "cut.png").write_bytes(whole[:-20])
    assert "damaged PNG" in refused(vos, here, init=here / "cut.png")


@pytest.mark.parametrize(
    "box", ["500,10,20,20", "10,10,0,20", "10,10,-5,20", "1,2,nan,4", "1,2,x,4"]
)
def test_first_boxes_that_hold_nothing(vos, here, box):
    # Whether a box lies in the image, the video says.
    said = vos(init=box, status=1 if box.startswith("500") else 2)
    assert not (here / "out").exists()
    assert f"--init {box}: " in said
    assert "X,Y,W,H" in said


def test_more_keys_than_the_bundle_keeps(vos, here):
    said = vos("--vos-top-k", 99, status=2)
    assert not (here / "out").exists()
    assert "cli export --top-k 99" in said


@pytest.mark.parametrize("name", ["yolo", "kitti"])
def test_a_format_without_a_word_for_an_unknown_class_says_what_stands_for_it(
    mot, clip, here, name
):
    rows = [line.split(",") for line in clip.detections.read_text().splitlines()]
    unknown = here / "unknown.txt"
    unknown.write_text("".join(f"{','.join(row[:7])},-1,-1\n" for row in rows))
    mot = partial(mot, detections=unknown)
    said = mot("--format", name, "--max-frames", 3)
    rows = sum(len(path.read_text().splitlines()) for path in here.glob("out/**/*[0-9s].txt"))
    rows -= (here / "out" / "labels" / "classes.txt").exists()
    stands = {"yolo": "a number of its own, called object", "kitti": "of type Misc"}[name]
    assert f"note: --format {name}: the class of {rows} boxes is not known: {stands}" in said
    assert "; --detections-class NAME says which it is" in said
    said = mot("--format", name, "--max-frames", 3, "--overwrite", "--detections-class", "car")
    assert "is not known" not in said
