"""The records that all packages exchange: frames, detections, tracks.

All of them are frozen, slotted dataclasses that check themselves on construction, so that a wrong
array is reported where it was made and not three calls later.  Arrays are not copied: the
caller must not write to them afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import DetectionError, SourceError, UnitrackError, one_line

if TYPE_CHECKING:
    import supervision

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
UInt8Array = npt.NDArray[np.uint8]
Rows: TypeAlias = "int | slice | Sequence[int] | npt.NDArray[np.bool_ | np.integer[Any]]"
"""Which rows: one by its number, a slice, several by their numbers, or a mask of all."""

PEOPLE = frozenset({"person", "pedestrian"})
"""Names of classes of people, in lower case."""


def people_of(class_names: Sequence[str] | None) -> tuple[int, ...]:
    """The numbers of classes that are named person or pedestrian, in any case."""
    return tuple(k for k, name in enumerate(class_names or ()) if name.lower() in PEOPLE)


def _made(name: str, values: Any, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """An array of numbers as a type, made of lists, tensors, other widths, 1.0 in place of 1.

    What cannot be one without loss of meaning stays as it is, and is refused by `_check`.
    """
    if isinstance(values, np.ndarray) and values.dtype == dtype:
        return values
    why = ""
    try:
        array: npt.NDArray[Any] = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        # Of a tensor on a GPU, this says how to bring it to the host.
        array, why = np.empty(0, np.object_), f": {one_line(error)}"
    if array.dtype.kind not in "iuf" and array.dtype != dtype:
        raise DetectionError(
            f"{name}: got {type(values).__name__}, expected an array of {np.dtype(dtype)}{why}"
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


class _Names(tuple[str, ...]):
    """Names that were looked at: a thousand of them are not looked at again in every frame."""

    __slots__ = ()


def _made_names(names: Sequence[str] | Mapping[int, str] | None) -> tuple[str, ...] | None:
    """Names by class number, of a sequence, or of a dict as Ultralytics has it."""
    if isinstance(names, _Names):
        return names
    given: Any = names
    whole = int | np.integer
    if isinstance(given, Mapping) and all(isinstance(k, whole) and k >= 0 for k in given):
        given = [given.get(k, "") for k in range(max(given, default=-1) + 1)]
    if given is None:
        return None
    # A text is a sequence of texts too.
    fits = isinstance(given, Sequence | np.ndarray) and not isinstance(given, str)
    if not fits or not all(isinstance(name, str) for name in given):
        raise DetectionError(
            f"class_names: got {type(names).__name__}, expected a list of texts in the order of "
            "the class numbers, or a dict from number to text"
        )
    return _Names(given)


_IMAGE_FIXES = {
    (2, None): "cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)",
    (3, 1): "cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)",
    (3, 4): "cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)",
}
"""What makes BGR of an image, by its dimensions and channels."""


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
            channels = image.shape[2] if image.ndim == 3 else None
            fix = _IMAGE_FIXES.get((image.ndim, channels))
            raise SourceError(
                f"frame {self.index}: got {image.dtype} of shape {tuple(image.shape)}, "
                f"expected uint8 of shape (H, W, 3), BGR{f': {fix}' if fix else ''}"
            )
        if min(image.shape[:2]) < 1:
            raise SourceError(f"frame {self.index} is empty: shape {tuple(image.shape)}")
        object.__setattr__(self, "size_hw", (int(image.shape[0]), int(image.shape[1])))

    def kept(self) -> Frame:
        """The frame with an image of its own: that of `Tracker.update` may be overwritten."""
        return replace(self, image=self.image.copy())


@dataclass(frozen=True, slots=True, init=False)
class Detections:
    """The N objects that a detector found in one frame, in source pixels.

    Arrays may be given as lists, tensors on the host, and numbers of any width; names as a dict
    from class number to name too.  Scores that are not given are 1, classes -1.  Of no
    detections, arrays may have any shape.

    Attributes:
        boxes_xyxy: (N, 4) float32: left, top, right, bottom; finite, right >= left, bottom >= top.
            Pixel (0, 0) covers [0, 1) x [0, 1). May reach beyond the image; without width or
            height they are not tracked.
        scores: (N,) float32, finite; the scale is the detector's own.
        classes: (N,) int64; -1 where the class is not known.
        masks: (N, H, W) bool at source size, or None.
        keypoints: (N, K, 3) float32: x, y, confidence (<= 0: not seen), or None.
        class_names: By class number, empty where a number has none; None where no name is known.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    classes: IntArray
    masks: BoolArray | None
    keypoints: FloatArray | None
    class_names: tuple[str, ...] | None

    def __init__(
        self,
        boxes_xyxy: npt.ArrayLike,
        scores: npt.ArrayLike | None = None,
        classes: npt.ArrayLike | None = None,
        masks: npt.ArrayLike | None = None,
        keypoints: npt.ArrayLike | None = None,
        class_names: Sequence[str] | Mapping[int, str] | None = None,
    ) -> None:
        """See the attributes.

        Raises:
            DetectionError: Shapes or values that are no detections.
        """
        boxes = _made("boxes_xyxy", boxes_xyxy, np.float32)
        boxes = boxes if boxes.size else boxes.reshape(0, 4)
        _check("boxes_xyxy", boxes, (None, 4), np.float32)
        n = len(boxes)
        parts: tuple[tuple[str, Any, tuple[int | None, ...], type[np.generic]], ...] = (
            ("scores", np.ones(n, np.float32) if scores is None else scores, (n,), np.float32),
            ("classes", np.full(n, -1) if classes is None else classes, (n,), np.int64),
            ("masks", masks, (n, None, None), np.bool_),
            ("keypoints", keypoints, (n, None, 3), np.float32),
        )
        object.__setattr__(self, "boxes_xyxy", boxes)
        for name, given, shape, dtype in parts:
            made = None if given is None else _made(name, given, dtype)
            if made is not None:
                # Of no rows, arrays come in any shape: [], (0, 6) of a detector's output.
                if not n and not made.size and made.ndim != len(shape):
                    made = made.reshape([side or 0 for side in shape])
                _check(name, made, shape, dtype)
            object.__setattr__(self, name, made)
        object.__setattr__(self, "class_names", _made_names(class_names))
        if n:
            if not (np.isfinite(boxes).all() and np.isfinite(self.scores).all()):
                raise DetectionError(
                    "detections hold NaN or infinite boxes or scores: leave such rows out"
                )
            # Of a box beyond the edge, detectors that cut boxes to the image leave a line or a
            # point: heads count it as outside.
            if (boxes[:, 2:] < boxes[:, :2]).any():
                bad = int(np.argmax((boxes[:, 2:] < boxes[:, :2]).any(axis=1)))
                raise DetectionError(
                    f"detection {bad} has box {boxes[bad].tolist()} (left, top, right, bottom), "
                    "expected right >= left and bottom >= top"
                )

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def __getitem__(self, rows: Rows) -> Detections:
        """The chosen rows."""
        rows = [int(rows)] if isinstance(rows, int | np.integer) else rows
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
        return replace(self, class_names=_made_names(class_names))

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
        classes = detections.class_id
        return Detections(
            detections.xyxy,
            detections.confidence,
            classes,
            masks=getattr(detections, "mask", None),
            class_names=_names_by_class(classes, getattr(detections, "data", None)),
        )

    @staticmethod
    def empty() -> Detections:
        """No object at all."""
        return Detections(np.zeros((0, 4), np.float32))


def _names_by_class(classes: Any, data: Any) -> dict[int, str] | None:
    """Names by class number, of names by detection."""
    given = None if classes is None or not data else data.get("class_name")
    if given is None:
        return None
    return {int(label): str(name) for label, name in zip(classes, given, strict=True) if label >= 0}


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
        detection_rows: (N,) int64, from `Tracker.update` with detections: the row of the frame's
            detections that each track was matched to; -1: none, it is `predicted`.
    """

    frame_index: int
    ids: IntArray
    detections: Detections = field(default_factory=Detections.empty)
    label_map: UInt8Array | None = None
    predicted: BoolArray | None = None
    detection_rows: IntArray | None = None

    def __post_init__(self) -> None:
        _check("ids", self.ids, (len(self.detections),), np.int64)
        if self.detection_rows is not None:
            _check("detection_rows", self.detection_rows, (len(self.detections),), np.int64)
        if self.predicted is not None:
            _check("predicted", self.predicted, (len(self.detections),), np.bool_)
        if len(np.unique(self.ids)) != len(self.ids):
            raise DetectionError(f"frame {self.frame_index}: an id appears twice in {self.ids}")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: Rows) -> Tracks:
        """The chosen rows; a label map stays whole."""
        rows = [int(rows)] if isinstance(rows, int | np.integer) else rows
        return replace(
            self,
            ids=self.ids[rows],
            detections=self.detections[rows],
            predicted=None if self.predicted is None else self.predicted[rows],
            detection_rows=None if self.detection_rows is None else self.detection_rows[rows],
        )

    def to_supervision(self) -> supervision.Detections:
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
