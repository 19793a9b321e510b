"""Pose propagation (paper, section 2.3) in plain PyTorch: eager and dense.

Each keypoint is a Gaussian belief map of height 1 on the feature grid, whose variance in cells² is
`sigma` times the body's size in cells; cell (row, column) stands for pixel 8·row, 8·column.  Maps
travel as labels do: `z_t = K z`, K the softmax over the `top_k` most similar keys of the first
frame and the last `memory` ones, the latter within `radius` cells.  A keypoint is read from its map
as the mean of the `top_cells` largest cells, weighted by their values.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


@torch.inference_mode()
def propagate_poses(
    features: list[Tensor],
    points_xy: np.ndarray,
    body_sizes: np.ndarray,
    *,
    sigma: float,
    top_cells: int,
    top_k: int,
    temperature: float,
    radius: float,
    memory: int,
    stride: int = 8,
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints of all frames after the first.

    Args:
        features: (rows, cols, C) unit points of every frame.
        points_xy: (n, 2) pixels of the network's image, in the first frame.
        body_sizes: (n,) pixels.
        sigma: Variance per body size, both in cells.
        top_cells: Read from a map.
        top_k: Keys kept.
        temperature: Of the softmax.
        radius: In cells, strict.
        memory: Recent frames.
        stride: Pixels per cell.

    Returns:
        (frames - 1, n, 2) float64 pixels, and (frames - 1, n) heights of the maps.
    """
    rows, cols, _ = features[0].shape
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    y, x = y.flatten().double(), x.flatten().double()
    far = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2 >= radius * radius
    cell = torch.from_numpy((points_xy - 0.5) / stride).double()
    variance = torch.from_numpy(sigma * body_sizes / stride).double().clamp_min(0.25)
    squared = (x[:, None] - cell[:, 0]) ** 2 + (y[:, None] - cell[:, 1]) ** 2
    known = [torch.exp(-squared / (2 * variance)).float()]
    points = [frame.flatten(0, 1) for frame in features]
    found, heights = [], []
    for number in range(1, len(points)):
        frames = [0, *(max(0, number - back) for back in range(memory, 0, -1))]
        keys = torch.cat([points[i] for i in frames])
        values = torch.cat([known[i] for i in frames])
        affinity = points[number] @ keys.t()
        hidden = torch.cat([torch.zeros_like(far), far.repeat(1, memory)], dim=1)
        best, chosen = affinity.masked_fill(hidden, -1e10).topk(top_k, dim=1)
        share = torch.softmax(best / temperature, dim=1)
        maps = torch.einsum("qk,qkl->ql", share, values[chosen])
        known.append(maps)
        weight, cells = maps.double().topk(top_cells, dim=0)
        total = weight.sum(dim=0)
        place = torch.stack([(x[cells] * weight).sum(0), (y[cells] * weight).sum(0)], dim=1)
        found.append((place / total[:, None] * stride + 0.5).numpy())
        heights.append(weight[0].numpy())
    return np.stack(found), np.stack(heights)
