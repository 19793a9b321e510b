"""Builds one TensorRT engine from one graph of a bundle."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import BuildError
from ...runtime.bundle.spec import GraphSpec, TensorSpec
from ...runtime.inference.tensorrt.compatibility import PORTABLE
from ...runtime.inference.tensorrt.cuda import MIB
from ...runtime.inference.tensorrt.library import TensorrtLibrary
from ..graphs.profiles import Range, profiled
from .network import check_precision, parse_network

if TYPE_CHECKING:
    import tensorrt


CURRENT = "current"

Progress = Callable[[str], None]
"""Called with the current phase, in a few words."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How engines are built.

    Attributes:
        target: `current` (the GPU in this machine), `sm86` … (tensorrt-rtx builds for GPUs that
            are elsewhere), or `portable` (tensorrt-rtx: every GPU that it knows).
        workspace_mib: Most memory that a layer may use for itself; None: the library's default.
    """

    target: str
    workspace_mib: int | None = None


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """A built engine.

    Attributes:
        plan: The serialised engine.
        inputs: The graph's inputs with the shapes of the profile.
        products: How many convolutions and matrix products take which element type.
        build_s: Seconds that parsing and building took.
        timing_cache: What later builds on the same device can reuse; empty where there is none.
        warnings: What was not as asked for, a line each.
    """

    plan: bytes
    inputs: tuple[TensorSpec, ...]
    products: Mapping[str, int]
    build_s: float
    timing_cache: bytes
    warnings: tuple[str, ...] = ()


def build_engine(
    library: TensorrtLibrary,
    path: Path,
    graph: GraphSpec,
    precision: str,
    ranges: Mapping[str, Range],
    options: BuildOptions,
    timing_cache: bytes = b"",
    progress: Progress = lambda _: None,
) -> BuiltEngine:
    """Parse, prove the precision, and build.

    Args:
        library: The variant in use.
        path: The ONNX file.
        graph: Its spec.
        precision: Of the bundle: `fp32`, `fp16` or `int8`.
        ranges: Smallest, expected and largest size of every dynamic dimension.
        options: Target and limits.
        timing_cache: Of earlier builds on the same device.
        progress: Called at each phase.

    Raises:
        BuildError: The graph cannot be parsed, breaks its promised precision, the target is
            unknown, or building failed; quotes TensorRT.
    """
    start = time.perf_counter()
    trt = library.trt
    library.logger.take_errors()
    builder = trt.Builder(library.logger)
    network = parse_network(library, builder, path)
    products = check_precision(library, network, graph, precision)
    config = builder.create_builder_config()
    inputs = tuple(profiled(tensor, ranges) for tensor in graph.inputs)
    _add_profile(trt, builder, config, graph.name, inputs)
    _set_target(library, config, options.target)
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)
    keep_float32(trt, config)
    # Layer names and types are what the inspector proves the precision from, once more, on a GPU.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    warnings = []
    if library.row.timing_cache and not set_timing_cache(config, timing_cache):
        library.logger.take_errors()
        warnings.append(
            f"graph {graph.name}: the timing cache is damaged or of another device or version, and "
            "is replaced; this build takes longer"
        )
    config.progress_monitor = _monitor(trt, progress)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failure(library, graph.name, options)
    return BuiltEngine(
        bytes(plan),
        inputs,
        products,
        time.perf_counter() - start,
        _serialised(config) if library.row.timing_cache else b"",
        tuple(warnings),
    )


def keep_float32(trt: Any, config: Any) -> None:
    """Have float32 products computed in float32.

    `BuilderFlag.TF32`, on by default, "computes inner products by rounding the inputs to 10-bit
    mantissas". In a float16 bundle too: its float32 islands are there because 11 bits are too few.
    """
    config.clear_flag(trt.BuilderFlag.TF32)


def set_timing_cache(config: Any, data: bytes) -> bool:
    """Build with what earlier builds measured; where that cannot be used, with an empty cache.

    TensorRT makes no cache of damaged bytes, and `set_timing_cache` answers false for one of
    another device.

    Returns:
        Whether `data` is used.
    """
    cache = config.create_timing_cache(data)
    if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
        return True
    config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return not data


def _add_profile(
    trt: Any,
    builder: tensorrt.Builder,
    config: tensorrt.IBuilderConfig,
    graph: str,
    inputs: tuple[TensorSpec, ...],
) -> None:
    dynamic = [tensor for tensor in inputs if tensor.is_dynamic]
    if not dynamic:
        return
    profile = builder.create_optimization_profile()
    for tensor in dynamic:
        if tensor.min_shape is None or tensor.opt_shape is None or tensor.max_shape is None:
            raise BuildError(
                f"graph {graph}, input {tensor.name} {tensor.describe()}: no size is known for "
                "its dynamic dimensions; write the bundle again with `cli export --force`"
            )
        shapes = (tensor.min_shape, tensor.opt_shape, tensor.max_shape)
        profile.set_shape(tensor.name, *(trt.Dims(shape) for shape in shapes))
    config.add_optimization_profile(profile)


def _set_target(library: TensorrtLibrary, config: Any, target: str) -> None:
    if not library.row.builds_elsewhere or target == PORTABLE:
        return
    capabilities = library.trt.ComputeCapability.__members__
    if target.upper() not in capabilities:
        known = [name.lower() for name in capabilities if name != "NONE"]
        raise BuildError(
            f"--target {target}: {library.variant} {library.version} builds for "
            f"{', '.join([PORTABLE, *known])}"
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(capabilities[target.upper()], 0)


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Passes TensorRT's phases on."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, _parent: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(f"{phase_name} {step + 1}/{self._steps.get(phase_name, 0)}")
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


def _serialised(config: Any) -> bytes:
    cache = config.get_timing_cache()
    data = None if cache is None else cache.serialize()
    return b"" if data is None else bytes(data)


def _failure(library: TensorrtLibrary, graph: str, options: BuildOptions) -> BuildError:
    reason = library.logger.take_errors() or "it gave no reason"
    out_of_memory = any(
        word in reason.lower() for word in ("out of memory", "outofmemory", "alloc")
    )
    wanted = re.search(r"requested size (?:was )?(\d+)", reason, re.IGNORECASE)
    given = options.workspace_mib
    if given is not None and wanted is not None and int(wanted[1]) == given * MIB:
        # TensorRT words its own limit as if it were the machine's.
        rebuild_command = f"raise --workspace (now {given} MiB), or build for one --size"
    elif out_of_memory:
        limit = "unlimited" if given is None else f"{given} MiB"
        rebuild_command = (
            f"lower --workspace (now {limit}), build for one --size, or build on a larger machine "
            "with --target"
        )
    else:
        rebuild_command = "build for one --size, or use another --backend"
    return BuildError(
        f"graph {graph}: {library.variant} {library.version} could not build it for "
        f"{options.target}: {reason[:300]}; {rebuild_command}"
    )
