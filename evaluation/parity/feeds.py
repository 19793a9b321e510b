"""Inputs that graphs are compared on: of the right kind, at several sizes, without PyTorch.

The exporter has examples of its own, of two small sizes; here sizes come from the bundle's profile,
which is all that an engine takes, and what is fed resembles what the heads feed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...errors import BundleError
from ...records import UInt8Array
from ...runtime.bundle.bundle import Bundle
from ...runtime.bundle.spec import GraphSpec, TensorSpec

Feeds = tuple[npt.NDArray[Any], ...]
"""The inputs of a graph in the order of its spec."""

SHARES = (0.0, 0.2, 0.5)
"""Sizes that graphs are compared at: on the way from the profile's smallest to its expected."""

TEMPERATURE = 0.05
"""Of propagation."""

_HIDDEN = -1.0e4

_NOISE = 0.6
"""How far a detection's points are from its tracklet's: costs of 0.1 to 0.5."""

_NUMBERS: dict[str, float] = {
    "temperature": TEMPERATURE,
    "rate": 0.25,
    "regularisation": 0.25,
    "scale": 100.0,
    "top_k": 7,
}

_INDEX_BELOW = {
    "row_index": ("frame_height",),
    "column_index": ("frame_width",),
    # Bundles of before call them rows.
    "index": ("map_rows", "rows", "cols"),
    "chosen": ("old",),
    "query_index": ("rows", "cols"),
    "window_index": ("rows", "cols"),
    "order": ("queries",),
}

_SHARED_OUT = frozenset({"weights_y", "weights_x", "weight", "labels", "best_labels"})


def feeds_of(
    bundle: Bundle,
    graph: str,
    images: Sequence[UInt8Array],
    shares: Sequence[float] = SHARES,
) -> list[Feeds]:
    """Inputs of a graph at several sizes; the same whenever they are asked for.

    Args:
        bundle: Whose.
        graph: Its name.
        images: (H, W, 3) uint8 frames for the backbone.
        shares: Of the way from the smallest to the expected size, 0 to 1.

    Returns:
        For each share the graph's inputs, with the dtypes of its spec; once where sizes coincide.

    Raises:
        BundleError: The bundle has no such graph, or says nothing of its sizes.
    """
    spec = bundle.graph(graph)
    rng = np.random.default_rng([len(graph), *graph.encode()])
    kept = bundle.spec.parameters["top_k"]
    chosen: list[dict[str, int]] = []
    for share in shares:
        sizes = _sizes(bundle, spec, share, kept)
        chosen += [] if sizes in chosen else [sizes]
    return [_feeds(spec, sizes, kept, images, rng) for sizes in chosen]


def _sizes(bundle: Bundle, graph: GraphSpec, share: float, kept: int) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for tensor in graph.inputs:
        if not tensor.is_dynamic:
            continue
        if tensor.min_shape is None or tensor.opt_shape is None:
            raise BundleError(
                f"bundle {bundle.path}: graph {graph.name} does not say how large {tensor.name} "
                "may be: write the bundle again with `cli export --force`"
            )
        for name, low, middle in zip(tensor.shape, tensor.min_shape, tensor.opt_shape, strict=True):
            if isinstance(name, str):
                sizes[name] = round(low + share * (middle - low))
    return _consistent(sizes, kept)


def _consistent(sizes: dict[str, int], kept: int) -> dict[str, int]:
    """The same sizes where they hang together: a search needs as many keys as it keeps."""
    if "cells" in sizes and "rows" in sizes:
        least = int(np.ceil(np.sqrt(kept)))
        sizes["rows"], sizes["cols"] = max(sizes["rows"], least), max(sizes["cols"], least)
        sizes["cells"] = sizes["rows"] * sizes["cols"]
    if "window" in sizes:
        sizes["window"] = max(sizes["window"], kept)
    if "tiles" in sizes:
        sizes["queries"] = sizes["tiles"] * sizes["per_tile"]
    return sizes


def _feeds(
    graph: GraphSpec,
    sizes: Mapping[str, int],
    kept: int,
    images: Sequence[UInt8Array],
    rng: np.random.Generator,
) -> Feeds:
    made: dict[str, npt.NDArray[Any]] = {}
    for tensor in graph.inputs:
        shape = tuple(sizes[s] if isinstance(s, str) else s for s in tensor.shape)
        value: npt.NDArray[Any]
        if tensor.dtype == "uint8":
            value = _images(images, shape)
        elif tensor.name == "detections":
            value = _seen_again(made["tracks"], shape, rng)
        elif tensor.name == "new":
            value = _seen_again(made["old"], shape, rng)
        else:
            value = _values(tensor, shape, sizes, kept, rng)
        made[tensor.name] = np.ascontiguousarray(value, dtype=np.dtype(tensor.dtype))
    return tuple(made.values())


def _values(
    tensor: TensorSpec,
    shape: tuple[int, ...],
    sizes: Mapping[str, int],
    kept: int,
    rng: np.random.Generator,
) -> npt.NDArray[Any]:
    name = tensor.name
    if name in _NUMBERS:
        value = _NUMBERS[name]
        return np.full(shape, min(value, kept) if name == "top_k" else value)
    if name in _INDEX_BELOW:
        bound = int(np.prod([sizes.get(dim, 1) for dim in _INDEX_BELOW[name]]))
        return rng.integers(0, bound, shape)
    if name in ("track_rows", "detection_rows"):
        # Of the old stack and of the new one, so that an object meets itself.
        first, count = (0, sizes["old"]) if name == "track_rows" else (sizes["old"], sizes["new"])
        return first + np.arange(shape[0]) % count
    if name.endswith("_groups"):
        return np.arange(shape[0]) // 2 % 3
    if name.endswith("_mask"):
        # The first point of every object exists.
        mask = rng.random(shape) < 0.8
        mask[:, 0] = True
        return mask
    if name.endswith("_share"):
        # Sums of these are exact in any order: how they are rounded depends on nothing.
        return rng.integers(0, 3, shape) / 16.0
    if name == "best":
        return -np.sort(-rng.random(shape) * 0.1, axis=1)
    if name == "bias":
        return np.where(rng.random(shape) < 0.5, _HIDDEN, 0.0)
    shared_out = name in _SHARED_OUT or name.startswith("labels_")
    return rng.random(shape) if shared_out else _unit(rng.standard_normal(shape))


def _unit(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length: npt.NDArray[np.float64] = np.linalg.norm(points, axis=-1, keepdims=True)
    return points / np.maximum(length, 1e-12)


def _seen_again(
    tracks: npt.NDArray[Any], shape: tuple[int, ...], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Detections, every other of which is one of the tracklets: costs near 1 compare nothing."""
    count, points, channels = shape
    strangers = _unit(rng.standard_normal(shape))
    objects, places = np.arange(count) % len(tracks), np.arange(points) % tracks.shape[1]
    known = tracks[objects][:, places].astype(np.float64)
    moved = _unit(known + _NOISE * rng.standard_normal(shape) / np.sqrt(channels))
    again = (np.arange(count) % 2 == 0)[:, None, None]
    return np.where(again, moved, strangers)


def _images(images: Sequence[UInt8Array], shape: tuple[int, ...]) -> UInt8Array:
    *batch, height, width, _ = shape
    count = batch[0] if batch else 1
    chosen = [images[(i * len(images)) // count] for i in range(count)]
    resized = [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in chosen]
    return np.stack(resized).astype(np.uint8).reshape(shape)
