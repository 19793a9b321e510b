"""What the machine can do at most, measured in the same run, and what the backbone asks of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_WARM_UP = 2


class Ceilings:
    """Matrix rate and copy bandwidth, the best of all times they were measured.

    Args:
        device: `cuda` or `cpu`.
        dtype: Of the matrices.
        synchronize: Waits for the device.

    Attributes:
        flops: Operations a second of a large matrix product; a multiplication and its addition are
            two.
        bytes_per_s: Of a copy within the device's memory, read and written.
    """

    def __init__(self, device: str, dtype: torch.dtype, synchronize: Callable[[], None]) -> None:
        large = device == "cuda"
        self.side = 8192 if large else 1024
        self.copied = 1 << (30 if large else 24)
        self.dtype = dtype
        self.flops = 0.0
        self.bytes_per_s = 0.0
        self._repeats = 5
        self._synchronize = synchronize
        generator = torch.Generator(device).manual_seed(0)
        # Random numbers: a product of zeros draws less power and is faster than any real one.
        self._left, self._right = (
            torch.randn(self.side, self.side, device=device, generator=generator).to(dtype)
            for _ in range(2)
        )
        self._source = torch.zeros(self.copied, dtype=torch.uint8, device=device)
        self._target = torch.empty_like(self._source)
        for _ in range(_WARM_UP):
            self._left @ self._right
            self._target.copy_(self._source)

    def measure(self) -> None:
        """Measure both once more."""
        product_s = self._seconds(lambda: self._left @ self._right)
        self.flops = max(self.flops, 2 * self.side**3 / product_s)
        copy_s = self._seconds(lambda: self._target.copy_(self._source))
        self.bytes_per_s = max(self.bytes_per_s, 2 * self.copied / copy_s)

    def _seconds(self, work: Callable[[], object]) -> float:
        self._synchronize()
        start = time.perf_counter()
        for _ in range(self._repeats):
            work()
        self._synchronize()
        return (time.perf_counter() - start) / self._repeats

    def describe(self) -> str:
        """One line."""
        kind = str(self.dtype).removeprefix("torch.")
        return (
            f"ceilings: {self.flops / 1e12:.4g} TFLOP/s ({kind} product of {self.side} x "
            f"{self.side}), {self.bytes_per_s / 1e9:.4g} GB/s (copy of {self.copied >> 20} MiB, "
            "read and written)"
        )


def backbone_flops(network: nn.Module, size_hw: tuple[int, int]) -> int:
    """Operations of a network on one image; a multiplication and its addition are two.

    Args:
        network: Takes (1, 3, height, width); nothing is computed with it.
        size_hw: Height and width.
    """
    shape_only = deepcopy(network).to("meta")
    dtype = next(shape_only.parameters()).dtype
    image = torch.empty(1, 3, *size_hw, device="meta", dtype=dtype)
    with FlopCounterMode(display=False) as counter:
        shape_only(image)
    return int(counter.get_total_flops())
