"""The baselines: the same definitions in plain PyTorch, eager, as one would first write them.

Nothing is slowed down on purpose: no gradients, batched operations, keys laid out once a frame,
masks made once a video.  What is missing is only what this project is about: exported graphs,
folded batch norms, searching near by only, and algebra that spares work.

Everything takes a `Style`; by default PyTorch runs as it comes, on the CPU.  Whatever the style,
norms, softmaxes and costs are computed in float32, as the bundles do.
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

from ..export.backbones.checkpoints import apply_weights, load_state_dict
from ..export.backbones.efficientnet_lite import EfficientNetLite0
from ..export.backbones.resnet import ResNet, ResNetArch, init_random
from ..export.backbones.table import find_backbone
from ..runtime.bundle.spec import BundleSpec
from ..runtime.inference.base import Array, Graphs, to_host
from .style import PLAIN, Style, as_array, as_tensor

Float32 = npt.NDArray[np.float32]

_OUTSIDE = -6.0e4
"""Below any cosine, and a number in float16 too."""


class EagerBackbone:
    """A backbone with its batch norms left where they were trained, and its preprocessing.

    Args:
        name: On the table of backbones; a ResNet-18 or `efficientnet-lite0`.
        weights: The checkpoint; None for `random-*`.
        style: How it runs.
    """

    def __init__(self, name: str, weights: Path | None, style: Style = PLAIN) -> None:
        row = find_backbone(name)
        lite = row.arch == "efficientnet-lite0"
        network: nn.Module = EfficientNetLite0() if lite else ResNet(cast(ResNetArch, row.arch))
        if weights is None:
            init_random(network, seed=0)
        else:
            apply_weights(network, load_state_dict(weights, row), row)
        self.style = style
        self.network = network.eval().requires_grad_(False).to(style.device, style.dtype)
        if style.channels_last:
            for weight in self.network.parameters():
                if weight.ndim == 4:
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        self.mean = torch.tensor(row.mean, device=style.device).view(1, 3, 1, 1)
        self.std = torch.tensor(row.std, device=style.device).view(1, 3, 1, 1)
        self._layout = torch.channels_last if style.channels_last else torch.preserve_format
        self._forward = style.wrap(self._features)

    @torch.inference_mode()
    def __call__(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """(H, W, 3) uint8 BGR -> (1, C, rows, cols) unit points."""
        return self.forward(torch.from_numpy(image).to(self.style.device))

    @torch.inference_mode()
    def forward(self, image: Tensor) -> Tensor:
        """The same for an image that is on the device already."""
        features: Tensor = self._forward(image)
        return features

    def _features(self, image: Tensor) -> Tensor:
        pixels = image.permute(2, 0, 1)[None].float()
        rgb = pixels[:, [2, 1, 0]] / 255
        ready = ((rgb - self.mean) / self.std).to(self.style.dtype, memory_format=self._layout)
        return F.normalize(self.network(ready).float(), dim=1).to(self.style.dtype)


class EagerPropagator:
    """Mask propagation by dense affinities to all memory frames.

    Args:
        rows: Of the feature grid.
        cols: Of the feature grid.
        top_k: Keys kept per cell, of all memory frames together.
        temperature: Of the softmax.
        radius: Of the neighbourhood in recent frames, in cells, strict.
        memory: Recent frames kept besides the first.
        style: How it runs.
    """

    def __init__(
        self,
        rows: int,
        cols: int,
        *,
        top_k: int,
        temperature: float,
        radius: float,
        memory: int,
        style: Style = PLAIN,
    ) -> None:
        self.top_k = top_k
        self.temperature = temperature
        self.style = style
        self.recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=memory)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
        y, x = y.flatten(), x.flatten()
        squared = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
        self.outside = (squared >= radius * radius).to(style.device)
        self._propagate = style.wrap(propagate_block)

    def start(self, features: Tensor, labels: Float32) -> None:
        """The first frame: features (1, C, rows, cols), labels (cells, L)."""
        self.first = features.flatten(2)[0], as_tensor(labels, self.style.device)
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
        parts = []
        for start in range(0, len(queries), self.style.block):
            rows = slice(start, start + self.style.block)
            outside = self.outside[rows, None]
            parts.append(
                self._propagate(
                    queries[rows], keys, key_labels, outside, self.top_k, self.temperature
                )
            )
        labels = torch.cat(parts)
        self.recent.append((points, labels))
        host: Float32 = labels.cpu().numpy()
        return host


def propagate_block(
    queries: Tensor,
    keys: Tensor,
    key_labels: Tensor,
    outside: Tensor,
    top_k: int,
    temperature: float,
) -> Tensor:
    """Labels of some queries.

    Args:
        queries: (Q, C) unit points.
        keys: (C, K) unit points of all memory frames, the first one first.
        key_labels: (K, L).
        outside: (Q, 1, cells) bool: what a query does not see of a recent frame.
        top_k: Keys kept.
        temperature: Of the softmax.

    Returns:
        (Q, L).
    """
    cells = outside.shape[2]
    affinity = queries @ keys
    affinity[:, cells:].view(len(affinity), -1, cells).masked_fill_(outside, _OUTSIDE)
    best, chosen = affinity.topk(top_k, dim=1)
    share = torch.softmax(best.float() / temperature, dim=1)
    return (share.unsqueeze(2) * key_labels[chosen]).sum(dim=1)


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
    boxes = torch.from_numpy(boxes_xyxy).to(features.device) / stride
    y, weight_y = _samples(boxes[:, 1], boxes[:, 3], output_hw[0], rows)
    x, weight_x = _samples(boxes[:, 0], boxes[:, 2], output_hw[1], cols)
    # (N, out_h, out_w, samples_y, samples_x)
    weight = weight_y[:, :, None, :, None] * weight_x[:, None, :, None, :]
    x = x[:, None, :, None, :].expand(weight.shape)
    y = y[:, :, None, :, None].expand(weight.shape)
    place = torch.stack([x / (cols - 1), y / (rows - 1)], dim=-1) * 2 - 1
    # Places of a float16 grid would be half a cell off.
    sampled = F.grid_sample(
        features.float(), place.reshape(1, -1, 1, 2), padding_mode="border", align_corners=True
    )
    sampled = sampled.reshape(channels, *weight.shape)
    binned = (sampled * weight).sum(dim=(-2, -1)).permute(1, 2, 3, 0)
    return F.normalize(binned.reshape(len(boxes), -1, channels), dim=2).to(features.dtype)


def _samples(low: Tensor, high: Tensor, bins: int, cells: int) -> tuple[Tensor, Tensor]:
    """Sampling places of one axis and their shares, both (N, bins, samples)."""
    length = (high - low).clamp_min(1.0)
    count = (length / bins).ceil()
    sample = torch.arange(int(count.max()), device=low.device)
    step = (sample + 0.5) / count[:, None, None]
    bin_length = (length / bins)[:, None, None]
    bin_number = torch.arange(bins, device=low.device)[None, :, None]
    place = low[:, None, None] + bin_length * (bin_number + step)
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
    tracks, detections = tracks.float(), detections.float()
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


class EagerGraphs(Graphs):
    """Stands in for a bundle's `rsm` and `select`, so that both sides share the host's code.

    Args:
        style: How it runs.
    """

    spec: BundleSpec  # which nobody asks for

    def __init__(self, style: Style = PLAIN) -> None:
        self._device = style.device
        self._cost = style.wrap(rsm_cost)

    @torch.inference_mode()
    def run(self, graph: str, *feeds: Array) -> tuple[Array, ...]:
        """`rsm` or `select`, with the feeds of the bundle's graphs; masks must be all ones."""
        if graph == "select":
            old, new, rows = (as_tensor(feed, self._device) for feed in feeds)
            return (as_array(torch.cat([old, new])[rows]),)
        tracks, _, detections, _, scale = feeds
        points = (as_tensor(feed, self._device) for feed in (tracks, detections))
        return (as_array(self._cost(*points, float(to_host(scale)[0]))),)
