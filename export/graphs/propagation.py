"""Label propagation as graphs: memory frames, one or several a call, then labels and label map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .appearance import MASKED


class PropagateGlobal(nn.Module):
    """Label propagation from one memory frame, every query cell searching the whole of it.

    Each call merges one memory frame into the best `top_k` candidates so far, so that a memory of
    any length costs one graph and no stacked copy (paper, equation 1, top-k kept).
    """

    def __init__(self, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        labels: Tensor,
        query_index: Tensor,
        best: Tensor,
        best_labels: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Merge one memory frame.

        Args:
            query: (1, rows, cols, C) unit points of the frame to label.
            keys: (1, rows, cols, C) unit points of the memory frame.
            labels: (cells, L) float32 of the memory frame.
            query_index: (Q,) int64: which query cells.
            best: (Q, K) float32: similarities so far.
            best_labels: (Q, K, L) float32: labels of those.

        Returns:
            The new `best` and `best_labels`.
        """
        channels = keys.shape[3]
        chosen = query.reshape(-1, channels).index_select(0, query_index).float()
        affinity = chosen @ keys.reshape(-1, channels).float().transpose(0, 1)
        values, cells = torch.topk(affinity, self.top_k, dim=1, sorted=False)
        return _merge(best, best_labels, values, cells, labels, self.top_k)


class PropagateLocal(nn.Module):
    """Label propagation from one memory frame, every query cell searching its neighbourhood.

    Query cells come in tiles; a tile shares one window of keys, gathered inside the graph.
    """

    def __init__(self, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        labels: Tensor,
        query_index: Tensor,
        window_index: Tensor,
        bias: Tensor,
        best: Tensor,
        best_labels: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Merge one memory frame.

        Args:
            query: (1, rows, cols, C) unit points of the frame to label.
            keys: (1, rows, cols, C) unit points of the memory frame.
            labels: (cells, L) float32 of the memory frame.
            query_index: (T, Q) int64: cells of each tile.
            window_index: (T, S) int64: key cells of each tile's window.
            bias: (T, Q, S) float32: 0 within the radius, `MASKED` elsewhere.
            best: (T * Q, K) float32: similarities so far.
            best_labels: (T * Q, K, L) float32: labels of those.

        Returns:
            The new `best` and `best_labels`.
        """
        where = query_index, window_index, bias
        return _merge_near(query, [(keys, labels)], where, best, best_labels, self.top_k)


RECENT = 5
"""Frames that `PropagateRecent` takes: as many as the method keeps."""


class PropagateRecent(nn.Module):
    """`PropagateLocal` of several memory frames, one after the other in one graph.

    On a GPU every call costs the host a launch.  Frames stay where the backbone left them: to lay
    them into one array would copy each of them once more.
    """

    def __init__(self, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k

    def forward(
        self,
        query: Tensor,
        keys_1: Tensor,
        keys_2: Tensor,
        keys_3: Tensor,
        keys_4: Tensor,
        keys_5: Tensor,
        labels_1: Tensor,
        labels_2: Tensor,
        labels_3: Tensor,
        labels_4: Tensor,
        labels_5: Tensor,
        query_index: Tensor,
        window_index: Tensor,
        bias: Tensor,
        best: Tensor,
        best_labels: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Merge `RECENT` memory frames, the first one first; see `PropagateLocal`."""
        keys = (keys_1, keys_2, keys_3, keys_4, keys_5)
        labels = (labels_1, labels_2, labels_3, labels_4, labels_5)
        where = query_index, window_index, bias
        frames = list(zip(keys, labels, strict=True))
        return _merge_near(query, frames, where, best, best_labels, self.top_k)


def _merge_near(
    query: Tensor,
    frames: Sequence[tuple[Tensor, Tensor]],
    where: tuple[Tensor, Tensor, Tensor],
    best: Tensor,
    best_labels: Tensor,
    top_k: int,
) -> tuple[Tensor, Tensor]:
    query_index, window_index, bias = where
    tiles, per_tile = query_index.shape
    window, channels = window_index.shape[1], query.shape[3]
    chosen = query.reshape(-1, channels).index_select(0, query_index.reshape(-1)).float()
    chosen = chosen.reshape(tiles, per_tile, channels)
    windows = window_index.reshape(-1)
    offsets = torch.arange(tiles, device=query.device).reshape(tiles, 1, 1) * window
    for number, (keys, labels) in enumerate(frames):
        if number:
            # Adds 0, which nobody knows but we: otherwise TensorRT does all frames side by side,
            # in six times the memory.
            windows = windows + (best[0, 0] < 2 * MASKED).long()
        around = keys.reshape(-1, channels).index_select(0, windows).float()
        affinity = chosen @ around.reshape(tiles, window, channels).transpose(1, 2)
        values, places = torch.topk(affinity + bias, top_k, dim=2, sorted=False)
        cells = windows.index_select(0, (places + offsets).reshape(-1))
        values = values.reshape(tiles * per_tile, top_k)
        cells = cells.reshape(tiles * per_tile, top_k)
        best, best_labels = _merge(best, best_labels, values, cells, labels, top_k)
    return best, best_labels


def _merge(
    best: Tensor, best_labels: Tensor, values: Tensor, cells: Tensor, labels: Tensor, top_k: int
) -> tuple[Tensor, Tensor]:
    count, width = best.shape[0], labels.shape[1]
    found = labels.index_select(0, cells.reshape(-1)).reshape(count, top_k, width)
    both = torch.cat([best, values], dim=1)
    both_labels = torch.cat([best_labels, found], dim=1)
    kept, order = torch.topk(both, top_k, dim=1, sorted=True)
    flat = both_labels.reshape(count * 2 * top_k, width)
    rows = order + torch.arange(count, device=order.device).unsqueeze(1) * (2 * top_k)
    kept_labels = flat.index_select(0, rows.reshape(-1)).reshape(count, top_k, width)
    return kept, kept_labels


class PropagateLabels(nn.Module):
    """The last step of propagation: softmax over the kept similarities, weighted labels."""

    def forward(
        self, best: Tensor, best_labels: Tensor, order: Tensor, temperature: Tensor, top_k: Tensor
    ) -> Tensor:
        """Labels of the frame.

        Args:
            best: (Q, K) float32, sorted from the largest.
            best_labels: (Q, K, L) float32.
            order: (cells,) int64: which query stands at each cell of the result.
            temperature: (1,) float32, τ.
            top_k: (1,) int64: how many of the K are used.

        Returns:
            (cells, L) float32.
        """
        rank = torch.arange(best.shape[1], device=best.device).unsqueeze(0)
        logits = best / temperature + torch.where(rank < top_k, 0.0, MASKED)
        share = torch.softmax(logits, dim=1).unsqueeze(1)
        return (share @ best_labels).squeeze(1).index_select(0, order)


class LabelMap(nn.Module):
    """The label of each pixel, interpolated between cells: `label_maps.best_labels` of the runtime.

    Interpolation along an axis is a matrix, whatever paddings were put around and cut off between.
    """

    def forward(self, scores: Tensor, row_share: Tensor, column_share: Tensor) -> Tensor:
        """The number of the largest score of every pixel, of equal ones the first.

        Args:
            scores: (rows * cols, L) float32 of cells.
            row_share: (H, rows) float32: of which rows of cells a row of pixels is mixed.
            column_share: (W, cols) float32, likewise.

        Returns:
            (H, W) uint8.
        """
        rows, cols = row_share.shape[1], column_share.shape[1]
        cells = scores.transpose(0, 1).reshape(scores.shape[1], rows, cols)
        pixels = row_share @ cells @ column_share.transpose(0, 1)
        # TensorRT makes uint8 of floats alone.
        return pixels.argmax(dim=0).float().to(torch.uint8)
