"""Which convolutions and matrix products of an ONNX graph compute in float32."""

from __future__ import annotations

import onnx

from ...errors import ExportError
from .table import FP32_PRODUCTS

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum")
"""ONNX operators that multiply matrices: where precision costs or saves time."""


def float32_products(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the convolutions and matrix products with a float32 input, in the graph's order."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {t.name: t.data_type for t in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        types[value.name] = value.type.tensor_type.elem_type
    return tuple(
        node.name
        for node in inferred.node
        if node.op_type in PRODUCTS
        and any(types.get(name) == onnx.TensorProto.FLOAT for name in node.input)
    )


def declared_float32(graph: str, model: onnx.ModelProto, precision: str) -> tuple[str, ...]:
    """The products that a bundle of a lower precision computes in float32 on purpose.

    Args:
        graph: Its name on the table of graphs.
        model: The exported graph.
        precision: Of the bundle.

    Returns:
        Their names; none for a bundle of float32, which makes no such promise.

    Raises:
        ExportError: A graph that should be float16 throughout has a float32 product.
    """
    if precision == "fp32":
        return ()
    found = float32_products(model)
    if found and graph not in FP32_PRODUCTS:
        raise ExportError(
            f"graph {graph}: {', '.join(found[:3])} ({len(found)} in all) compute in float32, "
            f"expected float16 in a bundle of precision {precision}; nothing was written"
        )
    return found
