"""The records that all packages exchange: frames, detections, tracks.

All of them are frozen, slotted dataclasses that check themselves on construction, so that a wrong
array is reported where it was made and not three calls later.  Arrays are not copied: the
caller must not write to them afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import DetectionError, SourceError, UnitrackError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
UInt8Array = npt.NDArray[np.uint8]

PEOPLE = frozenset({"person", "pedestrian"})
"""Names of classes of people, in lower case."""


def people_of(class_names: Sequence[str] | None) -> tuple[int, ...]:
    """The numbers of classes that are named person or pedestrian, in any case."""
    return tuple(k for k, name in enumerate(class_names or ()) if name.lower() in PEOPLE)


def _made(name: str, values: Any, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """An array of numbers as a type: lists, other widths, and floats in place of whole numbers.

    What cannot be one without loss of meaning stays as it is, and is refused by `_check`.
    """
    if isinstance(values, np.ndarray) and values.dtype == dtype:
        return values
    try:
        array: npt.NDArray[Any] = np.asarray(values)
    except (ValueError, TypeError, RuntimeError):
        array = np.empty(0, np.object_)
    if array.dtype.kind not in "iuf":
        raise DetectionError(
            f"{name}: got {type(values).__name__}, expected an array of {np.dtype(dtype)}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        made = array.astype(dtype)
    return made if np.issubdtype(dtype, np.floating) or (made == array).all() else array


def _check(name: str, array: npt.NDArray[Any], shape: tuple[int | None, ...], dtype: Any) -> None:
    fits = array.ndim == len(shape) and all(
        want is None or got == want for got, want in zip(array.shape, shape, strict=False)
    )
    if not fits or array.dtype != np.dtype(dtype):
        wanted = ", ".join("any" if s is None else str(s) for s in shape)
        raise DetectionError(
            f"{name}: got {array.dtype} of shape {tuple(array.shape)}, "
            f"expected {np.dtype(dtype)} of shape ({wanted})"
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a source.

    Attributes:
        index: Number of the frame in its source, from 0. Live sources count dropped frames too.
        time_s: Capture time in seconds from the start of the source.
        image: (H, W, 3) uint8, BGR, contiguous.
        name: What the source calls it (a file name, for instance); empty where it has none.
        size_hw: Height and width in pixels.
    """

    index: int
    time_s: float
    image: UInt8Array
    name: str = ""
    size_hw: tuple[int, int] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        image: Any = self.image
        if not isinstance(image, np.ndarray):
            raise SourceError(
                f"frame {self.index}: got {type(image).__name__}, expected an array of uint8 "
                "of shape (H, W, 3), BGR"
            )
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise SourceError(
                f"frame {self.index}: got {image.dtype} of shape {tuple(image.shape)}, "
                "expected uint8 of shape (H, W, 3)"
            )
        if min(image.shape[:2]) < 1:
            raise SourceError(f"frame {self.index} is empty: shape {tuple(image.shape)}")
        object.__setattr__(self, "size_hw", (int(image.shape[0]), int(image.shape[1])))


@dataclass(frozen=True, slots=True)
class Detections:
    """The N objects that a detector found in one frame, in source pixels.

    Attributes:
        boxes_xyxy: (N, 4) float32: left, top, right, bottom; finite, right > left, bottom > top.
            Pixel (0, 0) covers [0, 1) x [0, 1). May reach beyond the image.
        scores: (N,) float32, finite; the scale is the detector's own.
        classes: (N,) int64; -1 where the class is not known. Boxes, scores and classes are made of
            any numbers that they are given as.
        masks: (N, H, W) bool at source size, or None.
        keypoints: (N, K, 3) float32: x, y, confidence (<= 0: not seen), or None.
        class_names: By class number, empty where a number has none; None where no name is known.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    classes: IntArray
    masks: BoolArray | None = None
    keypoints: FloatArray | None = None
    class_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name, dtype in (
            ("boxes_xyxy", np.float32),
            ("scores", np.float32),
            ("classes", np.int64),
        ):
            object.__setattr__(self, name, _made(name, getattr(self, name), dtype))
        if self.boxes_xyxy.shape == (0,):
            object.__setattr__(self, "boxes_xyxy", self.boxes_xyxy.reshape(-1, 4))
        _check("boxes_xyxy", self.boxes_xyxy, (None, 4), np.float32)
        n = len(self.boxes_xyxy)
        _check("scores", self.scores, (n,), np.float32)
        _check("classes", self.classes, (n,), np.int64)
        if self.masks is not None:
            _check("masks", self.masks, (n, None, None), np.bool_)
        if self.keypoints is not None:
            _check("keypoints", self.keypoints, (n, None, 3), np.float32)
        if n:
            boxes = self.boxes_xyxy
            if not (np.isfinite(boxes).all() and np.isfinite(self.scores).all()):
                raise DetectionError("detections hold NaN or infinite boxes or scores")
            if (boxes[:, 2:] <= boxes[:, :2]).any():
                bad = int(np.argmax((boxes[:, 2:] <= boxes[:, :2]).any(axis=1)))
                raise DetectionError(
                    f"detection {bad} has box {boxes[bad].tolist()} (left, top, right, bottom), "
                    "expected right > left and bottom > top"
                )

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def __getitem__(self, rows: BoolArray | IntArray | slice) -> Detections:
        """The chosen rows: a boolean mask, an index array or a slice."""
        return Detections(
            self.boxes_xyxy[rows],
            self.scores[rows],
            self.classes[rows],
            None if self.masks is None else self.masks[rows],
            None if self.keypoints is None else self.keypoints[rows],
            self.class_names,
        )

    def named(self, class_names: Sequence[str] | None) -> Detections:
        """The same with names of classes; with its own, where it has some."""
        if class_names is None or self.class_names is not None:
            return self
        return replace(self, class_names=class_names)

    def name_of(self, label: int) -> str:
        """The name of a class; empty where it is not known."""
        names = self.class_names or ()
        return names[label] if 0 <= label < len(names) else ""

    def is_person(self) -> BoolArray:
        """(N,) bool: whose class is named person or pedestrian."""
        return np.isin(self.classes, people_of(self.class_names))

    @staticmethod
    def from_supervision(detections: Any) -> Detections:
        """Detections of a `supervision.Detections`, or of whatever has its attributes.

        Args:
            detections: `xyxy` (N, 4) in source pixels, `confidence` (N,) or None (then 1),
                `class_id` (N,) or None (then -1: unknown), `mask` (N, H, W) bool or None,
                `data` with or without the names of their classes, `class_name` (N,).

        Raises:
            DetectionError: Shapes or values that are no detections.
        """
        boxes = np.ascontiguousarray(detections.xyxy, np.float32).reshape(-1, 4)
        count = len(boxes)
        scores, classes = detections.confidence, detections.class_id
        mask = getattr(detections, "mask", None)
        return Detections(
            boxes,
            np.ones(count, np.float32) if scores is None else np.asarray(scores, np.float32),
            np.full(count, -1, np.int64) if classes is None else np.asarray(classes, np.int64),
            masks=None if mask is None else np.asarray(mask, np.bool_),
            class_names=_names_by_class(classes, getattr(detections, "data", None)),
        )

    @staticmethod
    def empty() -> Detections:
        """No object at all."""
        return Detections(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
        )


def _names_by_class(classes: Any, data: Any) -> Sequence[str] | None:
    """Names by class number, of names by detection."""
    given = None if classes is None or not data else data.get("class_name")
    if given is None:
        return None
    known = {int(label): str(name) for label, name in zip(classes, given, strict=True)}
    return [known.get(label, "") for label in range(max(known, default=-1) + 1)]


@dataclass(frozen=True, slots=True)
class Tracks:
    """The result of a head for one frame: detections with identities.

    Attributes:
        frame_index: The frame's `Frame.index`.
        ids: (N,) int64, from 1, each at most once.
        detections: The N objects, row by row with `ids`, in source pixels.
        label_map: (H, W) uint8 at source size, values are ids and 0 is background; only from
            heads that segment (VOS), else None.
        predicted: (N,) bool: rows that no detection of this frame stands behind, but motion
            alone, or the same track before and after a gap; None: there are none.
    """

    frame_index: int
    ids: IntArray
    detections: Detections = field(default_factory=Detections.empty)
    label_map: UInt8Array | None = None
    predicted: BoolArray | None = None

    def __post_init__(self) -> None:
        _check("ids", self.ids, (len(self.detections),), np.int64)
        if self.predicted is not None:
            _check("predicted", self.predicted, (len(self.detections),), np.bool_)
        if len(np.unique(self.ids)) != len(self.ids):
            raise DetectionError(f"frame {self.frame_index}: an id appears twice in {self.ids}")

    def __len__(self) -> int:
        return len(self.ids)

    def to_supervision(self) -> Any:
        """These tracks as a `supervision.Detections`, identities in `tracker_id`.

        Raises:
            UnitrackError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError:
            raise UnitrackError(
                "to_supervision() needs supervision, which is not installed: "
                "pip install supervision"
            ) from None
        seen = self.detections
        data = {}
        if seen.class_names is not None:
            data["class_name"] = np.array([seen.name_of(k) for k in seen.classes.tolist()], str)
        return supervision.Detections(
            xyxy=seen.boxes_xyxy.copy(),
            mask=seen.masks,
            confidence=seen.scores,
            class_id=seen.classes.astype(int),
            tracker_id=self.ids.astype(int),
            data=data,
        )
