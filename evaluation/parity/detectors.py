"""A detector's bundle against its own file, or another bundle: the same objects in every frame?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...records import Detections, Frame
from ...runtime.agreement import compare_detections
from ...runtime.boxes import iou_matrix
from ...runtime.bundle.bundle import Bundle
from ...runtime.detectors.layouts.chosen import OWN_LAYOUT
from ...runtime.detectors.model import open_model
from ...runtime.detectors.recognition import ModelSettings
from ...runtime.tables import TextTable
from ...runtime.writers.base import write_json_atomic
from ...version import __version__
from .report import PARITY_FILE


@dataclass(frozen=True, slots=True)
class DetectorBounds:
    """What may differ.

    Attributes:
        score: Of an object that both find; one that only one finds may be so much above the
            threshold.
        iou: Least overlap of the two boxes of an object.
        agreement: Of all objects, see `runtime.agreement`.
    """

    score: float
    iou: float
    agreement: float


BOUNDS = {
    # Sums of float32 in another order.
    "fp32": DetectorBounds(1e-3, 0.999, 0.998),
    # Numbers of 11 bits, and of 8, through a network.
    "fp16": DetectorBounds(0.03, 0.95, 0.9),
    # The worst object says little of int8, by which weak ones come and go: all are judged together.
    "int8": DetectorBounds(1.0, 0.0, 0.8),
}


@dataclass(frozen=True, slots=True)
class DetectorParity:
    """A backend against the reference.

    Attributes:
        backend: A key of `BACKENDS`.
        objects: That the reference finds, in all frames.
        score: Largest difference of the scores of an object.
        iou: Least overlap of its two boxes; 1 without objects.
        unmatched: By how much the best object that only one of the two finds is above the
            threshold; 0 where there is none.
        agreement: Of all objects of all frames, 1: the same.
    """

    backend: str
    objects: int
    score: float
    iou: float
    unmatched: float
    agreement: float

    def excess(self, bounds: DetectorBounds) -> str | None:
        """The bound that is exceeded, in words; None where all hold."""
        if self.unmatched > bounds.score:
            return f"an object {self.unmatched:.3f} above the threshold is found by one side only"
        if self.score > bounds.score:
            return f"scores differ by {self.score:.1e}, bound {bounds.score:.0e}"
        if self.iou < bounds.iou:
            return f"boxes overlap by {self.iou:.4f}, bound {bounds.iou}"
        if self.agreement < bounds.agreement:
            return f"detections agree to {self.agreement:.4f}, bound {bounds.agreement}"
        return None


def compare_detector(
    bundle: Bundle,
    reference: Path,
    backends: Sequence[str],
    frames: Sequence[Frame],
    threads: int = 0,
) -> list[DetectorParity]:
    """Run a detector on every backend and compare it with a reference on the CPU.

    Args:
        bundle: What is judged.
        reference: The ONNX file that it was made from, decoded in NumPy, or another bundle.
        backends: Keys of `BACKENDS`.
        frames: At least one.
        threads: Of the CPU; 0 takes all.

    Raises:
        DetectionError: The reference is no detector.
        BackendError: A backend is missing.
    """
    size_hw = bundle.spec.sizes_hw[0] if bundle.spec.sizes_hw else None
    spec = bundle.spec.detector
    # What falls just below the threshold is still the same object.
    lowest = spec["confidence"] / 2
    settings = ModelSettings(confidence=lowest, nms_limit=spec["nms_limit"])
    raw = not reference.is_dir() and bundle.spec.arch != OWN_LAYOUT.name
    # The file knows neither the size nor the normalisation that the bundle was exported with.
    own = ModelSettings(
        confidence=lowest,
        nms_limit=spec["nms_limit"],
        size_hw=size_hw,
        layout=bundle.spec.arch if raw else None,
        normalise=bundle.spec.preprocessing.get("inside") if raw else None,
    )
    with open_model(reference, own, threads=threads) as detector:
        expected = [detector.detect(frame) for frame in frames]
    rows = []
    for backend in backends:
        with open_model(bundle.path, settings, backend=backend, threads=threads) as detector:
            found = [detector.detect(frame) for frame in frames]
        rows.append(_compared(backend, expected, found, spec["confidence"]))
    return rows


def _compared(
    backend: str, expected: Sequence[Detections], found: Sequence[Detections], least: float
) -> DetectorParity:
    score, iou, unmatched = 0.0, 1.0, 0.0
    together = compare_detections(expected, found, least)
    for one, other in zip(expected, found, strict=True):
        overlap = iou_matrix(one.boxes_xyxy, other.boxes_xyxy)
        overlap = np.where(one.classes[:, None] == other.classes[None], overlap, 0)
        left = set(range(len(other)))
        for row in range(len(one)):
            best = max(left, key=overlap[row].__getitem__, default=None)
            if best is None or overlap[row, best] < 0.5:
                unmatched = max(unmatched, float(one.scores[row]) - least)
                continue
            left.discard(best)
            if max(one.scores[row], other.scores[best]) < least:
                continue
            score = max(score, abs(float(one.scores[row] - other.scores[best])))
            iou = min(iou, float(overlap[row, best]))
        unmatched = max([unmatched, *(float(other.scores[place]) - least for place in left)])
    return DetectorParity(backend, together.objects, score, iou, unmatched, together.agreement)


def rows_data(bundle: Bundle, rows: Sequence[DetectorParity]) -> dict[str, Any]:
    """What of the record is of detectors, as plain data."""
    bounds = BOUNDS[bundle.spec.precision]
    exceeded = [f"{row.backend}: {text}" for row in rows if (text := row.excess(bounds))]
    return {
        "passed": not exceeded,
        "first_exceeded": exceeded[0] if exceeded else None,
        "bounds": asdict(bounds),
        "backends": [asdict(row) for row in rows],
    }


def parity_data(
    bundle: Bundle, reference: str, clip: dict[str, Any], rows: dict[str, Any]
) -> dict[str, Any]:
    """The record of a comparison, as plain data; `rows` is that of `rows_data`."""
    return {
        "toolkit": __version__,
        "precision": bundle.spec.precision,
        "reference": reference,
        "clip": clip,
        **rows,
        "sha256": {name: graph.sha256 for name, graph in bundle.spec.graphs.items()},
    }


def parity_table(rows: Sequence[DetectorParity]) -> TextTable:
    """For the terminal."""
    head = (
        *("backend", "objects", "largest difference of scores", "least IoU", "found by one only"),
        "agreement",
    )
    cells = [
        (
            *(r.backend, str(r.objects), f"{r.score:.1e}", f"{r.iou:.5f}", f"{r.unmatched:.3f}"),
            f"{r.agreement:.4f}",
        )
        for r in rows
    ]
    return TextTable(head, cells)


def write_parity(bundle: Bundle, data: dict[str, Any]) -> Path:
    """Keep the record in the bundle."""
    path = bundle.path / PARITY_FILE
    write_json_atomic(path, data)
    return path
