"""ResNet written out from the paper, on a state dict, one formula a line; slow and only for tests.

Knows nothing of modules: which blocks exist is read off the tensors' names.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


def batch_norm(x: Tensor, state: Mapping[str, Tensor], name: str, eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, channel by channel."""
    out = torch.empty_like(x)
    for c in range(x.shape[1]):
        scale = 1.0 / (float(state[f"{name}.running_var"][c]) + eps) ** 0.5
        centred = x[:, c] - float(state[f"{name}.running_mean"][c])
        out[:, c] = centred * scale * float(state[f"{name}.weight"][c]) + float(
            state[f"{name}.bias"][c]
        )
    return out


def conv(x: Tensor, state: Mapping[str, Tensor], name: str, stride: int = 1) -> Tensor:
    """Convolution without bias; padded so that stride 1 keeps the size."""
    weight = state[f"{name}.weight"].to(x.dtype)
    return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)


def block(x: Tensor, state: Mapping[str, Tensor], name: str, stride: int) -> Tensor:
    """A basic block or, where a third convolution exists, a bottleneck (stride in its second)."""
    bottleneck = f"{name}.conv3.weight" in state
    strides = (1, stride, 1) if bottleneck else (stride, 1)
    y = x
    for number, step in enumerate(strides, start=1):
        y = batch_norm(conv(y, state, f"{name}.conv{number}", step), state, f"{name}.bn{number}")
        if number < len(strides):
            y = y.clamp(min=0)
    if f"{name}.downsample.0.weight" in state:
        x = batch_norm(
            conv(x, state, f"{name}.downsample.0", stride), state, f"{name}.downsample.1"
        )
    return (x + y).clamp(min=0)


def resnet_features(x: Tensor, state: Mapping[str, Tensor], last_layer: int) -> Tensor:
    """(N, 3, H, W) -> (N, C, ceil(H / 8), ceil(W / 8)): strides 2 (conv1), 2 (pool), 1, 2, 1, 1."""
    x = batch_norm(conv(x, state, "conv1", 2), state, "bn1").clamp(min=0)
    x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    for layer in range(1, last_layer + 1):
        number = 0
        while f"layer{layer}.{number}.conv1.weight" in state:
            stride = 2 if layer == 2 and number == 0 else 1
            x = block(x, state, f"layer{layer}.{number}", stride)
            number += 1
    return x
