"""The procedural clip: exact truth, and everything happens in it that the demo promises."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import OutputError, SourceError
from unitrack_edge.evaluation.synthetic.cast import clothes_of, role_of
from unitrack_edge.evaluation.synthetic.detector import DetectorNoise
from unitrack_edge.evaluation.synthetic.figure import Figure, Placement
from unitrack_edge.evaluation.synthetic.files import write_scene
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig, SceneTruth
from unitrack_edge.runtime.boxes import iou_matrix, mask_boxes
from unitrack_edge.runtime.formats.davis import read_label_png
from unitrack_edge.runtime.formats.keypoints import POSETRACK_JOINTS
from unitrack_edge.runtime.formats.mot import read_mot, read_mot_truth

SMALL = SceneConfig(frames=8, height=120, width=214, objects=4)


@pytest.fixture(scope="module")
def demo() -> Scene:
    return Scene()


@pytest.fixture(scope="module")
def truths(demo: Scene) -> list[SceneTruth]:
    return [demo.truth(i) for i in range(len(demo))]


def test_frames_have_the_asked_size_and_the_clips_time() -> None:
    scene = Scene(SceneConfig(frames=3, height=90, width=160, objects=2, fps=10))
    frames = list(scene)
    assert [f.index for f in frames] == [0, 1, 2]
    assert [f.time_s for f in frames] == pytest.approx([0.0, 0.1, 0.2])
    assert all(f.image.shape == (90, 160, 3) and f.image.flags.c_contiguous for f in frames)


def test_same_bytes_in_any_order_of_access() -> None:
    forwards, backwards = Scene(SMALL), Scene(SMALL)
    there = {i: forwards.frame(i).image.tobytes() for i in range(len(forwards))}
    back = {i: backwards.frame(i).image.tobytes() for i in reversed(range(len(backwards)))}
    assert there == back
    assert len(set(there.values())) == len(there)
    again, first = Scene(SMALL), forwards.truth(5)
    for name in ("ids", "boxes_xyxy", "visible", "masks", "keypoints"):
        assert np.array_equal(getattr(first, name), getattr(again.truth(5), name)), name


def test_seed_and_objects_change_the_picture() -> None:
    images = [
        Scene(SceneConfig(frames=1, height=120, width=214, objects=n, seed=seed)).frame(0).image
        for n, seed in ((2, 0), (4, 0), (4, 1))
    ]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])


def test_a_frame_belongs_to_its_caller() -> None:
    scene = Scene(SMALL)
    scene.frame(2).image[:] = 0
    scene.truth(2).masks[:] = True
    assert scene.frame(2).image.any()
    assert not scene.truth(2).masks.all()


def test_masks_are_disjoint_and_the_visible_share_is_theirs(truths: list[SceneTruth]) -> None:
    for truth in truths[::7]:
        assert truth.masks.sum(axis=0).max() <= 1
        assert np.array_equal(np.unique(truth.ids), truth.ids)
        assert ((truth.visible >= 0) & (truth.visible <= 1)).all()
        assert np.array_equal(truth.visible > 0, truth.masks.any(axis=(1, 2)))
        labels = truth.label_map()
        assert set(np.unique(labels)) - {0} == set(truth.ids[truth.visible > 0])


def test_boxes_are_tight_where_nothing_hides_and_enclose_the_rest(truths: list[SceneTruth]) -> None:
    checked = 0
    for truth in truths[::3]:
        seen = mask_boxes(truth.masks)
        whole = truth.visible == 1
        assert np.array_equal(seen[whole], truth.boxes_xyxy[whole])
        some = truth.visible > 0
        assert (seen[some, :2] >= truth.boxes_xyxy[some, :2]).all()
        assert (seen[some, 2:] <= truth.boxes_xyxy[some, 2:]).all()
        checked += int(whole.sum())
    assert checked > 50


def test_boxes_ignore_what_hides_an_object(truths: list[SceneTruth]) -> None:
    alone = Scene(SceneConfig(objects=1))  # object 1 walks the same way whoever else is there
    hidden = [t for t in truths if 1 in t.ids and 0.05 < t.visible[t.ids.tolist().index(1)] < 0.7]
    assert len(hidden) >= 5
    for truth in hidden:
        row = truth.ids.tolist().index(1)
        single = alone.truth(truth.frame_index)
        assert np.array_equal(mask_boxes(single.masks)[0], truth.boxes_xyxy[row])
        share = truth.masks[row].sum() / single.masks[0].sum() * single.visible[0]
        assert truth.visible[row] == pytest.approx(share, rel=1e-5)
        assert not (truth.masks[row] & ~single.masks[0]).any()


def test_masks_cover_what_differs_from_the_empty_scene() -> None:
    """Without noise and objects the same backdrop remains, so the masks can be measured."""
    config = SceneConfig(frames=30, objects=3, noise_std=0, sway=0.0)
    empty = Scene(SceneConfig(frames=30, objects=0, noise_std=0, sway=0.0)).frame(20).image
    scene = Scene(config)
    changed = np.abs(scene.frame(20).image.astype(int) - empty).sum(axis=2) > 24
    truth = scene.truth(20)
    covered = truth.masks.any(axis=0)
    assert (changed & covered).sum() > 0.97 * covered.sum()
    for row, (x0, y0, x1, y1) in enumerate(truth.boxes_xyxy.astype(int)):
        upper = slice(y0, (y0 + y1) // 2), slice(x0, x1)  # shadows lie lower
        others = np.delete(truth.masks, row, axis=0).any(axis=0)[upper]
        stray = changed[upper] & ~truth.masks[row][upper] & ~others
        assert stray.sum() < 0.15 * truth.masks[row][upper].sum()  # the blended rim alone


def test_keypoints_seen_lie_on_their_object_and_hidden_ones_do_not(
    truths: list[SceneTruth],
) -> None:
    seen = hidden = 0
    for truth in truths[::5]:
        labels = truth.label_map()
        height, width = labels.shape
        for number, share, points in zip(truth.ids, truth.visible, truth.keypoints, strict=True):
            x, y = np.floor(points[:, 0]).astype(int), np.floor(points[:, 1]).astype(int)
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            assert set(np.unique(points[:, 2])) <= {0, 1}
            assert not points[~inside, 2].any()
            shown = points[:, 2] > 0
            assert (labels[y[shown], x[shown]] == number).all()
            if share == 1:  # only the far ear is out of sight
                assert (points[:, 2] == 0).sum() == 1
            covered = inside & (points[:, 2] == 0)
            hidden += int((labels[y[covered], x[covered]] != number).sum())
            seen += int(shown.sum())
    assert seen > 500
    assert hidden > 20


def test_keypoints_make_a_body(truths: list[SceneTruth]) -> None:
    truth = truths[0]
    at = {name: truth.keypoints[:, i] for i, name in enumerate(POSETRACK_JOINTS)}
    assert len(POSETRACK_JOINTS) == truth.keypoints.shape[1] == 17
    order = ("head_top", "nose", "head_bottom", "right_shoulder", "right_hip", "right_knee")
    heights = [at[name][:, 1] for name in order]
    assert all((a < b).all() for a, b in pairwise(heights))
    looks_right = at["nose"][:, 0] > at["head_bottom"][:, 0]
    assert np.array_equal(at["right_ear"][:, 2] == 1, looks_right)  # the near side is seen
    assert looks_right.any()
    assert not looks_right.all()


def test_first_frame_shows_three_objects_whole_and_apart(truths: list[SceneTruth]) -> None:
    first = truths[0]
    assert (first.visible == 1).sum() >= 3
    overlap = iou_matrix(first.boxes_xyxy, first.boxes_xyxy) - np.eye(len(first.ids))
    assert overlap.max() == 0


def _per_object(truths: list[SceneTruth], number: int, name: str) -> dict[int, np.ndarray]:
    rows = {t.frame_index: np.flatnonzero(t.ids == number) for t in truths}
    return {i: getattr(truths[i], name)[r[0]] for i, r in rows.items() if len(r)}


def test_objects_of_the_demo_hide_one_another_and_reappear(truths: list[SceneTruth]) -> None:
    hidden_then_seen = set()
    for number in range(1, 6):
        share = _per_object(truths, number, "visible")
        inside = [
            i
            for i, box in _per_object(truths, number, "boxes_xyxy").items()
            if box[0] > 0 and box[2] < 640
        ]
        low = [i for i in inside if share[i] < 0.35]
        if low and any(share[i] > 0.9 for i in inside if i > low[-1]):
            hidden_then_seen.add(number)
    assert len(hidden_then_seen) >= 3


def test_objects_of_the_demo_cross(truths: list[SceneTruth]) -> None:
    crossings = 0
    for a in range(1, 6):
        for b in range(a + 1, 6):
            first, second = (_per_object(truths, n, "boxes_xyxy") for n in (a, b))
            both = sorted(set(first) & set(second))
            side = [np.sign(first[i][[0, 2]].sum() - second[i][[0, 2]].sum()) for i in both]
            crossings += len(set(side) - {0}) == 2
    assert crossings >= 5


def test_objects_of_the_demo_leave_and_return(truths: list[SceneTruth]) -> None:
    returned = 0
    for number in range(1, 6):
        present = sorted(_per_object(truths, number, "visible"))
        returned += any(b - a > 5 for a, b in pairwise(present))
    assert returned >= 2


def test_an_object_of_the_demo_changes_scale(truths: list[SceneTruth]) -> None:
    boxes = _per_object(truths, 3, "boxes_xyxy")
    heights = [boxes[i][3] - boxes[i][1] for i in (0, 149)]
    assert heights[1] > 1.8 * heights[0]


def test_the_backdrop_moves_slowly() -> None:
    scene = Scene(SceneConfig(frames=60, objects=0, noise_std=0))
    images = [cv2.cvtColor(scene.frame(i).image, cv2.COLOR_BGR2GRAY) for i in (0, 1, 50)]
    images = [p.astype(np.float32) for p in images]
    near = np.hypot(*cv2.phaseCorrelate(images[0], images[1])[0])
    far = np.hypot(*cv2.phaseCorrelate(images[0], images[2])[0])
    assert 0.1 < near < 1.5
    assert 5 < far < 20


def test_objects_differ_in_dress() -> None:
    for seed in range(4):
        worn = {clothes_of(k, seed).shirt for k in range(24)}
        assert len(worn) >= 16
        assert len({clothes_of(k, seed).shirt for k in range(8)}) == 8


def _pasted(drawn: tuple[np.ndarray, int, int], size_hw: tuple[int, int]) -> np.ndarray:
    layer, left, top = drawn
    canvas = np.zeros((*size_hw, 4))
    canvas[top : top + layer.shape[0], left : left + layer.shape[1]] = layer
    return canvas


def test_texture_moves_turns_and_grows_with_its_object() -> None:
    walker = Figure(clothes_of(0, 0), role_of(0, 0).gait, 0)
    here = Placement(x=100.0, y=200.0, scale=120.0, facing=1.0, phase=2.0)
    image, left, top = walker.draw(here)
    shifted = walker.draw(replace(here, x=137.0, y=190.0))
    assert np.array_equal(shifted[0], image)
    assert shifted[1:] == (left + 37, top - 10)
    turned = walker.draw(replace(here, facing=-1.0))
    first, second = (_pasted(layer, (240, 200)) for layer in ((image, left, top), turned))
    assert np.abs(first - second[:, ::-1]).mean() < 0.5  # x = 100 is the middle of 200 columns
    assert np.abs(first - second).mean() > 2
    large, large_left, large_top = walker.draw(replace(here, scale=240.0))
    # The small image's pixel centres, looked up in the large one; (100, 200) stays in place.
    to_large = np.array(
        [[2.0, 0.0, 0.5 + 2 * left - 100 - large_left], [0.0, 2.0, 0.5 + 2 * top - 200 - large_top]]
    )
    soft = cv2.blur(large, (2, 2), anchor=(0, 0))
    to_large[:, 2] -= 0.5
    again = cv2.warpAffine(
        soft, to_large, image.shape[1::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    solid = (image[..., 3] == 255) & (again[..., 3] == 255)
    assert solid.sum() > 800
    alike = np.corrcoef(again[solid][:, :3].ravel(), image[solid][:, :3].ravel())[0, 1]
    assert alike > 0.95


def test_detections_err_as_asked() -> None:
    scene = Scene(SceneConfig(frames=40, height=180, width=320))
    exact = DetectorNoise(jitter=0, miss=-1, min_visible=0, false_alarms=0)
    for i in (0, 20, 39):
        truth, found = scene.truth(i), scene.detections(i, noise=exact)
        assert np.array_equal(np.sort(found.boxes_xyxy, axis=0), np.sort(truth.boxes_xyxy, axis=0))
    one, same, other = [], [], []
    hits = false = total = 0
    for i in range(40):
        for boxes, seed in ((one, 3), (same, 3), (other, 4)):
            boxes.append(scene.detections(i, seed).boxes_xyxy)
        truth = scene.truth(i).boxes_xyxy
        best = iou_matrix(one[i], truth).max(axis=1)
        hits += int((best > 0.6).sum())
        false += int((best < 0.3).sum())
        total += len(truth)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert 0.8 * total < hits < total
    assert false >= 2


@pytest.mark.parametrize(
    "wrong",
    [{"frames": 0}, {"height": 10}, {"objects": 65}, {"fps": float("nan")}, {"seed": -1}],
)
def test_wrong_configurations_say_what_is_wrong(wrong: dict[str, float]) -> None:
    with pytest.raises(SourceError, match=next(iter(wrong))):
        SceneConfig(**wrong)  # type: ignore[arg-type]


def test_a_frame_beyond_the_end_is_an_error() -> None:
    with pytest.raises(SourceError, match="0 to 7"):
        Scene(SMALL).frame(8)


def test_many_objects_and_no_objects() -> None:
    crowd = Scene(SceneConfig(frames=2, height=180, width=320, objects=24, seed=2)).truth(1)
    assert len(crowd.ids) > 12
    nobody = Scene(SceneConfig(frames=1, height=90, width=160, objects=0)).truth(0)
    assert nobody.boxes_xyxy.shape == (0, 4)
    assert nobody.masks.shape == (0, 90, 160)
    assert nobody.keypoints.shape == (0, 17, 3)


def test_images_on_disk_are_the_scenes(tmp_path: Path) -> None:
    scene = Scene(SMALL)
    files = write_scene(scene, tmp_path / "clip", form="images")
    names = sorted(p.name for p in files.source.iterdir())
    assert names == [f"{i:06d}.jpg" for i in range(1, 9)]
    for i, name in enumerate(names):
        read = cv2.imread(str(files.source / name))
        assert np.abs(read.astype(int) - scene.frame(i).image).mean() < 3


def test_video_on_disk_is_the_scenes(tmp_path: Path) -> None:
    scene = Scene(SMALL)
    seen: list[tuple[int, int]] = []
    files = write_scene(scene, tmp_path / "clip", progress=lambda *at: seen.append(at))
    assert seen == [(i, 8) for i in range(1, 9)]
    capture = cv2.VideoCapture(str(files.source))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(25)
    for i in range(8):
        good, read = capture.read()
        assert good
        assert np.abs(read.astype(int) - scene.frame(i).image).mean() < 8
    assert not capture.read()[0]
    capture.release()


def test_truth_and_detections_on_disk_are_the_scenes(tmp_path: Path) -> None:
    scene = Scene(SceneConfig(frames=50, height=120, width=214))
    files = write_scene(scene, tmp_path / "deep" / "clip", form="images", detection_seed=5)
    rows = read_mot_truth(files.truth)
    dropped = 0
    for i in (0, 30, 49):
        truth, found = scene.truth(i), scene.detections(i, 5)
        kept = truth.visible >= 0.1
        dropped += int((~kept).sum())
        assert np.array_equal(rows[i][0], truth.ids[kept])
        assert np.array_equal(rows[i][1], truth.boxes_xyxy[kept])
        assert np.array_equal(read_label_png(files.masks / f"{i:05d}.png"), truth.label_map())
        read = read_mot(files.detections).detect(scene.frame(i))
        assert np.allclose(read.boxes_xyxy, found.boxes_xyxy, atol=0.011)
        assert np.allclose(read.scores, found.scores, atol=1e-4)
    assert np.array_equal(read_label_png(files.init_mask), scene.truth(0).label_map())


def test_an_interrupted_write_leaves_things_as_they_were(tmp_path: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    for form in ("video", "images"):
        with pytest.raises(KeyboardInterrupt):
            write_scene(Scene(SMALL), tmp_path / "clip", form=form, progress=interrupt)
        assert list(tmp_path.iterdir()) == []
    former = tmp_path / "clip" / "mine.txt"
    former.parent.mkdir()
    former.write_text("kept")
    with pytest.raises(KeyboardInterrupt):
        write_scene(Scene(SMALL), tmp_path / "clip", overwrite=True, progress=interrupt)
    assert former.read_text() == "kept"
    assert [p.name for p in tmp_path.iterdir()] == ["clip"]


def test_a_folder_in_use_is_not_overwritten_unasked(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("kept")
    with pytest.raises(OutputError, match="exists already"):
        write_scene(Scene(SMALL), tmp_path)
    with pytest.raises(OutputError, match="is a file"):
        write_scene(Scene(SMALL), mine, overwrite=True)
    assert mine.read_text() == "kept"
    files = write_scene(Scene(SMALL), tmp_path / "new", form="images")
    (files.folder / "old.txt").write_text("gone")
    write_scene(Scene(SMALL), files.folder, form="images", overwrite=True)
    assert not (files.folder / "old.txt").exists()
    assert files.truth.exists()


def test_an_odd_size_cannot_be_a_video(tmp_path: Path) -> None:
    odd = Scene(SceneConfig(frames=1, height=91, width=160, objects=1))
    with pytest.raises(OutputError, match="even"):
        write_scene(odd, tmp_path / "clip")
    assert write_scene(odd, tmp_path / "clip", form="images").init_mask.exists()
