"""Settings of ONNX Runtime's GPU providers, and which nodes they leave to the CPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import BackendError
from ..bundle.spec import GraphSpec
from ..paths import cache_folder

if TYPE_CHECKING:
    import onnxruntime

RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"
"""Setting of a session that has it keep which provider each node was given to (1.24 and newer)."""

ALLOW_VARIABLE = "UNITRACK_ALLOW_CPU_NODES"
"""Set to 1, nodes that run on the CPU in the middle of a GPU's graph are no error."""

_ARENA_BYTES = 4 << 30
"""Most memory of one session: a graph's largest tensors are bounded far below."""

_SHAPE_OPERATORS = frozenset(
    (
        "Shape",
        "Size",
        "Gather",
        "GatherElements",
        "Concat",
        "Unsqueeze",
        "Squeeze",
        "Slice",
        "Cast",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Mod",
        "Neg",
        "Min",
        "Max",
        "Range",
        "ConstantOfShape",
        "Constant",
        "Reshape",
        "Equal",
        "Less",
        "Greater",
        "Not",
        "And",
        "Or",
        "Where",
        "Expand",
        "Identity",
        "ReduceProd",
        "ReduceMax",
        "ReduceMin",
        "ReduceSum",
        "Tile",
        "Transpose",
        "ScatterND",
        "Floor",
        "Ceil",
        "Split",
        "Pad",
        "Clip",
        "GatherND",
        "CumSum",
        "Flatten",
    )
)
"""Operators that the CUDA provider has kernels of: where ONNX Runtime leaves one to the CPU, it
works on a few integers of a shape, which are there anyway (its `GetCpuPreferredNodes`)."""


def cuda_options() -> dict[str, str]:
    """Options of ONNX Runtime's CUDA provider.

    As its documentation has them ("CUDA Execution Provider", Configuration Options):
    TF32 would round the factors of float32 products to 10 bits; tensor cores take convolutions
    with channels last; an exhaustive search would time every algorithm again for every new shape;
    an arena that doubles would take up to twice of what is needed.

    Every run waits until it is done. Seen with 1.31: without that
    (`disable_synchronize_execution_providers`) a session keeps the host memory of all copies until
    it is closed, and then the process aborts (cudaFreeHost in a callback, error 800).
    """
    return {
        "device_id": "0",
        "use_tf32": "0",
        "prefer_nhwc": "1",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "gpu_mem_limit": str(_ARENA_BYTES),
    }


def check_assignment(session: onnxruntime.InferenceSession, path: Path) -> tuple[str, ...]:
    """Find the nodes of a GPU's session that ONNX Runtime gave to the CPU without a word.

    Args:
        session: Made with `RECORD_ASSIGNMENT`.
        path: The ONNX file, for the message.

    Returns:
        Those that compute, as `operator name`; empty where all run on the GPU, or only with
        `ALLOW_VARIABLE` otherwise. Of ONNX Runtime before 1.24 nothing is known.

    Raises:
        BackendError: There are such nodes, and they are not allowed; names them.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return ("unknown: ONNX Runtime before 1.24 does not say",)
    nodes = [
        f"{node.op_type} {node.name}".rstrip()
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name == "CPUExecutionProvider"
        for node in part.get_nodes()
        if node.op_type not in _SHAPE_OPERATORS
    ]
    if nodes and os.environ.get(ALLOW_VARIABLE) != "1":
        more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
        raise BackendError(
            f"{path}: {session.get_providers()[0]} leaves {', '.join(nodes[:3])}{more} to the CPU, "
            "with copies to and fro in every run: use --backend cpu (--detector-backend cpu), or "
            f"set {ALLOW_VARIABLE}=1"
        )
    return tuple(nodes)


def tensorrt_options(spec: GraphSpec | None, *, half: bool) -> dict[str, str]:
    """Options of ONNX Runtime's TensorRT provider: engines are kept, for the bundle's shapes.

    The provider builds weakly typed networks: where float16 is allowed, TensorRT may use it
    anywhere.  It is therefore allowed only for graphs without products that must stay float32, and
    nothing about the result is proven; the backends `tensorrt` and `tensorrt-rtx` do prove it.

    Args:
        spec: Of the graph; None where it is not known.
        half: Whether the graph is float16.
    """
    folder = cache_folder() / "ort-tensorrt" / ("models" if spec is None else spec.sha256[:16])
    islands = () if spec is None else spec.fp32_nodes
    options = {
        "device_id": "0",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": str(half and not islands),
    }
    dynamic = [t for t in (() if spec is None else spec.inputs) if t.is_dynamic]
    if dynamic and all(t.min_shape and t.opt_shape and t.max_shape for t in dynamic):
        # Without a profile every new shape would rebuild the engine in the middle of a run.
        for which in ("min", "opt", "max"):
            shapes = [(t.name, getattr(t, f"{which}_shape")) for t in dynamic]
            options[f"trt_profile_{which}_shapes"] = ",".join(
                f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes
            )
    return options


def make_cache_folder(options: dict[str, str]) -> None:
    """Make the folder that the options name; raises `BackendError` where that is refused."""
    folder = Path(options["trt_engine_cache_path"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(
            f"cannot store engines in {folder} ({error.strerror}): set UNITRACK_CACHE to a folder "
            "that you may write to"
        ) from error
