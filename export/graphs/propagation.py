"""Label propagation as graphs: one memory frame a call, then the labels."""

from __future__ import annotations

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
        channels = keys.shape[3]
        tiles, per_tile = query_index.shape
        window = window_index.shape[1]
        chosen = query.reshape(-1, channels).index_select(0, query_index.reshape(-1)).float()
        around = keys.reshape(-1, channels).index_select(0, window_index.reshape(-1)).float()
        affinity = chosen.reshape(tiles, per_tile, channels) @ around.reshape(
            tiles, window, channels
        ).transpose(1, 2)
        values, places = torch.topk(affinity + bias, self.top_k, dim=2, sorted=False)
        offsets = torch.arange(tiles, device=places.device).reshape(tiles, 1, 1) * window
        cells = window_index.reshape(-1).index_select(0, (places + offsets).reshape(-1))
        values = values.reshape(tiles * per_tile, self.top_k)
        cells = cells.reshape(tiles * per_tile, self.top_k)
        return _merge(best, best_labels, values, cells, labels, self.top_k)


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
