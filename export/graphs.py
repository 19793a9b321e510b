"""The heavy parts of the method as PyTorch modules that export to TensorRT-friendly ONNX.

Only matrix products, gathers, softmax and top-k: no RoIAlign and no Fourier transform, which some
TensorRT flavours cannot parse.  Feature maps travel as (1, rows, cols, C), one point a row, in the
bundle's precision; affinities, softmaxes and norms are computed in float32 whatever that is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MASKED = -1.0e4
"""Added to what must not be chosen: fits in float16, and exp(MASKED) is 0 for every temperature."""

ABSENT = 1.0e6
"""Taken from the scaled similarity of padding, in float32: far more than any scale gives back."""

NORM_FLOOR = 1.0e-12


def normalise_points(points: Tensor) -> Tensor:
    """Divide (…, C) points by their L2 norm, in float32; a zero point stays zero."""
    points = points.float()
    unit: Tensor = points / points.norm(dim=-1, keepdim=True).clamp_min(NORM_FLOOR)
    return unit


class BackboneGraph(nn.Module):
    """φ of the paper: a frame becomes a map of L2-normalised points.

    Args:
        network: Maps (B, 3, H, W) normalised images to (B, C, h, w) features.
        mean: Of the RGB channels in [0, 1], three values.
        std: Likewise.
        color: `rgb`, or `lab-l` for models that see the L channel of CIE Lab three times.
        half: Whether the network computes in float16.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        *,
        color: str = "rgb",
        half: bool = False,
    ) -> None:
        super().__init__()
        self.network = network.half() if half else network
        self.dtype = torch.float16 if half else torch.float32
        self.color = color
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255.0)
        self.register_buffer("scale", 1.0 / (torch.tensor(std).view(1, 3, 1, 1) * 255.0))

    def forward(self, frames: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 BGR → (B, ceil(H/8), ceil(W/8), C) unit points."""
        image = frames.permute(0, 3, 1, 2).float()
        image = image[:, [2, 1, 0]] if self.color == "rgb" else lightness(image)
        image = (image - self.mean) * self.scale
        features = self.network(image.to(self.dtype)).permute(0, 2, 3, 1)
        return normalise_points(features).to(self.dtype)


def lightness(bgr: Tensor) -> Tensor:
    """CIE L of (B, 3, H, W) BGR in [0, 255], scaled to [0, 255] and given three times.

    sRGB is linearised, weighted to luminance (ITU-R BT.709, D65) and passed through CIE 1976 L*.
    """
    rgb = bgr / 255.0
    low = rgb / 12.92
    linear = torch.where(rgb <= 0.04045, low, ((rgb + 0.055) / 1.055).clamp_min(1e-6) ** 2.4)
    luminance = (linear * linear.new_tensor([0.0722, 0.7152, 0.2126]).view(1, 3, 1, 1)).sum(
        1, keepdim=True
    )
    cubic = 116.0 * luminance.clamp_min(1e-6) ** (1.0 / 3.0) - 16.0
    light = torch.where(luminance > 0.008856, cubic, 903.3 * luminance) * 2.55
    return torch.cat([light, light, light], dim=1)


class BoxFeatures(nn.Module):
    """RoIAlign as two small matrix products a box: `Wy · F · Wxᵀ`.

    The interpolation weights come from the host (`heads.roi_weights`); with adaptive sampling an
    output cell is the mean of products of bilinear weights, which is separable and so exact.
    """

    def forward(self, features: Tensor, weights_y: Tensor, weights_x: Tensor) -> Tensor:
        """Features of N boxes.

        Args:
            features: (1, rows, cols, C).
            weights_y: (N, out_h, rows) float32.
            weights_x: (N, out_w, cols) float32.

        Returns:
            (N, out_h * out_w, C) unit points.
        """
        _, rows, cols, channels = features.shape
        boxes, out_h, _ = weights_y.shape
        out_w = weights_x.shape[1]
        flat = features.float().reshape(rows, cols * channels)
        strips = (weights_y.reshape(boxes * out_h, rows) @ flat).reshape(
            boxes, out_h, cols, channels
        )
        cells = weights_x.unsqueeze(1) @ strips
        return normalise_points(cells.reshape(boxes, out_h * out_w, channels)).to(features.dtype)


class PointFeatures(nn.Module):
    """Points of objects that are masks (or poses drawn as masks), as weighted gathers."""

    def forward(self, features: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        """Features of N objects of P points.

        Args:
            features: (1, rows, cols, C).
            index: (N, P, 4) int64: the cells that a point is mixed from, row-major.
            weight: (N, P, 4) float32: their shares; all zero where the object has no such point.

        Returns:
            (N, P, C) unit points, zero where there is none.
        """
        objects, points, taps = index.shape
        channels = features.shape[3]
        cells = features.reshape(-1, channels).index_select(0, index.reshape(-1))
        cells = cells.float().reshape(objects, points, taps, channels)
        mixed = (cells * weight.unsqueeze(-1)).sum(dim=2)
        return normalise_points(mixed).to(features.dtype)


class SelectObjects(nn.Module):
    """Rows of two stacks of objects: how a bank of tracklet features is brought up to date."""

    def forward(self, old: Tensor, new: Tensor, rows: Tensor) -> Tensor:
        """Choose objects by number, the old ones counted first.

        Args:
            old: (A, P, C).
            new: (B, P, C).
            rows: (N,) int64 in [0, A + B).

        Returns:
            (N, P, C).
        """
        return torch.cat([old, new]).index_select(0, rows)


class Rsm(nn.Module):
    """Reconstruction similarity of tracklets and detections, as a cost (paper, equation 2).

    Nothing of width C is reconstructed: the numerator of a cosine is the sum over a block of
    `A ∘ (T Dᵀ)`, and the norm of a reconstruction follows from the Gram matrix of what it was
    reconstructed from.  What costs are matrices of all points by all points, so padding is masked
    and the scale applied within their product.

    A tracklet is reconstructed from all detections.  A detection is reconstructed from all
    tracklets, for which each of them is looked at alone, and then they are weighed against one
    another; so any number of calls, each with some of the tracklets, can be put together.
    """

    def forward(
        self,
        tracks: Tensor,
        track_mask: Tensor,
        detections: Tensor,
        detection_mask: Tensor,
        scale: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Cost 1 - RSM of every pair.

        Args:
            tracks: (N, P, C) unit points.
            track_mask: (N, P) float32, 1 for a point and 0 for padding.
            detections: (M, R, C) unit points.
            detection_mask: (M, R) float32.
            scale: (1,) float32, s of `softmax(s T Dᵀ)`; 1 in the paper, 100 in its code.

        Returns:
            The cost (N, M) float32; an object without points costs 1 with everything.  Then what
            it is made of, which for each tracklet is the same whichever others are given:
            the cosine (N, M) of the tracklets, and for each tracklet and each detection's points,
            (N, M, R) each, `level`, `dot` and `square`: with weights w = softmax of `level` over
            all tracklets there are, a detection's cosine is Σ w·dot / √(Σ w²·square) over its
            points.
        """
        n, p, channels = tracks.shape
        m, r, _ = detections.shape
        t = tracks.float() * track_mask.unsqueeze(-1)
        d = detections.float() * detection_mask.unsqueeze(-1)
        # Two more channels add what keeps padding out of either softmax.
        absent_t = ((track_mask - 1.0) * ABSENT).unsqueeze(-1)
        absent_d = ((detection_mask - 1.0) * ABSENT).unsqueeze(-1)
        left = torch.cat([t * scale, absent_t, absent_t * 0.0 + 1.0], dim=-1)
        right = torch.cat([d, absent_d * 0.0 + 1.0, absent_d], dim=-1)
        left, right = left.reshape(n * p, channels + 2), right.reshape(m * r, channels + 2)
        logits = left @ right.transpose(0, 1)

        # Where all of one side is padding, the softmax had nothing but padding to choose from.
        present = track_mask.amax(1, keepdim=True) * detection_mask.amax(1).unsqueeze(0)
        of_tracks = self._of_tracks(logits, t, track_mask, d) / scale * present
        level, dot, square = self._of_detections(logits, t)
        real = detection_mask.unsqueeze(0)
        norm = _floored_root((d * d).sum(dim=(1, 2))).reshape(1, m, 1)
        level, square = level.reshape(n, m, r) * real, square.reshape(n, m, r) * real
        dot = dot.reshape(n, m, r) * real / (norm * scale)

        weight = torch.softmax(level, dim=0)
        rebuilt = _floored_root((weight * weight * square).sum(2))
        of_detections = (weight * dot).sum(2) / rebuilt * present
        cost = 1.0 - 0.5 * (of_tracks + of_detections)
        return cost, of_tracks, level, dot, square

    def _of_tracks(self, logits: Tensor, t: Tensor, track_mask: Tensor, d: Tensor) -> Tensor:
        """(N, M) cosines of tracklets with what detections make of them, times the scale."""
        (n, p, _), (m, r, _) = t.shape, d.shape
        weight = torch.softmax(logits, dim=1)
        dot = (weight * logits).reshape(n * p, m, r).sum(2)
        by_detection = weight.reshape(n * p, m, r).transpose(0, 1)
        square = ((by_detection @ (d @ d.transpose(1, 2))) * by_detection).sum(2).transpose(0, 1)
        real = track_mask.reshape(n * p, 1)
        dot = (dot * real).reshape(n, p, m).sum(1)
        square = (square * real).reshape(n, p, m).sum(1)
        norm = _floored_root((t * t).sum(dim=(1, 2))).unsqueeze(1)
        return dot / norm / _floored_root(square)

    def _of_detections(self, logits: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, points of all detections) each: logarithm of the softmax's sum, dot and square.

        The softmax is over one tracklet's points, and its exponentials are divided by their sum
        only after they have been summed up.
        """
        n, p, _ = t.shape
        by_track = logits.reshape(n, p, -1)
        highest = by_track.amax(1, keepdim=True)
        weight = torch.exp(by_track - highest)
        total = weight.sum(1)
        dot = (weight * by_track).sum(1) / total
        square = (((t @ t.transpose(1, 2)) @ weight) * weight).sum(1) / (total * total)
        return highest.squeeze(1) + torch.log(total), dot, square


def _floored_root(squared: Tensor) -> Tensor:
    return squared.clamp_min(0).sqrt().clamp_min(NORM_FLOOR)


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
