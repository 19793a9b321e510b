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
