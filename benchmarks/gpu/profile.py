"""What a frame asks of a GPU: kernels by precision, launches, copies and waits, as CUPTI sees them.

PyTorch's profiler listens to all CUDA work of the process, whichever library queued it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_HALF = re.compile(r"half|fp16|f16|h\d*gemm|hmma|h16816|h884|h1688|s16816", re.IGNORECASE)
"""What names of kernels that compute in float16 have been seen to hold."""

_LAUNCHES = ("LaunchKernel", "GraphLaunch")
_COPIES = ("MemcpyAsync", "Memcpy")
_WAITS = ("StreamSynchronize", "DeviceSynchronize", "EventSynchronize")


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """Of one frame.

    Attributes:
        kernels: That ran on the GPU.
        half_kernels: Of these, whose names speak of float16.
        launches: Calls of the host that started one or a recorded graph of them.
        copies: Calls that copied.
        waits: Calls that waited for the GPU.
    """

    kernels: int
    half_kernels: int
    launches: int
    copies: int
    waits: int

    def describe(self) -> str:
        """One line."""
        return (
            f"{self.kernels} kernels ({self.half_kernels} of float16 by name), {self.launches} "
            f"launches, {self.copies} copies, {self.waits} waits"
        )


def profile(frame: Callable[[], object], device: str) -> FrameCounts | None:
    """Count what one frame does; None on a CPU.

    Args:
        frame: Does it; was done before, so that nothing is compiled now.
        device: `cuda` or `cpu`.
    """
    if device != "cuda":
        return None
    import torch

    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=activities) as watched:
        frame()
        torch.cuda.synchronize()
    events = list(watched.events() or ())
    on_gpu = [e.name for e in events if e.device_type.name == "CUDA"]
    on_host = [e.name for e in events if e.device_type.name == "CPU"]
    # One wait is that of this function.
    return count(on_gpu, on_host, own_waits=1)


def count(on_gpu: Iterable[str], on_host: Iterable[str], own_waits: int = 0) -> FrameCounts:
    """Count a profile's events.

    Args:
        on_gpu: Names of what ran on the GPU: kernels, copies and fills.
        on_host: Names of what ran on the host, CUDA's calls (`cuda…`, `cu…`) among them.
        own_waits: How many of the waits are not the frame's.
    """
    kernels = [name for name in on_gpu if not name.startswith(("Memcpy", "Memset"))]
    calls = [name for name in on_host if name.startswith("cu")]

    def called(parts: tuple[str, ...]) -> int:
        return sum(any(part in name for part in parts) for name in calls)

    return FrameCounts(
        len(kernels),
        sum(_HALF.search(name) is not None for name in kernels),
        called(_LAUNCHES),
        called(_COPIES),
        max(0, called(_WAITS) - own_waits),
    )
