"""Detectors of an ONNX file of any layout of `layouts.table`: `--detector MODEL.onnx`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import BackendError, DetectionError, RequestError, UnitrackError, count
from ...records import BoolArray, Detections, Frame, IntArray
from ..boxes import nms, rows_in_image, valid_rows
from ..bundle.bundle import Bundle
from ..bundle.spec import DETECTOR_GRAPH
from ..formats.keypoints import posetrack_from_coco
from ..inference.base import Engine
from ..inference.onnxruntime import OnnxRuntimeEngine
from ..inference.registry import find_backend
from ..inference.runner import GraphRunner
from ..paths import is_file, is_folder
from ..preprocessing import Letterbox
from .base import Detector
from .decoded import (
    METADATA_KEY,
    LargeObjects,
    network_size,
)
from .image import (
    Canvas,
    find_normalisation,
    mask_in_source,
)
from .layouts.base import Candidates
from .recognition import SQUARE, ModelSettings, feeds_of, read_model

MOST_CANDIDATES = 2000
"""Detections above the threshold that are compared with one another in a frame, the best first."""


class ModelDetector(Detector):
    """A detector that runs a graph on every frame.

    Args:
        engine: The graph, loaded; closed with this one.
        settings: Of the user.
        name: What it is called in messages.
        metadata: Texts that are stored with the graph.
        close: Gives the graph back; None: the engine's own.

    Attributes:
        facts: What is known of the model.
        recognised: Its layout.

    Raises:
        DetectionError: The graph is of no known layout, or a setting does not fit it; the engine
            is then still open.
        BackendError: The graph fails at its first image.
    """

    def __init__(
        self,
        engine: Engine,
        settings: ModelSettings | None = None,
        name: str = "detector",
        metadata: Mapping[str, str] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self._engine, self._name, self._close = engine, name, close or engine.close
        self._settings = settings or ModelSettings()
        self.recognised = read_model(engine, metadata or {}, self._settings, name)
        self.facts = self.recognised.facts
        self.class_names = self.facts.class_names or None
        self.descriptions = (f"{name}: recognised as {self.recognised.describe()}",)
        self._size_hw = self._fixed_size()
        self._normalisation = find_normalisation(self.recognised.rule.normalise)
        self._canvas = Canvas(self.recognised.rule)
        self._crowded = 0
        self._scale, self._source_hw = 1.0, SQUARE
        self._large, self._time_s = LargeObjects(), 0.0

    def detect(self, frame: Frame) -> Detections:
        """Detections in one frame, best first.

        Returns:
            Boxes in source pixels, which may reach a little beyond the image; scores are
            probabilities; keypoints, if the detector sees poses, in PoseTrack18's layout; masks, if
            it gives any, cut off at the boxes.

        Raises:
            DetectionError: The model gave NaN or infinite values.
            BackendError: The backend failed.
        """
        known = self.recognised
        self._source_hw, self._time_s = frame.size_hw, frame.time_s
        network_hw = self._next_hw()
        image, place = self._canvas.put(frame.image, network_hw)
        feeds = feeds_of(self._engine.spec, known.image, network_hw) or {}
        feeds[known.image.name] = known.image.feed(image, self._normalisation)
        outputs = known.outputs(self._engine.run(feeds), self._engine.spec)
        if not all(np.isfinite(array).all() for array in outputs.values()):
            raise DetectionError(
                f"{self._name}: the model gave NaN or infinite values for frame {frame.index}; "
                f"expected a model of {known.rule.normalise} images: set --detector-normalise"
            )
        found = self._choose(known.layout.decode(outputs, network_hw), place)
        smaller = network_hw != self._network_hw(frame.size_hw)
        self._large.saw(found, frame.time_s, smaller=smaller)
        return found

    def _next_hw(self) -> tuple[int, int]:
        """Height and width of the next image: smaller ones where time is short."""
        usual = self._network_hw(self._source_hw)
        wanted = self._network_hw(self._source_hw, self._large.enough(self._time_s))
        return wanted if wanted != usual and self._takes(wanted) else usual

    def save_time(self, on: bool) -> bool:
        """See `Detector`; an image of a size that the graph or the user says keeps it."""
        self._large.saves = on
        return self._next_hw() != self._network_hw(self._source_hw)

    def resize(self, scale: float) -> bool:
        """See `Detector`; an engine that takes no such size keeps the one it has."""
        image = self.recognised.image
        if image.size_hw is not None:
            return False
        before, former = self._network_hw(self._source_hw), self._scale
        self._scale = scale
        sides = self._network_hw(self._source_hw)
        changed = sides != before and self._takes(sides)
        if not changed:
            self._scale = former
        return changed

    def _takes(self, sides: tuple[int, int]) -> bool:
        """Whether the engine takes an image that is so small."""
        image, inputs = self.recognised.image, self._engine.spec.inputs
        place = inputs.index(next(tensor for tensor in inputs if tensor.name == image.name))
        first = image.batched + (not image.channels_last)
        return all(side >= self._engine.least(place, first + k) for k, side in enumerate(sides))

    def notes(self, source_frames: int | None = None) -> list[str]:  # noqa: ARG002
        """Notes on frames with more detections than are compared, and on smaller images."""
        crowded, smaller = self._crowded, self._large.smaller
        notes = {
            f"{self._name}: more than {MOST_CANDIDATES} candidates in {crowded} frames, of "
            "which the best were kept: raise --detector-confidence": crowded,
            f"{self._name}: {count(smaller, 'image was', 'images were')} smaller than usual, which "
            "suffices for what was found (--detect-every auto); --detector-size HxW fixes "
            "the size": smaller,
        }
        return [note for note, number in notes.items() if number]

    def _choose(self, seen: Candidates, place: Letterbox) -> Detections:
        """What is probable enough, in the image, and not there twice; in source pixels."""
        scores = self.facts.probability(seen.scores)
        least = self._settings.confidence
        good = scores >= (self.facts.confidence if least is None else least)
        # Rows that hold nothing have score 0, which a threshold of 0 must not let through.
        good &= (seen.scores > 0) & valid_rows(seen.boxes_xyxy)
        rows = self._best(good, scores)
        boxes = place.to_source(seen.boxes_xyxy[rows])
        inside = rows_in_image(boxes, place.source_hw)
        rows, boxes = rows[inside], boxes[inside]
        limit = self._settings.nms_limit
        limit = self.facts.nms_limit if limit is None else limit
        kept = nms(boxes, scores[rows], limit, seen.classes[rows])
        rows, boxes = rows[kept], boxes[kept]
        keypoints = masks = None
        if seen.keypoints is not None:
            keypoints = seen.keypoints[rows].astype(np.float32)
            keypoints[..., :2] = place.points_to_source(keypoints[..., :2])
            keypoints = posetrack_from_coco(keypoints)
        if seen.masks is not None:
            masks = np.zeros((len(rows), *place.source_hw), np.bool_)
            for row, sure in enumerate(seen.masks(rows)):
                masks[row] = mask_in_source(sure, place, boxes[row])
        return Detections(
            boxes.astype(np.float32),
            scores[rows].astype(np.float32),
            seen.classes[rows].astype(np.int64),
            masks,
            keypoints,
        )

    def _best(self, good: BoolArray, scores: npt.NDArray[np.float32]) -> IntArray:
        """Numbers of the good rows; of too many, the best."""
        rows = np.flatnonzero(good).astype(np.int64)
        if len(rows) <= MOST_CANDIDATES:
            return rows
        self._crowded += 1
        best = np.argsort(-scores[rows], kind="stable")[:MOST_CANDIDATES]
        return np.sort(rows[best])

    def _network_hw(self, source_hw: tuple[int, int], enough: float = inf) -> tuple[int, int]:
        """Height and width of the network's image for a source; `enough`: see `network_size`."""
        usual = self._size_hw or self._open_size(source_hw, enough)
        if self._scale == 1.0:
            return usual
        multiple, smallest = self.facts.multiple, self.facts.smallest
        height, width = (
            max(round(side * self._scale / multiple) * multiple, smallest) for side in usual
        )
        return height, width

    def _open_size(self, source_hw: tuple[int, int], enough: float) -> tuple[int, int]:
        """Height and width of the network's image for a source, where nothing fixes them."""
        how = self.recognised.layout.open_size
        if how == "follow":
            return network_size(source_hw, self.facts, self._settings.longest, enough)
        return source_hw if how == "source" else SQUARE

    def _fixed_size(self) -> tuple[int, int] | None:
        """The size of the network's image; None where it depends on the source.

        Raises:
            RequestError: A size was asked for that the graph does not take.
        """
        fixed, asked = self.recognised.image.size_hw, self._settings.size_hw
        if asked is None or asked == fixed:
            return fixed or self.recognised.stored_hw
        if fixed is not None:
            raise RequestError(
                f"{self._name} was exported for {fixed[0]}x{fixed[1]}, got {asked[0]}x{asked[1]}"
            )
        facts = self.facts
        if any(side % facts.multiple or side < facts.smallest for side in asked):
            raise RequestError(
                f"{self._name} takes multiples of {facts.multiple} from {facts.smallest}, got "
                f"{asked[0]}x{asked[1]}"
            )
        return asked

    def close(self) -> None:
        """Give the model back."""
        self._close()


def open_model(
    path: Path, settings: ModelSettings | None = None, *, backend: str = "cpu", threads: int = 0
) -> ModelDetector:
    """Load a detector's bundle, or its ONNX file, whose layout is recognised.

    Args:
        path: Of either.
        settings: Of the user.
        backend: A key of `registry.BACKENDS`; a file runs in ONNX Runtime on its device.
        threads: Of the CPU; 0 takes as many as this process may use.

    Raises:
        DetectionError: There is no such file, it is of no known layout, what is stored with it is
            damaged, or a setting does not fit it.
        BundleError: The bundle is damaged.
        BackendError: The backend cannot load it.
    """
    name = f"--detector {path}"
    if is_folder(path):
        return _open_bundle(path, settings, name, backend, threads)
    engine = _load(path, name, find_backend(backend).onnx_device, threads)
    try:
        return ModelDetector(engine, settings, name, engine.metadata)
    except (DetectionError, BackendError):
        engine.close()
        raise


def _open_bundle(
    path: Path, settings: ModelSettings | None, name: str, backend: str, threads: int
) -> ModelDetector:
    bundle = Bundle.load(path)
    if bundle.spec.kind != "detector":
        raise DetectionError(
            f"{name} is the bundle of the {bundle.spec.kind} model {bundle.spec.backbone}, "
            f"expected a detector's: give it as {bundle.spec.flags}"
        )
    graphs = GraphRunner(bundle, backend, threads)
    try:
        engine, stored = graphs.engine(DETECTOR_GRAPH), json.dumps(dict(bundle.spec.detector))
        return ModelDetector(engine, settings, name, {METADATA_KEY: stored}, graphs.close)
    except UnitrackError:
        graphs.close()
        raise


def what_it_finds(path: Path, layout: str | None = None) -> frozenset[str]:
    """`boxes`, `keypoints`, `masks`: what a detector finds; loads a file's graph to find out.

    Args:
        path: Of its bundle or file.
        layout: As `ModelSettings.layout`.

    Raises:
        DetectionError: It is of no known layout, or what is stored with it is damaged.
        BackendError: ONNX Runtime cannot load it.
    """
    name = f"--detector {path}"
    if is_folder(path):
        outputs = {tensor.name for tensor in Bundle.load(path).graph(DETECTOR_GRAPH).outputs}
        masks = {"masks"} if outputs & {"masks", "prototypes"} else set()
        return frozenset({"boxes", *masks, *({"keypoints"} & outputs)})
    with _load(path, name, "cpu", 1) as engine:
        return read_model(engine, engine.metadata, ModelSettings(layout=layout), name).finds


def _load(path: Path, name: str, device: str, threads: int) -> OnnxRuntimeEngine:
    if not is_file(path):
        raise DetectionError(f"{name}: there is no such file")
    try:
        return OnnxRuntimeEngine(path, device=device, threads=threads)
    except BackendError as error:
        if "_TRT" in str(error) or "TRTBatched" in str(error) or "Plugin" in str(error):
            raise BackendError(
                f"{error}; the graph holds an operator that only a plugin of TensorRT runs: export "
                "the model without NMS, which is done here"
            ) from error
        raise
