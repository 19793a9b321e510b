"""How PyTorch runs a baseline: device, precision, memory layout, compiled or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..evaluation.parity.torch import TorchArray
from ..runtime.inference.base import Array, to_host

Function = Callable[..., Any]

BLOCK = 100
"""Queries whose affinities are held at once, where a CPU's caches count."""


def as_it_is(function: Function) -> Function:
    """The function itself: nothing is compiled."""
    return function


@dataclass(frozen=True, slots=True)
class Style:
    """How PyTorch runs the baseline.

    Attributes:
        device: As PyTorch names it.
        dtype: Of the network and of features.
        channels_last: Memory layout of images and weights.
        wrap: Makes a function faster, such as `torch.compile`; given the backbone, the costs and
            the propagation of a block of queries.
        block: Queries of propagation whose affinities are held at once.
    """

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    wrap: Callable[[Function], Function] = as_it_is
    block: int = BLOCK


PLAIN = Style()
"""As PyTorch comes, on the CPU."""


def as_array(tensor: Tensor) -> Array:
    """A NumPy array of the same memory on the CPU, a handle elsewhere."""
    return TorchArray(tensor) if tensor.device.type != "cpu" else tensor.numpy()


def as_tensor(array: Array, device: str) -> Tensor:
    """The tensor behind a handle, or a copy of an array on the device."""
    if isinstance(array, TorchArray):
        return array.tensor
    return torch.from_numpy(to_host(array)).to(device)
