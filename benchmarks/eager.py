"""The baselines: the same definitions in plain PyTorch, eager, as one would first write them.

Nothing is slowed down on purpose: no gradients, batched operations, keys laid out once a frame,
masks made once a video.  What is missing is only what this project is about: exported graphs,
folded batch norms, searching near by only, and algebra that spares work.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..export.backbones import find_backbone
from ..export.checkpoints import apply_weights, load_state_dict
from ..export.efficientnet_lite import EfficientNetLite0
from ..export.resnet import ResNet, ResNetArch, init_random
from ..runtime.engine import Array, to_host
from ..runtime.graph_runner import GraphRunner

Float32 = npt.NDArray[np.float32]

BLOCK = 100
"""Queries whose affinities are held at once."""

_OUTSIDE = -1.0e10


class EagerBackbone:
    """A backbone with its batch norms left where they were trained, and its preprocessing.

    Args:
        name: On the table of backbones; a ResNet-18 or `efficientnet-lite0`.
        weights: The checkpoint; None for `random-*`.
    """

    def __init__(self, name: str, weights: Path | None) -> None:
        row = find_backbone(name)
        lite = row.arch == "efficientnet-lite0"
        network: nn.Module = EfficientNetLite0() if lite else ResNet(cast(ResNetArch, row.arch))
        if weights is None:
            init_random(network, seed=0)
        else:
            apply_weights(network, load_state_dict(weights, row), row)
        self.network = network.eval().requires_grad_(False)
        self.mean = torch.tensor(row.mean).view(1, 3, 1, 1)
        self.std = torch.tensor(row.std).view(1, 3, 1, 1)

    @torch.inference_mode()
    def __call__(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """(H, W, 3) uint8 BGR -> (1, C, rows, cols) unit points."""
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        rgb = pixels[:, [2, 1, 0]] / 255
        return F.normalize(self.network((rgb - self.mean) / self.std), dim=1)


class EagerPropagator:
    """Mask propagation by dense affinities to all memory frames.

    Args:
        rows: Of the feature grid.
        cols: Of the feature grid.
        top_k: Keys kept per cell, of all memory frames together.
        temperature: Of the softmax.
        radius: Of the neighbourhood in recent frames, in cells, strict.
        memory: Recent frames kept besides the first.
    """

    def __init__(
        self, rows: int, cols: int, *, top_k: int, temperature: float, radius: float, memory: int
    ) -> None:
        self.top_k = top_k
        self.temperature = temperature
        self.recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=memory)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
        y, x = y.flatten(), x.flatten()
        squared = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
        self.outside = squared >= radius * radius

    def start(self, features: Tensor, labels: Float32) -> None:
        """The first frame: features (1, C, rows, cols), labels (cells, L)."""
        self.first = features.flatten(2)[0], torch.from_numpy(labels)
        self.recent.clear()
        self.recent.extend([self.first] * (self.recent.maxlen or 0))

    @torch.inference_mode()
    def step(self, features: Tensor) -> Float32:
        """Labels (cells, L) of the next frame, which joins the memory."""
        points = features.flatten(2)[0]
        memory = [self.first, *self.recent]
        keys = torch.cat([frame for frame, _ in memory], dim=1)
        key_labels = torch.cat([labels for _, labels in memory])
        queries = points.t().contiguous()
        cells = len(queries)
        parts = []
        for start in range(0, cells, BLOCK):
            affinity = queries[start : start + BLOCK] @ keys
            outside = self.outside[start : start + BLOCK, None]
            affinity[:, cells:].view(len(affinity), -1, cells).masked_fill_(outside, _OUTSIDE)
            best, chosen = affinity.topk(self.top_k, dim=1)
            share = torch.softmax(best / self.temperature, dim=1)
            parts.append((share.unsqueeze(2) * key_labels[chosen]).sum(dim=1))
        labels = torch.cat(parts)
        self.recent.append((points, labels))
        return labels.numpy()


@torch.inference_mode()
def roi_align(
    features: Tensor, boxes_xyxy: Float32, *, stride: int, output_hw: tuple[int, int]
) -> Tensor:
    """RoIAlign (aligned=False, adaptive sampling) of all boxes in one call of `grid_sample`.

    Args:
        features: (1, C, rows, cols).
        boxes_xyxy: (N, 4), pixels of the network's image.
        stride: Pixels per cell.
        output_hw: Rows and columns of bins.

    Returns:
        (N, bins, C) unit points.
    """
    _, channels, rows, cols = features.shape
    boxes = torch.from_numpy(boxes_xyxy) / stride
    y, weight_y = _samples(boxes[:, 1], boxes[:, 3], output_hw[0], rows)
    x, weight_x = _samples(boxes[:, 0], boxes[:, 2], output_hw[1], cols)
    # (N, out_h, out_w, samples_y, samples_x)
    weight = weight_y[:, :, None, :, None] * weight_x[:, None, :, None, :]
    x = x[:, None, :, None, :].expand(weight.shape)
    y = y[:, :, None, :, None].expand(weight.shape)
    place = torch.stack([x / (cols - 1), y / (rows - 1)], dim=-1) * 2 - 1
    sampled = F.grid_sample(
        features, place.reshape(1, -1, 1, 2), padding_mode="border", align_corners=True
    )
    sampled = sampled.reshape(channels, *weight.shape)
    binned = (sampled * weight).sum(dim=(-2, -1)).permute(1, 2, 3, 0)
    return F.normalize(binned.reshape(len(boxes), -1, channels), dim=2)


def _samples(low: Tensor, high: Tensor, bins: int, cells: int) -> tuple[Tensor, Tensor]:
    """Sampling places of one axis and their shares, both (N, bins, samples)."""
    length = (high - low).clamp_min(1.0)
    count = (length / bins).ceil()
    sample = torch.arange(int(count.max()))
    step = (sample + 0.5) / count[:, None, None]
    bin_length = (length / bins)[:, None, None]
    place = low[:, None, None] + bin_length * (torch.arange(bins)[None, :, None] + step)
    counted = (sample < count[:, None, None]) & (place >= -1) & (place <= cells)
    return place, counted / count[:, None, None]


def rsm_cost(tracks: Tensor, detections: Tensor, scale: float) -> Tensor:
    """1 - RSM of objects without padding, every reconstruction written out.

    Args:
        tracks: (N, P, C) unit points.
        detections: (M, R, C) unit points.
        scale: Of the softmax.

    Returns:
        (N, M).
    """
    affinity = torch.einsum("npc,mrc->npmr", tracks, detections)
    shape = affinity.shape
    logits = affinity.reshape(shape[0] * shape[1], -1) * scale
    forward = logits.softmax(dim=1).reshape(shape)
    backward = logits.softmax(dim=0).reshape(shape)
    rebuilt_tracks = torch.einsum("npmr,mrc->nmpc", forward, detections)
    rebuilt_detections = torch.einsum("npmr,npc->nmrc", backward, tracks)
    first = F.cosine_similarity(
        tracks.flatten(1)[:, None], rebuilt_tracks.flatten(2), dim=2, eps=1e-12
    )
    second = F.cosine_similarity(
        detections.flatten(1)[None], rebuilt_detections.flatten(2), dim=2, eps=1e-12
    )
    return 1 - (first + second) / 2


class EagerGraphs(GraphRunner):
    """Stands in for a bundle's `rsm` and `select`, so that both sides share the host's code."""

    def __init__(self) -> None:
        # There is no bundle behind it, so nothing of the base class is set up.
        pass

    @torch.inference_mode()
    def run(self, graph: str, *feeds: Array) -> tuple[Array, ...]:
        """`rsm` or `select`, with the feeds of the bundle's graphs; masks must be all ones."""
        tensors = [torch.from_numpy(to_host(feed)) for feed in feeds]
        if graph == "select":
            old, new, rows = tensors
            return (torch.cat([old, new])[rows].numpy(),)
        tracks, _, detections, _, scale = tensors
        return (rsm_cost(tracks, detections, float(scale)).numpy(),)
