"""What a loaded engine really computes in: the second proof of precision.

The first one is on the parsed network, before building.  This one asks TensorRT's engine inspector,
which needs a GPU, about the layers as they were built.  The inspector's words are not a documented
format (NVIDIA's guide, "Engine Inspector": the content "may vary" between versions): types are
recognised by the words that have been seen, and a layer that says nothing recognisable counts as
`unstated`, never as proven, and is named in a warning.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....errors import BackendError
from ...bundle.spec import INT8_GRAPHS, GraphSpec

UNSTATED = "unstated"

PROMISED = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
"""Element type that a bundle's precision promises for convolutions and matrix products."""

_PRODUCT = re.compile(r"conv(?!ert)|gemm|matrixmultiply|matmul|einsum", re.IGNORECASE)

# Fused kinds say only in the name of their kernel that there is a product in them.
_FUSED = re.compile(r"fusion", re.IGNORECASE)

# In this order: `BFloat16` holds `Float`.
_TYPES = (
    (re.compile(r"bf16|bfloat16", re.IGNORECASE), "bfloat16"),
    (re.compile(r"half|fp16|float16", re.IGNORECASE), "float16"),
    (re.compile(r"int8", re.IGNORECASE), "int8"),
    (re.compile(r"fp8", re.IGNORECASE), "float8"),
    (re.compile(r"float|fp32", re.IGNORECASE), "float32"),
)

# Myelin's own names for what it fused; all others are made of those of ONNX nodes.
_MADE_UP = re.compile(r"__my|\{ForeignNode|$", re.IGNORECASE)

_ONNX_NAME = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


def promised_type(graph: GraphSpec, precision: str) -> str:
    """Element type of a graph's products; of a calibrated bundle, one graph alone is int8."""
    own = precision != "int8" or graph.name in INT8_GRAPHS
    return PROMISED[precision] if own else "float32"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a built engine.

    Attributes:
        name: TensorRT's, often of several fused ones.
        kind: TensorRT's word for it.
        dtype: Element type that it multiplies in; `mixed`, or `unstated`.
        product: Whether it multiplies matrices or convolves.
        nodes: Names of the ONNX nodes that it came from, as far as it says.
    """

    name: str
    kind: str
    dtype: str
    product: bool
    nodes: tuple[str, ...]


def read_layers(text: str) -> tuple[Layer, ...]:
    """The layers in an engine inspector's JSON.

    Raises:
        BackendError: It is not the inspector's JSON, or was built without details.
    """
    try:
        data = json.loads(text)
        layers = data["Layers"] if isinstance(data, dict) else data
        if not all(isinstance(layer, dict) for layer in layers):
            raise ValueError("names of layers alone")
    except (ValueError, KeyError, TypeError) as error:
        raise BackendError(
            f"the engine does not describe its layers ({error}), so its precision cannot be "
            "proven: build it with `cli build … --force`"
        ) from error
    return tuple(_read_layer(layer) for layer in layers)


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of the precision of a built engine.

    Attributes:
        products: How many products compute in which type, such as `{"float16": 15}`.
        warnings: What could not be proven, each naming the layers.
    """

    products: dict[str, int]
    warnings: tuple[str, ...] = ()


def check_layers(
    graph: GraphSpec,
    layers: tuple[Layer, ...],
    precision: str,
    parsed: Mapping[str, int] | None = None,
) -> Proof:
    """Compare the products of a built engine with what the bundle promises.

    Fusion may take an island's name away, so those that are left over are matched by number: an
    engine has no more float32 products than the graph has islands.

    Args:
        graph: Its spec; its `fp32_nodes` may be float32 whatever the precision.
        layers: Of the engine.
        precision: Of the bundle: `fp32`, `fp16` or `int8`.
        parsed: Products by type as the network was parsed; None: not known.

    Returns:
        The products, and what could not be proven.

    Raises:
        BackendError: A product computes in another type than was promised; names it.
    """
    promised = promised_type(graph, precision)
    products = [layer for layer in layers if layer.product]
    islands = set(graph.fp32_nodes)
    nameless: list[Layer] = []
    for layer in products:
        if promised == "float32" or layer.dtype in (promised, UNSTATED):
            continue
        names = set(layer.nodes) or set(layer.name.split(" + "))
        if not islands.isdisjoint(names):
            islands -= names
        elif layer.dtype == "float32" and not layer.nodes and _MADE_UP.match(layer.name):
            nameless.append(layer)
        else:
            raise _broken(graph, layer, promised, precision)
    if len(nameless) > len(islands):
        raise _broken(graph, nameless[-1], promised, precision)
    counts = Counter(layer.dtype for layer in products)
    return Proof(dict(sorted(counts.items())), _doubts(graph, products, nameless, parsed or {}))


def _broken(graph: GraphSpec, layer: Layer, promised: str, precision: str) -> BackendError:
    return BackendError(
        f"graph {graph.name}: the engine computes {layer.kind} {layer.name:.80} in "
        f"{layer.dtype}, expected {promised} in a bundle of precision {precision}; it is "
        "not used: build it with `cli build … --force`"
    )


def _doubts(
    graph: GraphSpec, products: list[Layer], nameless: list[Layer], parsed: Mapping[str, int]
) -> tuple[str, ...]:
    silent = [layer for layer in products if layer.dtype == UNSTATED]
    found = []
    expected = sum(parsed.values())
    if not products and expected:
        found.append(
            f"graph {graph.name}: the engine lists no product, the network had "
            f"{expected}: in what it computes is not proven"
        )
    for layers, what in (
        (silent, "does not state in what it computes"),
        (nameless, "computes in float32 without the name of an ONNX node, taken for an island"),
    ):
        if layers:
            names = ", ".join(f"{layer.name:.60}" for layer in layers[:3])
            more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
            found.append(f"graph {graph.name}: {names}{more} {what}")
    return tuple(found)


def _read_layer(layer: dict[str, Any]) -> Layer:
    kind = str(layer.get("LayerType", ""))
    fused = _FUSED.search(kind) and _PRODUCT.search(str(layer.get("TacticName", "")))
    product = bool(
        fused or _PRODUCT.search(kind) or _PRODUCT.search(str(layer.get("ParameterType", "")))
    )
    weights = layer.get("Weights")
    return Layer(
        str(layer.get("Name", "")),
        kind,
        _dtype_of(layer, weights if isinstance(weights, dict) else {}),
        product,
        tuple(_ONNX_NAME.findall(str(layer.get("Metadata", "")))),
    )


def _dtype_of(layer: dict[str, Any], weights: dict[str, Any]) -> str:
    """Type of the factors: of the weights where it states one, else of the inputs.

    A strongly typed product has factors of one type (NVIDIA's guide, "Strongly Typed Networks"), so
    where its weights and its input differ, a cast of the input was fused into it: the first
    convolution of a float16 backbone reads the uint8 image.
    """
    own = _recognise(str(weights.get("Type", "")))
    if own != UNSTATED:
        return own
    # What follows them is a bias, or what is added to the product, of a type of its own.
    factors = 1 if weights or "conv" in str(layer.get("LayerType", "")).lower() else 2
    inputs = [entry for entry in layer.get("Inputs") or () if isinstance(entry, dict)]
    texts = [str(e.get("Format/Datatype", e.get("Datatype", ""))) for e in inputs[:factors]]
    found = {kind for kind in map(_recognise, texts) if kind != UNSTATED}
    return found.pop() if len(found) == 1 else "mixed" if found else UNSTATED


def _recognise(text: str) -> str:
    return next((name for pattern, name in _TYPES if pattern.search(text)), UNSTATED)
