"""How far propagated keypoints are from the truth: PCK."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import ObservationError
from ..records import FloatArray
from ..runtime.pose_format import joint_box, seen_joints


def keypoint_errors(found: FloatArray, truth: FloatArray) -> npt.NDArray[np.float64]:
    """Distances of joints in sizes of their persons.

    A person's size is the longer side of the tight box of the true joints in the same frame.

    Args:
        found: (..., K, 3) x, y, confidence of the same persons; a joint that was not found is
            infinitely far.
        truth: (..., K, 3).

    Returns:
        (..., K) float64; NaN for joints that are not in the truth.

    Raises:
        ObservationError: The shapes differ.
    """
    if found.shape != truth.shape:
        raise ObservationError(
            f"keypoints to be compared differ in shape: found {found.shape}, truth {truth.shape}"
        )
    people = truth.reshape(-1, *truth.shape[-2:])
    boxes = [joint_box(person) for person in people]
    sizes = np.array([np.nan if box is None else (box[2:] - box[:2]).max() for box in boxes])
    # A true person of one joint has no size: nothing but the exact place is right.
    sizes = np.maximum(sizes, 1e-9).reshape(truth.shape[:-2])
    places = np.where(seen_joints(found)[..., None], found[..., :2], np.inf).astype(np.float64)
    true = np.where(seen_joints(truth)[..., None], truth[..., :2], np.nan).astype(np.float64)
    offset = places - true
    errors: npt.NDArray[np.float64] = np.hypot(offset[..., 0], offset[..., 1]) / sizes[..., None]
    return np.where(np.isnan(true[..., 0]), np.nan, errors)


def pck(found: FloatArray, truth: FloatArray, limit: float = 0.2) -> float:
    """Share of true joints that were found within `limit` sizes of their person.

    Args:
        found: (..., K, 3) x, y, confidence.
        truth: (..., K, 3) of the same persons and frames.
        limit: In sizes; see `keypoint_errors`.

    Raises:
        ObservationError: The shapes differ, or the truth holds no joint.
    """
    errors = keypoint_errors(found, truth)
    counted = errors[~np.isnan(errors)]
    if not len(counted):
        raise ObservationError("PCK: the truth holds no joint, there is nothing to score")
    return float((counted <= limit).mean())
