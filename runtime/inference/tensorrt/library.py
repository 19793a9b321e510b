"""TensorRT's two variants behind one name: where the module comes from, its version, its logger.

`tensorrt` is the classic library (servers, Jetson), `tensorrt-rtx` the one for RTX desktops, which
comes from pip and builds engines on machines without a GPU.  Their Python interfaces are one and
the same as far as this toolkit uses them; what differs stands on `VARIANT_TABLE`.
"""

from __future__ import annotations

import importlib
import re
from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ....errors import BackendError, one_line

if TYPE_CHECKING:
    from .kernel_cache import KernelCache

_KEPT_LINES = 20


@dataclass(frozen=True, slots=True)
class Variant:
    """A row of the table.

    Attributes:
        name: As `--backend` and `--engine` take it.
        modules: Imported in this order; the last one is the interface.
        oldest: First version, major and minor, whose interface is the one used here.
        builds_elsewhere: Whether engines can be built for GPUs that are not in this machine.
        records_itself: Whether it records CUDA graphs by itself, which is better where kernels are
            compiled as the engine runs.
        install: What to do where it is absent.
        timing_cache: Whether a later build can reuse what an earlier one measured.
    """

    name: str
    modules: tuple[str, ...]
    oldest: tuple[int, int]
    builds_elsewhere: bool
    records_itself: bool
    install: str
    timing_cache: bool


VARIANT_TABLE = {
    row.name: row
    for row in (
        Variant(
            name="tensorrt",
            modules=("tensorrt",),
            oldest=(10, 3),
            builds_elsewhere=False,
            records_itself=False,
            install="pip install 'unitrack-edge[tensorrt]'; a Jetson has it from JetPack (apt "
            "install python3-libnvinfer, and a venv made with --system-site-packages)",
            timing_cache=True,
        ),
        Variant(
            name="tensorrt-rtx",
            # The first loads the shared libraries that the second is linked with.
            modules=("tensorrt_rtx_libs", "tensorrt_rtx_bindings"),
            # Its own recording of CUDA graphs came with 1.2.
            oldest=(1, 2),
            builds_elsewhere=True,
            records_itself=True,
            install="pip install 'unitrack-edge[tensorrt-rtx]'",
            # Its kernels are compiled and timed on the device that runs them.
            timing_cache=False,
        ),
    )
}

VARIANTS = tuple(VARIANT_TABLE)
"""Names that `--engine` takes."""


class TensorrtLog:
    """What TensorRT says, kept instead of printed, so that a message can quote its reason.

    `load_library` makes one that is also a `trt.ILogger`.
    """

    def __init__(self, errors: frozenset[int]) -> None:
        self._errors = errors
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)

    def log(self, severity: Any, msg: str) -> None:
        """Called by TensorRT, from any thread."""
        if int(severity) in self._errors:
            self._lines.append(" ".join(msg.split()))

    def take_errors(self) -> str:
        """The errors since the last call, as one line; empty where there were none."""
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
        return "; ".join(dict.fromkeys(lines))


@dataclass(frozen=True, slots=True)
class TensorrtLibrary:
    """A variant that is installed here.

    Attributes:
        row: Its row of the table.
        version: Such as `10.13.0.35`.
        trt: The module.
        logger: A `trt.ILogger`, the one of this process: TensorRT wants no second one.
    """

    row: Variant
    version: str
    trt: Any
    logger: TensorrtLog

    @property
    def variant(self) -> str:
        """`tensorrt` or `tensorrt-rtx`."""
        return self.row.name

    def create_context(self, engine: Any, kernels: KernelCache | None = None) -> Any:
        """An execution context whose inner memory the caller provides; None where it failed.

        Args:
            engine: Of this variant.
            kernels: For a variant that compiles kernels as it runs; None: nothing is kept.
        """
        managed = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self.row.records_itself:
            return engine.create_execution_context(managed)
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(managed)
        config.cuda_graph_strategy = self.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        # NONE would run the fallback kernels for good (NVIDIA, "Working with Dynamic Shapes").
        # EAGER compiles while the caller waits, once a shape: right where shapes stay, and what
        # comes out stays the same. Where numbers of objects change with every frame it would wait
        # in most of them, so there kernels are compiled beside the run.
        strategies = self.trt.DynamicShapesKernelSpecializationStrategy
        eager = kernels is None or kernels.shapes_stay
        config.dynamic_shapes_kernel_specialization_strategy = (
            strategies.EAGER if eager else strategies.LAZY
        )
        if kernels is not None:
            kernels.attach(config)
        return engine.create_execution_context(config)

    def strategies_of(self, context: Any) -> dict[str, str]:
        """What a context says of how it runs, by the names of the report; nothing by default."""
        if not self.row.records_itself or not hasattr(context, "get_runtime_config"):
            return {}
        config = context.get_runtime_config()
        kernels = config.dynamic_shapes_kernel_specialization_strategy
        return {
            "cuda_graphs": str(config.cuda_graph_strategy.name).lower(),
            "kernels": str(kernels.name).lower(),
        }


@cache
def load_library(variant: str) -> TensorrtLibrary:
    """Import a variant of TensorRT; once a process.

    Args:
        variant: One of `VARIANTS`.

    Raises:
        BackendError: Unknown, not installed, or too old; says how to install it.
    """
    row = VARIANT_TABLE.get(variant)
    if row is None:
        raise BackendError(
            f"unknown TensorRT variant {variant!r}: choose one of {', '.join(VARIANTS)}"
        )
    trt = _import(row)
    version = str(trt.__version__)
    if _numbers(version)[:2] < row.oldest:
        raise BackendError(
            f"{variant} {version} is too old, expected {row.oldest[0]}.{row.oldest[1]} or newer: "
            f"{row.install}"
        )
    return TensorrtLibrary(row, version, trt, _logger(trt))


def _import(row: Variant) -> Any:
    try:
        *_, trt = [importlib.import_module(name) for name in row.modules]
    except (ImportError, OSError) as error:
        # A shared library that is missing is not the same as a package that is.
        absent = isinstance(error, ModuleNotFoundError) and error.name in row.modules
        why = "is not installed" if absent else f"cannot be loaded ({one_line(error)})"
        raise BackendError(f"{row.name} {why}: {row.install}") from error
    if not hasattr(trt, "Runtime"):
        # A package of type stubs leaves a folder of the same name, which imports as empty.
        raise BackendError(f"{row.name} is not installed: {row.install}")
    return trt


def _logger(trt: Any) -> TensorrtLog:
    errors = frozenset(int(s) for s in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR))

    def start(self: Any) -> None:
        # TensorRT's own part must be started by name, or it refuses the object.
        trt.ILogger.__init__(self)
        TensorrtLog.__init__(self, errors)

    kind = type("NativeTensorrtLog", (TensorrtLog, trt.ILogger), {"__init__": start})
    log: TensorrtLog = kind()
    return log


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
