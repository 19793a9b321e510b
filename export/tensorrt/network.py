"""A graph as TensorRT parsed it, and the proof of its precision before anything is built.

The network is strongly typed: TensorRT takes every tensor's type from the ONNX graph and may not
change it.  What the parsed network says is therefore what the engine will do.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import BuildError
from ...runtime.bundle.spec import GraphSpec
from ...runtime.inference.tensorrt.library import TensorrtLibrary
from ...runtime.inference.tensorrt.precision import promised_type

if TYPE_CHECKING:
    import tensorrt


def parse_network(
    library: TensorrtLibrary, builder: tensorrt.Builder, path: Path
) -> tensorrt.INetworkDefinition:
    """Parse an ONNX file into a strongly typed network.

    Args:
        library: The variant in use.
        builder: Keeps the network alive.
        path: The ONNX file.

    Raises:
        BuildError: TensorRT does not understand it; quotes its reason.
    """
    trt = library.trt
    network = builder.create_network(strongly_typed(trt))
    parser = trt.OnnxParser(network, library.logger)
    # From the file and not from its bytes: weights may lie beside it.
    if not parser.parse_from_file(str(path)):
        reasons = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        library.logger.take_errors()
        text = " ".join("; ".join(reasons).split())[:300]
        raise BuildError(
            f"{path} cannot be parsed by {library.variant} {library.version}: {text}; export it "
            "again with `cli export --force`, or use --backend cpu"
        )
    return network


def strongly_typed(trt: Any) -> int:
    """The flags of a strongly typed network; none where TensorRT knows no other kind."""
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0


def check_precision(
    library: TensorrtLibrary, network: tensorrt.INetworkDefinition, graph: GraphSpec, precision: str
) -> dict[str, int]:
    """Compare the element types of all convolutions and matrix products with the promise.

    Args:
        library: The variant in use.
        network: The parsed graph.
        graph: Its spec; `fp32_nodes` may be float32 whatever the bundle's precision.
        precision: Of the bundle.

    Returns:
        How many products take which element type, such as `{"float16": 15, "float32": 2}`.

    Raises:
        BuildError: Names the first product that breaks the promise.
    """
    trt = library.trt
    types = {trt.float32: "float32", trt.float16: "float16", trt.int8: "int8"}
    quantised = _dequantised_tensors(trt, network)
    promised = promised_type(graph, precision)
    found: Counter[str] = Counter()
    for layer in _products(trt, network):
        inputs = [layer.get_input(i) for i in range(min(2, layer.num_inputs))]
        got = {
            "int8" if t.name in quantised else types.get(t.dtype, t.dtype.name.lower())
            for t in inputs
            if t is not None
        }
        kind = got.pop() if len(got) == 1 else "mixed"
        found[kind] += 1
        if promised not in ("float32", kind) and layer.name not in graph.fp32_nodes:
            raise BuildError(
                f"graph {graph.name}: {layer.type.name.lower()} {layer.name} computes in {kind}, "
                f"expected {promised} in a bundle of precision {precision}: nothing was built; "
                "write the bundle again with `cli export --force`"
            )
    return dict(sorted(found.items()))


def _products(trt: Any, network: tensorrt.INetworkDefinition) -> list[Any]:
    kinds = {
        trt.LayerType.CONVOLUTION,
        trt.LayerType.DECONVOLUTION,
        trt.LayerType.MATRIX_MULTIPLY,
        trt.LayerType.EINSUM,
    }
    layers = (network.get_layer(i) for i in range(network.num_layers))
    return [layer for layer in layers if layer.type in kinds]


def _dequantised_tensors(trt: Any, network: tensorrt.INetworkDefinition) -> set[str]:
    layers = (network.get_layer(i) for i in range(network.num_layers))
    return {layer.get_output(0).name for layer in layers if layer.type == trt.LayerType.DEQUANTIZE}
