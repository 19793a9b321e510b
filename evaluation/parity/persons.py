"""A pose or mask model's bundle against its own file, or another bundle, on the same crops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import RequestError
from ...records import Detections, FloatArray, Frame, UInt8Array
from ...runtime.bundle.bundle import Bundle
from ...runtime.bundle.spec import MASK_GRAPH, POSE_GRAPH
from ...runtime.detectors.mask import MARGIN as MASK_MARGIN
from ...runtime.detectors.mask import MaskModel
from ...runtime.detectors.pose import MARGIN as POSE_MARGIN
from ...runtime.detectors.pose import PoseModel
from ...runtime.detectors.topdown import PersonCrop, PersonModel
from ...runtime.formats.keypoints import JOINTS
from ...runtime.tables import TextTable

MODELS: dict[str, tuple[Callable[..., PersonModel], float]] = {
    POSE_GRAPH: (PoseModel, POSE_MARGIN),
    MASK_GRAPH: (MaskModel, MASK_MARGIN),
}
"""By graph: what runs it, and the margin of its crops."""

BOUNDS = {"fp32": 1e-3, "fp16": 0.03}
"""What may differ by a bundle's precision, see `PersonParity.difference`."""


@dataclass(frozen=True, slots=True)
class PersonParity:
    """A backend against the reference.

    Attributes:
        backend: A key of `BACKENDS`.
        graph: `pose` or `mask`.
        crops: How many were looked at.
        difference: Of poses, the largest of a joint's place, as a share of the crop's longer side,
            and of its score. Of masks, the largest share of a crop that is the person's in one and
            not in the other.
    """

    backend: str
    graph: str
    crops: int
    difference: float

    def excess(self, bound: float) -> str | None:
        """The bound that is exceeded, in words; None where it holds."""
        if self.difference <= bound:
            return None
        return f"{self.graph}s differ by {self.difference:.1e}, bound {bound:.0e}"


def compare_persons(
    bundle: Bundle,
    reference: Path,
    backends: Sequence[str],
    frames: Sequence[Frame],
    seen: Sequence[Detections],
    threads: int = 0,
) -> list[PersonParity]:
    """Run a model on every backend and compare it with a reference on the CPU.

    Args:
        bundle: What is judged.
        reference: The ONNX file that it was made from, decoded in NumPy, or another bundle.
        backends: Keys of `BACKENDS`.
        frames: At least one.
        seen: The boxes in each, source pixels.
        threads: Of the CPU; 0 takes all.

    Raises:
        RequestError: No box of the clip lies in its image.
        DetectionError: The reference is no such model.
        BackendError: A backend is missing.
    """
    rows = []
    for graph in (name for name in MODELS if name in bundle.spec.graphs):
        crops = _crops(graph, bundle.spec.sizes_hw[0], frames, seen)
        if not crops:
            raise RequestError("no detection lies in the frames: take other --frames")
        expected = _found(graph, reference, "cpu", crops, threads)
        for backend in backends:
            found = _found(graph, bundle.path, backend, crops, threads)
            away = difference(expected, found, bundle.spec.sizes_hw[0])
            rows.append(PersonParity(backend, graph, len(crops), away))
    return rows


def _crops(
    graph: str, model_hw: tuple[int, int], frames: Sequence[Frame], seen: Sequence[Detections]
) -> list[UInt8Array]:
    margin = MODELS[graph][1]
    places = [
        (frame, PersonCrop.about(box, frame.size_hw, model_hw, margin))
        for frame, boxes in zip(frames, seen, strict=True)
        for box in boxes.boxes_xyxy
    ]
    return [crop.cut(frame.image) for frame, crop in places if crop is not None]


def _found(
    graph: str, path: Path, backend: str, crops: Sequence[UInt8Array], threads: int
) -> FloatArray:
    model = MODELS[graph][0](path, backend=backend, threads=threads)
    try:
        return model.read(crops)
    finally:
        model.close()


def difference(one: FloatArray, other: FloatArray, size_hw: tuple[int, int]) -> float:
    """Of poses (N, 17, 3) or masks (N, h, w) in crops of a size: see `PersonParity`."""
    if one.shape != other.shape:
        raise RequestError(f"the models give {one.shape} and {other.shape}: expected the same")
    if one.shape[1:] == (JOINTS, 3):
        return float((np.abs(one - other) / (max(size_hw), max(size_hw), 1)).max(initial=0))
    return float(((one > 0.5) != (other > 0.5)).mean(axis=(1, 2)).max(initial=0))


def parity_table(rows: Sequence[PersonParity]) -> TextTable:
    """For the terminal."""
    cells = [(r.backend, r.graph, str(r.crops), f"{r.difference:.1e}") for r in rows]
    return TextTable(("backend", "graph", "crops", "largest difference"), cells, left=2)


def rows_data(bundle: Bundle, rows: Sequence[PersonParity]) -> dict[str, Any]:
    """What of the record is of such models, as plain data."""
    bound = BOUNDS[bundle.spec.precision]
    exceeded = [f"{row.backend}: {text}" for row in rows if (text := row.excess(bound))]
    return {
        "passed": not exceeded,
        "first_exceeded": exceeded[0] if exceeded else None,
        "bounds": {"difference": bound},
        "backends": [asdict(row) for row in rows],
    }
