"""Joints of people: the layout inside the toolkit, and what JSON files of poses share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DetectionError
from ...records import BoolArray, FloatArray
from .text import LARGEST, read_text, unreadable

Keypoints = npt.NDArray[np.floating[Any]]
"""(..., K, 3): x, y in pixels, confidence (<= 0: not seen)."""

_BODY = (
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)

POSETRACK_JOINTS = ("nose", "head_bottom", "head_top", "left_ear", "right_ear", *_BODY)
COCO_JOINTS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", *_BODY)
JOINTS = len(POSETRACK_JOINTS)

BOX_MARGIN = 0.1
"""What a box about joints is larger on each side, as a share of its width and height."""

CROWN = 1.6
"""How far the crown is from the shoulders, where nose, eyes and ears are at 1."""


def seen_joints(keypoints: Keypoints) -> BoolArray:
    """(..., K) bool: joints of (..., K, 3) with finite coordinates and a confidence above 0."""
    seen: BoolArray = np.isfinite(keypoints).all(axis=-1) & (keypoints[..., 2] > 0)
    return seen


def joint_box(keypoints: Keypoints) -> npt.NDArray[np.float64] | None:
    """(4,) left, top, right, bottom of the joints seen of (K, 3), tight; None without any.

    Of a single joint it has no area.
    """
    seen = keypoints[seen_joints(keypoints), :2].astype(np.float64)
    return np.concatenate([seen.min(axis=0), seen.max(axis=0)]) if len(seen) else None


def pose_boxes(keypoints: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Boxes about poses, `BOX_MARGIN` larger than the joints seen and never without area.

    Args:
        keypoints: (N, K, 3): x, y, confidence.

    Returns:
        (N, 4) float32 left, top, right, bottom, and (N,) bool: who has a visible joint; the others'
        boxes are all zero.
    """
    boxes = np.zeros((len(keypoints), 4), np.float32)
    shown = np.zeros(len(keypoints), np.bool_)
    for row, person in enumerate(keypoints):
        box = joint_box(person)
        if box is None:
            continue
        # A single joint, or joints in one line, still need a box with area.
        margin = np.maximum(BOX_MARGIN * (box[2:] - box[:2]), 0.5)
        boxes[row] = *(box[:2] - margin), *(box[2:] + margin)
        shown[row] = True
    return boxes, shown


def posetrack_from_coco(keypoints: FloatArray) -> FloatArray:
    """COCO's 17 joints in PoseTrack18's layout.

    PoseTrack18 has no eyes; its foot of the head is put between the shoulders, and its crown
    beyond the middle of nose, eyes and ears, seen from there. Either is as sure as the least sure
    joint it is made from, and not seen where one of them is not.

    Args:
        keypoints: (N, 17, 3) float32: x, y, confidence.

    Returns:
        (N, 17, 3) float32, a new array.
    """
    result = keypoints.copy()
    shoulders = keypoints[:, 5:7]
    foot = shoulders[..., :2].mean(axis=1)
    foot_sure = np.where(seen_joints(shoulders).all(axis=1), shoulders[..., 2].min(axis=1), 0)
    face = keypoints[:, :5]
    seen = seen_joints(face)
    middle = np.where(seen[..., None], face[..., :2], 0).sum(axis=1)
    middle /= np.maximum(seen.sum(axis=1), 1)[:, None]
    middle_sure = np.where(seen, face[..., 2], 1).min(axis=1)
    crown_sure = np.where(seen.any(axis=1), np.minimum(foot_sure, middle_sure), 0)
    for joint, places, sure in (
        (1, foot, foot_sure),
        (2, foot + CROWN * (middle - foot), crown_sure),
    ):
        result[:, joint] = np.where(sure[:, None] > 0, np.column_stack([places, sure]), 0)
    return np.asarray(result, np.float32)


Entry = Mapping[str, Any]


def load_json(path: Path) -> Any:
    """The contents of a JSON file.

    Raises:
        DetectionError: It cannot be read or is no JSON.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        lines = (
            "; expected one list or object in the whole file (of lines of JSON, --detections reads "
            "those of --jsonl and of boxes with names)"
        )
        raise DetectionError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg})"
            f"{lines if error.msg == 'Extra data' else ''}"
        ) from error
    except RecursionError as error:
        raise DetectionError(f"{path}: JSON nested too deeply") from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def list_of_objects(path: Path, data: Any, key: str) -> list[Entry]:
    """One of the two lists of a PoseTrack18 file, `images` or `annotations`.

    Raises:
        DetectionError: There is no such list.
    """
    entries = data.get(key) if isinstance(data, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DetectionError(
            f"{path}: expected PoseTrack18 JSON, an object with the lists 'images' and "
            f"'annotations', got no list '{key}' of objects"
        )
    return entries


def in_order(path: Path, images: list[Entry]) -> list[Entry]:
    """Images by `frame_id` where all have different ones, else as listed.

    Raises:
        DetectionError: An image has no `id`, or that of another one.
    """
    ids = [image.get("id") for image in images]
    if not all(isinstance(i, (int, str)) for i in ids) or len(set(ids)) != len(ids):
        raise DetectionError(f"{path}: expected an 'id' in every image, each at most once")
    order = [image.get("frame_id") for image in images]
    if all(isinstance(i, int) for i in order) and len(set(order)) == len(order):
        return sorted(images, key=lambda image: int(image["frame_id"]))
    return images


def image_size(image: Entry) -> tuple[int, int] | None:
    """Height and width of an image, where the file says them."""
    height, width = image.get("height"), image.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def has_coco_joints(data: Any) -> bool:
    """Whether a file of images and annotations says that its joints are COCO's."""
    categories = data.get("categories") if isinstance(data, dict) else None
    if not isinstance(categories, list):
        return False
    names = [category.get("keypoints") for category in categories if isinstance(category, dict)]
    return list(COCO_JOINTS) in names


def numbers_of(where: str, name: str, values: Any, length: int) -> list[float]:
    """A list of finite numbers of a reasonable size.

    Raises:
        DetectionError: Something else, or another length.
    """
    if isinstance(values, list) and len(values) == length:
        fits = [isinstance(v, (int, float)) and abs(v) <= LARGEST for v in values]
        if all(fits):
            return [float(value) for value in values]
    raise DetectionError(f"{where}: expected {length} finite numbers in '{name}'")


def joints_of(where: str, person: Entry) -> FloatArray:
    """(17, 3) float32 x, y, confidence; all zero where the entry has no joints."""
    if "keypoints" not in person:
        return np.zeros((JOINTS, 3), np.float32)
    flat = numbers_of(where, "keypoints", person["keypoints"], 3 * JOINTS)
    keypoints = np.array(flat, np.float32).reshape(JOINTS, 3)
    seen = keypoints[:, 2] > 0
    keypoints[:, 2] = np.clip(keypoints[:, 2], 0, 1)
    if person.get("scores"):
        scores = np.array(numbers_of(where, "scores", person["scores"], JOINTS), np.float32)
        keypoints[:, 2] = np.where(seen, scores, 0)
    return keypoints


def box_of(where: str, person: Entry, keypoints: FloatArray) -> list[float] | None:
    """Left, top, right, bottom; None where there is neither a box nor a visible joint."""
    if person.get("bbox") is not None:
        x, y, w, h = numbers_of(where, "bbox", person["bbox"], 4)
        if w <= 0 or h <= 0:
            raise DetectionError(f"{where}: got width {w} and height {h}, expected above 0")
        return [x, y, x + w, y + h]
    boxes, shown = pose_boxes(keypoints[None])
    box: list[float] = boxes[0].tolist()
    return box if shown[0] else None


def score_of(where: str, person: Entry, keypoints: FloatArray) -> float:
    """The person's score, or the mean confidence of the joints seen; 1 without any."""
    if person.get("score") is not None:
        return numbers_of(where, "score", [person["score"]], 1)[0]
    seen = keypoints[keypoints[:, 2] > 0, 2]
    return float(seen.mean()) if len(seen) else 1.0
