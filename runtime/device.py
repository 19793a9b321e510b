"""What GPU is in this machine, asked of the CUDA driver through `cuda-python`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """The first CUDA device.

    Attributes:
        name: As its driver calls it.
        target: Its compute capability as engines are named, `sm86`.
        memory_mib: All of it.
        driver: Highest CUDA version that the driver serves, such as `13.0`.
    """

    name: str
    target: str
    memory_mib: int
    driver: str


def find_gpu() -> GpuInfo | None:
    """The GPU, or None where there is none that works."""
    return probe_gpu()[0]


def probe_gpu() -> tuple[GpuInfo | None, str]:
    """The GPU, or None and the reason in a few words."""
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError) as error:
        absent = isinstance(error, ModuleNotFoundError)
        return None, "cuda-python is not installed" if absent else f"cuda-python fails: {error}"
    status, count = runtime.cudaGetDeviceCount()
    if _name(status) in ("cudaErrorInsufficientDriver", "cudaErrorNoDevice"):
        return None, f"no GPU with a working driver ({_name(status)})"
    if _name(status) != "cudaSuccess" or not count:
        return None, f"CUDA reports {_name(status)}"
    status, properties = runtime.cudaGetDeviceProperties(0)
    if _name(status) != "cudaSuccess":
        return None, f"CUDA reports {_name(status)}"
    _, driver = runtime.cudaDriverGetVersion()
    name = properties.name
    return (
        GpuInfo(
            name.decode() if isinstance(name, bytes) else str(name),
            f"sm{properties.major}{properties.minor}",
            int(properties.totalGlobalMem) >> 20,
            f"{driver // 1000}.{driver % 1000 // 10}",
        ),
        "",
    )


def _name(status: Any) -> str:
    return str(getattr(status, "name", status))
