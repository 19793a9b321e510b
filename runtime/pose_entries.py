"""What JSON files of poses share: loading, and one person's joints, box and score.

* The confidence of a joint is v, at most 1; where `scores` has 17 numbers it is the joint's score,
  and 0 where v is 0.
* The score of a person is `score`, or else the mean confidence of the joints seen.
* The box is `bbox` (left, top, width, height), or else the tight box of the joints seen, a tenth
  of its width and height larger on each side, so a fifth larger in all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ObservationError
from ..records import FloatArray
from .detection_files import LARGEST, unreadable
from .pose_format import COCO_JOINTS, JOINTS, pose_boxes

Entry = Mapping[str, Any]


def load_json(path: Path) -> Any:
    """The contents of a JSON file.

    Raises:
        ObservationError: It cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ObservationError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg})"
        ) from error
    except RecursionError as error:
        raise ObservationError(f"{path}: JSON nested too deeply, expected PoseTrack18") from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def list_of_objects(path: Path, data: Any, key: str) -> list[Entry]:
    """One of the two lists of a PoseTrack18 file, `images` or `annotations`.

    Raises:
        ObservationError: There is no such list.
    """
    entries = data.get(key) if isinstance(data, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ObservationError(
            f"{path}: expected PoseTrack18 JSON, an object with the lists 'images' and "
            f"'annotations', got no list '{key}' of objects"
        )
    return entries


def in_order(path: Path, images: list[Entry]) -> list[Entry]:
    """Images by `frame_id` where all have different ones, else as listed.

    Raises:
        ObservationError: An image has no `id`, or that of another one.
    """
    ids = [image.get("id") for image in images]
    if not all(isinstance(i, (int, str)) for i in ids) or len(set(ids)) != len(ids):
        raise ObservationError(f"{path}: expected an 'id' in every image, each at most once")
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
        ObservationError: Something else, or another length.
    """
    if isinstance(values, list) and len(values) == length:
        fits = [isinstance(v, (int, float)) and abs(v) <= LARGEST for v in values]
        if all(fits):
            return [float(value) for value in values]
    raise ObservationError(f"{where}: expected {length} finite numbers in '{name}'")


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
    """Left, top, right, bottom; None where there is neither a box nor a joint seen."""
    if person.get("bbox") is not None:
        x, y, w, h = numbers_of(where, "bbox", person["bbox"], 4)
        if w <= 0 or h <= 0:
            raise ObservationError(f"{where}: got width {w} and height {h}, expected above 0")
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
