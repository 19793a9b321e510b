"""Which frames a calibration sees: spread, different, the same every time; and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="extra 'calibrate'")

from unitrack_edge.calibration.frames import (
    FEWEST,
    Sample,
    backbone_images,
    sample_frames,
    shrunk,
)
from unitrack_edge.errors import CalibrationError, RequestError, SourceError

from ..support.models.calibration_bundle import make_image, write_images
from ..support.video_files import write_video


def clip(first_seed, frames, height=64, width=96):
    """A scene: one image that slowly drifts, so that neighbours differ a little."""
    wide = make_image(first_seed, height, width + 2 * frames)
    return [wide[:, 2 * at : 2 * at + width] for at in range(frames)]


def numbers(sample):
    return [int(name.rpartition("#")[2]) for name in sample.names]


def test_every_scene_is_seen_and_longer_ones_more_often(tmp_path):
    images = clip(1, 24) + clip(2, 6) + clip(3, 30)
    source = str(write_images(tmp_path / "clip", images))
    sample = sample_frames([source], 12)
    assert (sample.seen, sample.scenes, len(sample.images)) == (60, 3, 12)
    chosen = np.array(numbers(sample))
    counts = [np.count_nonzero((chosen >= a) & (chosen < b)) for a, b in ((0, 24), (24, 30))]
    assert 1 <= counts[1] < counts[0]
    assert np.diff(chosen).max() <= 60 / 12 * 2
    for name, image in zip(numbers(sample), sample.images, strict=True):
        np.testing.assert_array_equal(image, images[name])
    again = sample_frames([source], 12)
    assert again.names == sample.names


def test_a_fast_camera_is_not_a_new_scene_every_frame(tmp_path):
    wide = make_image(1, 64, 96 + 40 * 20)
    images = [wide[:, 40 * at : 40 * at + 96] for at in range(20)]
    sample = sample_frames([str(write_images(tmp_path / "clip", images))], 20)
    assert sample.scenes == 1


def test_more_scenes_than_frames(tmp_path):
    images = [image for seed in range(20) for image in [make_image(seed)] * 3]
    sample = sample_frames([str(write_images(tmp_path / "clip", images))], 10)
    chosen = [number // 3 for number in numbers(sample)]
    assert len(chosen) == len(set(chosen)) == 10
    assert min(chosen) <= 1
    assert max(chosen) >= 18


def test_several_sources_of_several_sizes(tmp_path):
    small = write_images(tmp_path / "a", clip(1, 10))
    large = write_images(tmp_path / "b", clip(2, 10, 96, 128))
    sample = sample_frames([str(small), str(large)], 10)
    assert {image.shape for image in sample.images} == {(64, 96, 3), (96, 128, 3)}
    assert sample.scenes == 2


def test_duplicates_and_frames_of_one_colour_are_left_out_and_told(tmp_path):
    black = np.zeros((64, 96, 3), np.uint8)
    images = [black] * 5 + [make_image(seed) for seed in range(9)] + [make_image(0)] * 4
    sample = sample_frames([str(write_images(tmp_path / "clip", images))], 30)
    assert sorted(numbers(sample)) == [*range(5, 14)]
    assert (sample.one_colour, sample.duplicates) == (5, 4)
    notes = sample.notes(30)
    assert "5 frames of one colour were left out" in notes
    assert any("4 frames were left out: they look like another one" in note for note in notes)
    assert any("9 different frames were found where --count 30" in note for note in notes)
    (said,) = sample.notes(9)[2:]
    assert said.startswith("1 frame of 9 held out to judge the result")
    assert "29 or more hold out 4" in said


@pytest.mark.parametrize(("images", "held_out"), [(28, 3), (29, 4), (200, 8)])
def test_few_frames_that_judge_are_said(images, held_out):
    some = (np.zeros((8, 8, 3), np.uint8),) * images
    sample = Sample(some, ("",) * images, seen=images, scenes=1, one_colour=0, duplicates=0)
    assert len(sample.held_out) == held_out
    assert [note.split(" held out")[0] for note in sample.notes(images)] == (
        [f"{held_out} frames of {images}"] if held_out < 4 else []
    )


def test_some_frames_only_judge(tmp_path):
    images = [make_image(seed) for seed in range(24)]
    sample = sample_frames([str(write_images(tmp_path / "clip", images))], 24)
    assert len(sample.held_out) == 3
    assert len(sample.fitted) == 21
    fitted = {image.tobytes() for image in sample.fitted}
    assert not fitted & {image.tobytes() for image in sample.held_out}


def test_frames_become_what_the_network_takes(tmp_path):
    images = [make_image(seed, 100, 160) for seed in range(8)]
    source = str(write_images(tmp_path / "clip", images))
    sample = sample_frames([source], 8, backbone_images(((64, 96), (32, 32))))
    assert {image.shape for image in sample.images} == {(64, 96, 3)}
    large = [make_image(seed, 900, 1000) for seed in range(8)]
    sample = sample_frames([str(write_images(tmp_path / "large", large))], 8)
    assert {image.shape for image in sample.images} == {(608, 676, 3)}
    assert [image.shape for image in shrunk(sample.images[:1], 240)] == [(240, 267, 3)]


@pytest.mark.parametrize("kind", ["too few", "all alike", "all black"])
def test_too_little_to_calibrate_on(tmp_path, kind):
    images = {
        "too few": [make_image(seed) for seed in range(FEWEST - 1)],
        "all alike": [make_image(0)] * 20,
        "all black": [np.zeros((64, 96, 3), np.uint8)] * 20,
    }[kind]
    source = write_images(tmp_path / "clip", images)
    with pytest.raises(CalibrationError, match=r"expected 8 or more: record what the camera"):
        sample_frames([str(source)], 16)


def test_a_frame_that_cannot_be_read_is_named(tmp_path):
    source = write_images(tmp_path / "clip", [make_image(seed) for seed in range(10)])
    (source / "004.png").write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"004\.png: cannot be decoded"):
        sample_frames([str(source)], 16)


def test_a_source_that_breaks_off_is_refused(tmp_path):
    images = [make_image(seed) for seed in range(20)]
    source = write_video(tmp_path / "clip.avi", images, "mjpeg", "yuvj420p")
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(SourceError, match=r"of 20 announced .*leave it out or repair it"):
        sample_frames([str(source)], 16)


def test_a_live_source_is_refused(monkeypatch, tmp_path):
    from dataclasses import replace

    from unitrack_edge.calibration import frames
    from unitrack_edge.runtime.sources.open import open_source

    source = write_images(tmp_path / "clip", [make_image(0)])

    def live(text):
        opened = open_source(text)
        opened.info = replace(opened.info, live=True, name="camera0")
        return opened

    monkeypatch.setattr(frames, "open_source", live)
    with pytest.raises(RequestError, match=r"camera0 is live.*record a video"):
        sample_frames([str(source)], 16)


def test_a_folder_of_videos_is_sampled_evenly_over_all_of_them(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    lengths = {"b10.mp4": 40, "b9.MKV": 20, "a.avi": 20}
    for seed, (name, frames) in enumerate(lengths.items(), 1):
        write_video(folder / name, clip(seed, frames))
    (folder / "notes.txt").write_text("no video")
    for name in (".hidden.mp4", "._hidden.jpg"):
        (folder / name).write_bytes(b"nothing to be seen")
    sample = sample_frames([str(folder)], 16)
    assert (sample.seen, len(sample.images)) == (80, 16)
    chosen = [name.rpartition("#")[0] for name in sample.names]
    counts = {name: chosen.count(str(folder / name)) for name in lengths}
    assert sum(counts.values()) == 16
    # As many of each as its share of all frames, and each video's own evenly.
    assert counts == {"b10.mp4": 8, "b9.MKV": 4, "a.avi": 4}
    assert list(dict.fromkeys(chosen)) == [str(folder / n) for n in ("a.avi", "b9.MKV", "b10.mp4")]
    named = sample_frames([str(folder / n) for n in ("a.avi", "b9.MKV", "b10.mp4")], 16)
    assert named.names == sample.names
    by_pattern = sample_frames([f"{folder}/b*"], 12)
    assert by_pattern.seen == 60


def test_a_folder_of_images_and_videos_gives_both(tmp_path):
    folder = write_images(tmp_path / "clip", clip(1, 20))
    write_video(folder / "more.mp4", clip(2, 20))
    for text in (str(folder), f"{folder}/*"):
        sample = sample_frames([text], 16)
        assert sample.seen == 40
        of_video = [name for name in sample.names if "more.mp4" in name]
        assert len(of_video) == 8


def test_what_frames_cannot_be_read_from_names_the_option(tmp_path):
    with pytest.raises(RequestError, match=r"--frames: got an empty value, expected a video"):
        sample_frames([""], 16)
    (tmp_path / "empty").mkdir()
    for text in ("none", str(tmp_path / "empty"), "x" * 5000):
        with pytest.raises(SourceError, match=r"^--frames: "):
            sample_frames([text], 16)
