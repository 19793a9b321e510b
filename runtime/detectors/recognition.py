"""What a detector's graph turns out to be: the layout of its outputs, its image, its classes."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DetectionError
from ..bundle.spec import GraphSpec, TensorSpec
from ..inference.base import Engine, to_host
from .classes import names_by_count, names_in_metadata, read_names
from .decoded import LONGEST, METADATA_KEY, DetectorFacts, check_layout
from .image import ImageInput, ImageRule, find_normalisation, read_image_input
from .layouts.base import Graph, Layout, Roles, Shapes
from .layouts.chosen import OWN_LAYOUT
from .layouts.table import LAYOUTS, find_layout, recognise

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
        facts = _with_settings(own, settings, name)
        classes = len(facts.class_names) or None
        rule = replace(layout.image, fit=facts.fit, pad=facts.pad, smooth=facts.smooth)
        return Recognised(layout, roles, image, rule, facts, classes, shapes)
    classes = None if layout.count is None else layout.count(shapes)
    facts = _facts_of(layout, metadata, settings, classes, name)
    rule = replace(layout.image, normalise=settings.normalise or _normalisation(layout, image))
    classes = classes or len(facts.class_names) or None
    stored_hw = stored_hw if layout.open_size == "square" else None
    return Recognised(layout, roles, image, rule, facts, classes, shapes, stored_hw)


def _with_settings(own: DetectorFacts, settings: ModelSettings, name: str) -> DetectorFacts:
    """What is stored with a model that `cli export` wrote, and what the user says besides."""
    if settings.normalise is not None:
        raise DetectionError(
            f"{name} normalises in its graph: leave out --detector-normalise, or export again"
        )
    if settings.names is None:
        return own
    names = read_names(settings.names, len(own.class_names) or None)
    return replace(own, class_names=names)


def _facts_of(
    layout: Layout,
    metadata: Mapping[str, str],
    settings: ModelSettings,
    classes: int | None,
    name: str,
) -> DetectorFacts:
    """What is known of a model of a layout, which has so many classes; None: not known."""
    half, power = layout.score
    return DetectorFacts(
        name.removeprefix("--detector "),
        _class_names(layout, metadata, settings, classes),
        score_half=half,
        score_power=power,
        confidence=layout.confidence,
        nms_limit=layout.nms_limit,
        fit=layout.image.fit,
        pad=layout.image.pad,
        smooth=layout.image.smooth,
    )


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
    return stored or (("person",) if layout.person else names_by_count(count))


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
