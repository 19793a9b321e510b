"""Tracks of two bundles side by side: which sequences, how they are compared, what is reused."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError, RequestError, UnitrackError
from unitrack_edge.evaluation.metrics.agreement import box_agreement, mask_agreement
from unitrack_edge.evaluation.runner import jobs as sequence_tracking
from unitrack_edge.evaluation.runner.validation import (
    compare_all,
    compare_bundles,
    detection_items,
    validation_items,
)

from ...support.models.calibration_bundle import make_image, write_images

HEIGHT, WIDTH, FRAMES = 64, 96, 6


def moving_square(frames=FRAMES, step=4):
    """A patch of another texture that wanders over a still image, and where it is."""
    ground, patch = make_image(0, HEIGHT, WIDTH), make_image(9, 24, 20)
    images, masks = [], []
    for at in range(frames):
        image, mask = ground.copy(), np.zeros((HEIGHT, WIDTH), np.uint8)
        left = 10 + step * at
        image[20:44, left : left + 20] = patch
        mask[20:44, left : left + 20] = 255
        images.append(image)
        masks.append(mask)
    return images, masks


@pytest.fixture
def davis(tmp_path):
    images, masks = moving_square()
    write_images(tmp_path / "davis" / "JPEGImages" / "480p" / "patch", images)
    write_images(tmp_path / "davis" / "Annotations" / "480p" / "patch", masks)
    return tmp_path / "davis"


@pytest.fixture
def challenge(tmp_path):
    folder = tmp_path / "walk"
    write_images(folder / "img1", moving_square()[0])
    (folder / "det").mkdir()
    rows = [f"{at + 1},-1,{11 + 4 * at},21,20,24,0.9,-1,-1,-1\n" for at in range(FRAMES)]
    (folder / "det" / "det.txt").write_text("".join(rows))
    return folder


def test_layouts_are_told_apart(davis, challenge):
    still = write_images(davis.parent / "still", [make_image(0)] * 3)
    texts = (str(davis), str(challenge), f"mot:{challenge}", str(still))
    items = validation_items(texts, 4)
    assert [(item.format, item.name) for item in items] == [
        ("davis", "patch"),
        ("mot", "walk"),
        ("mot", "walk"),
        ("video", "still"),
    ]
    assert [len(item.sequence.images) for item in items[:3]] == [4, 4, 4]
    assert items[3].max_frames == 4


def test_a_sequence_with_nothing_to_start_from(challenge):
    (challenge / "det" / "det.txt").unlink()
    with pytest.raises(DetectionError, match="no detections"):
        validation_items((str(challenge),), None)


def test_a_bundle_against_itself(quick_bundle, davis, challenge, tmp_path, monkeypatch):
    """With truth, without truth; and what was recorded is not tracked again."""
    items = validation_items((str(davis), str(challenge)), None)
    told = []
    paths = quick_bundle.path, quick_bundle.path
    first, second = compare_all(items, *paths, tmp_path / "work", lambda *a: told.append(a))
    assert told == [(0, "patch"), (1, "walk"), (2, "")]
    assert first.before == first.after
    # 255 is the object where masks hold nothing else, not a region that does not count.
    assert 0.0 < first.before["J"] <= 1.0
    assert (first.agreement, first.drop, first.frames) == (1.0, 0.0, FRAMES)
    assert (second.agreement, second.drop, second.frames) == (1.0, None, FRAMES)
    assert second.before == {}

    def never(*_):
        raise AssertionError("tracked again")

    monkeypatch.setattr(sequence_tracking, "track", never)
    again = compare_all(items, *paths, tmp_path / "work", lambda *_: None)
    assert again == [first, second]


@pytest.mark.slow
def test_a_plain_video_is_compared_by_what_moves(quick_bundle, tmp_path):
    source = write_images(tmp_path / "yard", moving_square(12, 3)[0])
    (item,) = validation_items((str(source),), None)
    compared = compare_bundles(item, quick_bundle.path, quick_bundle.path, tmp_path / "work")
    assert (compared.format, compared.agreement, compared.drop) == ("video", 1.0, None)
    still = write_images(tmp_path / "still", [make_image(0)] * 12)
    (item,) = validation_items((str(still),), None)
    with pytest.raises(UnitrackError, match="the motion detector found nothing"):
        compare_bundles(item, quick_bundle.path, quick_bundle.path, tmp_path / "work")


def test_agreement_of_masks():
    one = np.zeros((4, 8), np.uint8)
    one[:, :4] = 1
    moved = np.zeros_like(one)
    moved[:, 2:6] = 1
    assert mask_agreement([one, one], [one, one]) == 1.0
    # The first frame is given and does not count; 8 pixels of 24 are shared.
    assert mask_agreement([one, one], [moved, moved]) == pytest.approx(8 / 24)
    assert mask_agreement([one, one, one], [one, one, moved]) == pytest.approx((1 + 8 / 24) / 2)
    two = np.where(one == 0, 2, one)
    assert mask_agreement([two, two], [one, one]) == pytest.approx(0.5)
    with pytest.raises(DetectionError, match="got 2 and 1 frames"):
        mask_agreement([one, one], [one])


def test_agreement_of_boxes():
    pytest.importorskip("trackeval", reason="extra 'eval'")
    boxes = np.array([[0, 0, 10, 20], [50, 0, 60, 20]], np.float32)
    rows = {frame: (np.array([1, 2]), boxes) for frame in range(4)}
    renamed = {frame: (np.array([7, 5]), boxes) for frame in range(4)}
    swapped = {frame: (np.array([1, 2] if frame < 2 else [2, 1]), boxes) for frame in range(4)}
    assert box_agreement(rows, rows) == box_agreement(rows, renamed) == 1.0
    assert box_agreement(rows, swapped) == pytest.approx(0.5)
    assert box_agreement(rows, {}) == 0.0
    assert box_agreement({}, {}) == 1.0


@pytest.mark.parametrize("items", [validation_items, detection_items])
def test_what_names_nothing_is_one_line(items):
    with pytest.raises(RequestError, match="--validate: got an empty value"):
        items(("",), None)
    with pytest.raises(UnitrackError):
        items(("x" * 5000,), None)
