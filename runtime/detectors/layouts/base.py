"""What a layout of a detector's outputs is, and what every layout is decoded into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ....records import FloatArray, IntArray
from ...bundle.spec import TensorSpec
from ..image import ImageRule

JOINTS = 17
"""COCO's; models of other joints are of no known layout."""

Outputs = Mapping[str, npt.NDArray[Any]]
"""Arrays by their role in a layout, without the axis of the batch; floats are float32."""

Roles = dict[str, int]
"""Which output plays which role in a layout."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of outputs by their role, without the axis of the batch."""


@dataclass(frozen=True, slots=True)
class Graph:
    """What a layout is recognised by.

    Attributes:
        size_hw: Height and width of the network's image in pixels.
        outputs: Of the graph, with the shapes that an image of that size gives.
        metadata: Texts that are stored with the graph.
    """

    size_hw: tuple[int, int]
    outputs: tuple[TensorSpec, ...]
    metadata: Mapping[str, str]

    def shapes(self, kind: Literal["float", "int"]) -> list[tuple[int, tuple[int, ...]]]:
        """Places and shapes of the outputs of floats, or of whole numbers."""
        return [
            (place, tuple(int(size) for size in tensor.shape))
            for place, tensor in enumerate(self.outputs)
            if tensor.dtype.startswith(kind)
        ]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The N rows of a layout in pixels of the network's image, good and bad, before suppression.

    Attributes:
        boxes_xyxy: (N, 4) float32: left, top, right, bottom.
        scores: (N,) float32, the model's own; rows that hold nothing have 0.
        classes: (N,) int64.
        keypoints: (N, 17, 3) float32 of COCO's joints: x, y, score; None: not found.
        masks: Given M row numbers, (M, h, w) float32 probabilities over the network's image; None:
            not found.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    classes: IntArray
    keypoints: FloatArray | None = None
    masks: Callable[[IntArray], FloatArray] | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """A row of the table.

    Attributes:
        name: As `--detector-layout` takes it.
        outputs: What the outputs are, for messages.
        read: Which output plays which role; None where a graph is of another layout.
        decode: The candidates of one image, given its outputs by role and its height and width.
        count: Number of classes by the outputs' shapes (without the batch); None: not to be told.
        image: How the network wants its image; a graph that takes whole numbers gets 0 to 255.
        nms_limit: IoU above which the worse of two boxes of one class is left out; 1: none is.
        keypoints: Whether it finds poses.
        open_size: Size of the image where the graph leaves it open: `square` (the file's own, or
            640×640), `source` (the network scales by itself) or `follow` (half the source or so).
        person: Whether it finds people and nothing else.
        score: What a score of one half means and how steeply the probability rises; see
            `DetectorFacts`.
        confidence: Detections that are less probable are left out.
        batched: Whether the outputs have the axis of the batch.
    """

    name: str
    outputs: str
    read: Callable[[Graph], Roles | None]
    decode: Callable[[Outputs, tuple[int, int]], Candidates]
    count: Callable[[Shapes], int] | None
    image: ImageRule
    nms_limit: float = 1.0
    keypoints: bool = False
    open_size: Literal["square", "source", "follow"] = "square"
    person: bool = False
    score: tuple[float, float] = (0.5, 0.0)
    confidence: float = 0.25
    batched: bool = True


def boxes_from_centres(centres: FloatArray, sides: FloatArray) -> FloatArray:
    """(N, 2) centres and (N, 2) widths and heights as (N, 4) left, top, right, bottom."""
    halves = sides / 2
    return np.concatenate([centres - halves, centres + halves], axis=1)


def best_class(scores: FloatArray) -> tuple[FloatArray, IntArray]:
    """(N, C) scores to the best one (N,) and its class (N,) int64."""
    labels = scores.argmax(axis=1).astype(np.int64)
    return np.take_along_axis(scores, labels[:, None], axis=1)[:, 0], labels


def sigmoid(logits: FloatArray) -> FloatArray:
    """The logistic function of logits of any shape, float32."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -50, 50))), np.float32)


def weighed_masks(prototypes: FloatArray, weights: FloatArray) -> Callable[[IntArray], FloatArray]:
    """Masks of rows as sums of prototypes (P, h, w), weighed with (N, P) weights, of logits."""
    flat = prototypes.reshape(len(prototypes), -1)
    return lambda rows: sigmoid(weights[rows] @ flat).reshape(-1, *prototypes.shape[1:])
