"""Detectors of an ONNX file of any layout of `layouts.table`: `--detector MODEL.onnx`."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import BackendError, DetectionError, RequestError, UnitrackError, count
from ...records import BoolArray, Detections, Frame, IntArray
from ..boxes import nms, rows_in_image, valid_rows
from ..bundle.bundle import Bundle
from ..bundle.spec import DETECTOR_GRAPH, GraphSpec, TensorSpec
from ..formats.keypoints import posetrack_from_coco
from ..inference.base import Engine, to_host
from ..inference.onnxruntime import OnnxRuntimeEngine
from ..inference.registry import find_backend
from ..inference.runner import GraphRunner
from ..paths import is_file, is_folder
from ..preprocessing import Letterbox
from .base import Detector
from .class_names import PERSON_NAME, names_by_count, names_in_metadata, read_names
from .decoded import (
    LONGEST,
    METADATA_KEY,
    DetectorFacts,
    LargeObjects,
    check_layout,
    network_size,
)
from .image import (
    Canvas,
    ImageInput,
    ImageRule,
    find_normalisation,
    mask_in_source,
    read_image_input,
)
from .layouts.base import Candidates, Graph, Layout, Roles, Shapes
from .layouts.chosen import OWN_LAYOUT
from .layouts.table import LAYOUTS, find_layout, recognise

MOST_CANDIDATES = 2000
"""Detections above the threshold that are compared with one another in a frame, the best first."""

SQUARE = (640, 640)
"""Height and width of the image where neither the file nor the user says it."""

_EMPTY = (64, 64)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Settings of a detector.

    Attributes:
        confidence: Lowest probability that is reported; None: the detector's own.
        nms_limit: IoU above which the worse of two boxes goes; None: the detector's own.
        names: File of the classes' names; None: what the model says, or COCO's.
        layout: A name of `layouts.table.LAYOUTS`; None: recognised.
        normalise: A key of `image.NORMALISATIONS`; None: the layout's.
        size_hw: Height and width of the network's image where the graph leaves them open; None:
            see `Layout.open_size`.
        longest: Network pixels of the longer side at most, where the size follows the source.
    """

    confidence: float | None = None
    nms_limit: float | None = None
    names: Path | None = None
    layout: str | None = None
    normalise: str | None = None
    size_hw: tuple[int, int] | None = None
    longest: int = LONGEST

    def __post_init__(self) -> None:
        for name, value in (("confidence", self.confidence), ("nms_limit", self.nms_limit)):
            if value is not None and not 0 <= value <= 1:
                raise DetectionError(f"detector: {name} is {value}, expected 0 to 1")


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a graph turned out to be.

    Attributes:
        layout: Of its outputs.
        roles: Which output is what.
        image: Its input.
        rule: How the image is made.
        facts: What else is known; class names may be missing.
        classes: How many there are; None: not known.
        shapes: Of the outputs by role, without the batch, for the image that was looked at.
        stored_hw: Size of the image that the file's metadata name; None: none.
    """

    layout: Layout
    roles: Roles
    image: ImageInput
    rule: ImageRule
    facts: DetectorFacts
    classes: int | None
    shapes: Shapes
    stored_hw: tuple[int, int] | None = None

    @property
    def finds(self) -> frozenset[str]:
        """`boxes`, and `keypoints` and `masks` where there are any."""
        masks = {"masks", "prototypes"} & self.roles.keys()
        poses = self.layout.keypoints or "keypoints" in self.roles
        return frozenset(
            {"boxes", *(["masks"] if masks else []), *(["keypoints"] if poses else [])}
        )

    def outputs(self, given: Mapping[str, Any], spec: GraphSpec) -> dict[str, npt.NDArray[Any]]:
        """What a graph gave, by role: without the batch, floats as float32."""
        outputs = {}
        for role, place in self.roles.items():
            array = to_host(given[spec.outputs[place].name])
            if self.layout.batched:
                array = array.reshape(array.shape[1:])
            if np.issubdtype(array.dtype, np.floating):
                array = array.astype(np.float32, copy=False)
            outputs[role] = array
        return outputs

    def describe(self) -> str:
        """For people, in a few words."""
        size = self.image.size_hw or self.stored_hw
        sides = "any size" if size is None else f"{size[0]}x{size[1]}"
        names = [name for name in self.facts.class_names if name]
        some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        number = "" if self.classes is None else f"{self.classes} "
        count = f"{len(names)} classes ({some})" if names else f"{number}classes without names"
        found = " and ".join(sorted(self.finds))
        return f"{self.layout.name}: {found} of {count}, image {sides} {self.rule.normalise}"


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


def read_model(
    engine: Engine, metadata: Mapping[str, str], settings: ModelSettings, name: str
) -> Recognised:
    """Recognise a graph by its inputs, outputs and metadata.

    A graph that leaves sizes of its outputs open is run once, on a grey image, to see them.

    Args:
        engine: The graph, loaded.
        metadata: Texts that are stored with it.
        settings: May name the layout, the normalisation and the size of the image.
        name: What it is called in messages.

    Raises:
        DetectionError: It is of no known layout, or not of the one named; says what it has.
        BackendError: It cannot run.
    """
    chosen = None if settings.layout is None else find_layout(settings.layout)
    if settings.normalise is not None:
        find_normalisation(settings.normalise)
    own = None
    if METADATA_KEY in metadata and chosen in (None, OWN_LAYOUT):
        own = DetectorFacts.from_json(metadata[METADATA_KEY], name)
        check_layout(engine.spec, own, name)
    image = read_image_input(engine.spec)
    if image is None or feeds_of(engine.spec, image, _EMPTY) is None:
        raise _refusal(engine.spec, chosen, name)
    stored_hw = None if image.size_hw is not None else _stored_size(metadata)
    size_hw = image.size_hw or settings.size_hw or stored_hw or SQUARE
    outputs = _concrete_outputs(engine, image, size_hw)
    found = recognise(Graph(size_hw, outputs, metadata), chosen)
    if found is None:
        raise _refusal(engine.spec, chosen, name)
    layout, roles = found
    skipped = int(layout.batched)
    shapes = {role: tuple(map(int, outputs[p].shape[skipped:])) for role, p in roles.items()}
    if own is not None:
        if settings.normalise is not None:
            raise DetectionError(
                f"{name} normalises in its graph: leave out --detector-normalise, or export again"
            )
        if settings.names is not None:
            count = len(own.class_names) or None
            own = replace(own, class_names=read_names(settings.names, count))
        rule = replace(layout.image, fit=own.fit, pad=own.pad, smooth=own.smooth)
        count = len(own.class_names) or None
        return Recognised(layout, roles, image, rule, own, count, shapes)
    rule = replace(layout.image, normalise=settings.normalise or _normalisation(layout, image))
    count = None if layout.count is None else layout.count(shapes)
    names = _class_names(layout, metadata, settings, count)
    half, power = layout.score
    facts = DetectorFacts(
        name.removeprefix("--detector "),
        names,
        score_half=half,
        score_power=power,
        confidence=layout.confidence,
        nms_limit=layout.nms_limit,
        fit=rule.fit,
        pad=rule.pad,
        smooth=rule.smooth,
    )
    if layout.open_size != "square":
        stored_hw = None
    count = count or len(names) or None
    return Recognised(layout, roles, image, rule, facts, count, shapes, stored_hw)


def _normalisation(layout: Layout, image: ImageInput) -> str:
    """The layout's own; of a graph that takes whole numbers, its colours from 0 to 255."""
    own = layout.image.normalise
    return own if image.dtype.startswith("float") else f"{own.split('-')[0]}-255"


def _class_names(
    layout: Layout, metadata: Mapping[str, str], settings: ModelSettings, count: int | None
) -> tuple[str, ...]:
    """Of the user's file, of the model's metadata, or COCO's by number; empty where unknown."""
    stored = names_in_metadata(metadata)
    if count is not None and len(stored) != count:
        stored = ()
    if settings.names is not None:
        return read_names(settings.names, count or len(stored) or None)
    return stored or ((PERSON_NAME,) if layout.person else names_by_count(count))


def _stored_size(metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """Height and width that the file's metadata name, as Ultralytics writes them."""
    try:
        size = ast.literal_eval(metadata.get("imgsz", ""))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    fits = isinstance(size, list) and len(size) == 2 and all(isinstance(s, int) for s in size)
    return (size[0], size[1]) if fits and all(32 <= s <= 8192 for s in size) else None


def feeds_of(
    spec: GraphSpec, image: ImageInput, size_hw: tuple[int, int]
) -> dict[str, npt.NDArray[Any]] | None:
    """What a graph takes besides its image: the size in pixels to which boxes are scaled.

    Args:
        spec: The graph.
        image: Its image.
        size_hw: Height and width of the network's image.

    Returns:
        Width and height, (1, 2), for an input of two whole numbers whose name says "size"; None
        where the graph takes something else.
    """
    feeds: dict[str, npt.NDArray[Any]] = {}
    for tensor in spec.inputs:
        if tensor.name == image.name:
            continue
        fits = "size" in tensor.name and tensor.dtype in ("int64", "int32", "float32")
        if not fits or len(tensor.shape) != 2 or tensor.shape[0] not in (1, *_open(tensor)):
            return None
        feeds[tensor.name] = np.array([size_hw[::-1]], tensor.dtype)
    return feeds


def _open(tensor: TensorSpec) -> list[str]:
    return [size for size in tensor.shape if isinstance(size, str)]


def _concrete_outputs(
    engine: Engine, image: ImageInput, size_hw: tuple[int, int]
) -> tuple[TensorSpec, ...]:
    """The graph's outputs with the shapes that an image of a size gives."""
    if not any(tensor.is_dynamic or not tensor.shape for tensor in engine.spec.outputs):
        return engine.spec.outputs
    grey = np.full((*size_hw, 3), 128, np.uint8)
    feeds = feeds_of(engine.spec, image, size_hw) or {}
    outputs = engine.run({**feeds, image.name: image.feed(grey, find_normalisation("rgb-255"))})
    return tuple(replace(t, shape=tuple(outputs[t.name].shape)) for t in engine.spec.outputs)


def _refusal(spec: GraphSpec, chosen: Layout | None, name: str) -> DetectionError:
    """The error for a graph of no known layout, or not of the one that was named."""
    takes, gives = (
        ", ".join(f"{tensor.name} {tensor.describe()}" for tensor in tensors)
        for tensors in (spec.inputs, spec.outputs)
    )
    if chosen is not None:
        return DetectionError(
            f"{name} is not of --detector-layout {chosen.name}: got {takes} to {gives}, expected "
            f"one image (1, 3, H, W) or (1, H, W, 3) to {chosen.outputs}"
        )
    return DetectionError(
        f"{name} is of no known layout: got {takes} to {gives}, expected one image (1, 3, H, W) or "
        f"(1, H, W, 3) and the outputs of one of {', '.join(LAYOUTS)} (docs/detectors.md shows "
        "them): export the model again, or name its layout with --detector-layout"
    )
