"""The reconstruction similarity of the paper as a graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .appearance import NORM_FLOOR

ABSENT = 1.0e6
"""Taken from the scaled similarity of padding, in float32: far more than any scale gives back."""


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
        apart: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Cost 1 - RSM of every pair.

        Args:
            tracks: (N, P, C) unit points.
            track_mask: (N, P) float32, 1 for a point and 0 for padding.
            detections: (M, R, C) unit points.
            detection_mask: (M, R) float32.
            scale: (1,) float32, s of `softmax(s T Dᵀ)`; 1 in the paper, 100 in its code.
            apart: (N, M) float32, `-ABSENT` where two have nothing to do with one another, so that
                each is as if the other were not given, and 0 elsewhere; None: all have.

        Returns:
            The cost (N, M) float32; an object without points costs 1 with everything.  Then what
            it is made of, which for each tracklet is the same whichever others are given:
            the cosine (N, M) of the tracklets, and for each tracklet and each detection's points,
            (N, M, R) each, `level`, `dot` and `square`: with weights w = softmax of `level` over
            all tracklets there are, a detection's cosine is Σ w·dot / √(Σ w²·square) over its
            points.
        """
        (n, p, channels), (m, r, _) = tracks.shape, detections.shape
        t, d = tracks.float(), detections.float()
        # Two more channels keep padding out of either softmax: of a point and of padding, they
        # take `ABSENT` away.  Of what points there are, detections have fewer: they are scaled.
        real_t, real_d = track_mask.unsqueeze(-1), detection_mask.unsqueeze(-1)
        left = torch.cat([t, real_t - 1.0, real_t], dim=-1).reshape(-1, channels + 2)
        right = torch.cat([d * scale, real_d * ABSENT, (real_d - 1.0) * ABSENT], dim=-1)
        logits = left @ right.reshape(-1, channels + 2).transpose(0, 1)
        gram_t, gram_d = t @ t.transpose(1, 2), d @ d.transpose(1, 2)

        # Where all of one side is padding, the softmax had nothing but padding to choose from.
        present = track_mask.amax(1, keepdim=True) * detection_mask.amax(1)
        if apart is not None:
            present = present * (1.0 + apart / ABSENT)
        dot, square = self._of_tracks(logits, track_mask, gram_d, apart)
        norm_t = _norm(gram_t, track_mask).unsqueeze(1) * scale
        of_tracks = dot / (norm_t * _floored_root(square)) * present

        by_track = logits.reshape(n, p, -1)
        level, total, dot, square = (
            each.reshape(-1, m, r) for each in self._of_detections(by_track, gram_t)
        )
        share = detection_mask / total
        norm_d = _norm(gram_d, detection_mask).unsqueeze(1) * scale
        level, dot = level * detection_mask, dot * (share / norm_d)
        square = square * (share * share)

        # A softmax over tracklets: along the first axis its parts take less time than itself.
        apart_level = level if apart is None else level + apart.unsqueeze(2)
        weight = torch.exp(apart_level - apart_level.amax(0))
        weight = weight / weight.sum(0)
        rebuilt = _floored_root((weight * weight * square).sum(2))
        of_detections = (weight * dot).sum(2) / rebuilt * present
        cost = 1.0 - 0.5 * (of_tracks + of_detections)
        return cost, of_tracks, level, dot, square

    def _of_tracks(
        self, logits: Tensor, track_mask: Tensor, gram: Tensor, apart: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(N, M) each of tracklets and what detections make of them: product, and square of that.

        The product is the scale times as large; `gram` is that of the detections.
        """
        (n, p), (m, r, _) = track_mask.shape, gram.shape
        if apart is None:
            weight = torch.softmax(logits, dim=1)
        else:
            by_pair = logits.reshape(n, p, m, r) + apart.reshape(n, 1, m, 1)
            weight = torch.softmax(by_pair.reshape(n * p, m * r), dim=1)
        dot = (weight * logits).reshape(-1, m, r).sum(2)
        by_detection = weight.reshape(-1, m, r).transpose(0, 1)
        square = ((by_detection @ gram) * by_detection).sum(2)
        dot = (track_mask.unsqueeze(1) @ dot.reshape(n, p, -1)).squeeze(1)
        square = (square.reshape(-1, n, p) * track_mask).sum(2).transpose(0, 1)
        return dot, square

    def _of_detections(
        self, by_track: Tensor, gram: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, points of all detections) each: level, and the softmax's sum, dot and square.

        The softmax is over one tracklet's points; dot is yet to be divided by its sum, square by
        the square of that.  Level is the sum's logarithm; `gram` is that of the tracklets.
        """
        highest = by_track.amax(1, keepdim=True)
        weight = torch.exp(by_track - highest)
        total = weight.sum(1)
        dot = (weight * by_track).sum(1)
        square = ((gram @ weight) * weight).sum(1)
        return highest.squeeze(1) + torch.log(total), total, dot, square


class RsmGroups(nn.Module):
    """`Rsm` within each of several groups at once, of objects that are rows of two stacks."""

    def __init__(self) -> None:
        super().__init__()
        self.rsm = Rsm()

    def forward(
        self,
        old: Tensor,
        new: Tensor,
        track_rows: Tensor,
        track_mask: Tensor,
        track_groups: Tensor,
        detection_rows: Tensor,
        detection_mask: Tensor,
        detection_groups: Tensor,
        scale: Tensor,
    ) -> Tensor:
        """Cost 1 - RSM of every pair, as if each group had been compared by itself.

        Args:
            old: (A, P, C) unit points.
            new: (B, P, C).
            track_rows: (N,) int64 in [0, A + B), the old ones counted first.
            track_mask: (N, P) float32, 1 for a point and 0 for padding.
            track_groups: (N,) float32, the number of each one's group, whole.
            detection_rows: (M,) int64, likewise.
            detection_mask: (M, P) float32.
            detection_groups: (M,) float32.
            scale: (1,) float32, s of `softmax(s T Dᵀ)`.

        Returns:
            (N, M) float32; 1 between groups.
        """
        stacks = torch.cat([old, new])
        tracks, detections = (stacks.index_select(0, r) for r in (track_rows, detection_rows))
        # Numbers are whole: their difference squared is 0, or 1 and more.
        differ = track_groups.unsqueeze(1) - detection_groups.unsqueeze(0)
        apart = (differ * differ).clamp(0.0, 1.0) * -ABSENT
        cost: Tensor = self.rsm(tracks, track_mask, detections, detection_mask, scale, apart)[0]
        return cost


def _norm(gram: Tensor, mask: Tensor) -> Tensor:
    """(N,) of each object's points, those that are no padding, from their products (N, P, P).

    Of a unit vector, no product with another is larger than its square.
    """
    squares = (gram * mask.unsqueeze(1)).amax(2) * mask
    return _floored_root(squares.sum(1))


def _floored_root(squared: Tensor) -> Tensor:
    return squared.clamp_min(NORM_FLOOR**2).sqrt()
