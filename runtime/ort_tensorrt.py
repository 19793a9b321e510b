"""What ONNX Runtime's TensorRT provider is told: shapes, precision, where to keep engines."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import BackendError
from .specs import GraphSpec


def tensorrt_options(spec: GraphSpec | None, *, half: bool) -> dict[str, str]:
    """Options of ONNX Runtime's TensorRT provider: engines are kept, for the bundle's shapes.

    The provider builds weakly typed networks: where float16 is allowed, TensorRT may use it
    anywhere.  It is therefore allowed only for graphs without products that must stay float32, and
    nothing about the result is proven; the backends `tensorrt` and `tensorrt-rtx` do prove it.

    Args:
        spec: Of the graph; None where it is not known.
        half: Whether the graph is float16.
    """
    folder = _cache_folder() / "ort-tensorrt" / ("models" if spec is None else spec.sha256[:16])
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


def _cache_folder() -> Path:
    # Not inside the bundle: what lies there is compared with its sha256, and these are code.
    chosen = os.environ.get("UNITRACK_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "unitrack-edge"


def make_cache_folder(options: dict[str, str]) -> None:
    """Make the folder that the options name; raises `BackendError` where that is refused."""
    folder = Path(options["trt_engine_cache_path"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(
            f"no engine can be kept in {folder} ({error.strerror}): set UNITRACK_CACHE to a folder "
            "that you may write to"
        ) from error
