"""The network's image of a frame as a graph, so that a GPU scales frames and not the host."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...runtime.preprocessing import PAD_VALUE


class LetterboxImage(nn.Module):
    """A frame made smaller by averaging areas, and padded: `Letterbox.apply` of the runtime.

    An area is a product of intervals, so rows are mixed first and columns then.  Where all shares
    of a row or column are 0 lies the padding.
    """

    def forward(
        self,
        frame: Tensor,
        row_index: Tensor,
        row_share: Tensor,
        column_index: Tensor,
        column_share: Tensor,
    ) -> Tensor:
        """The image that the backbone takes.

        Args:
            frame: (H, W, 3) uint8.
            row_index: (h, R) int64: the rows of the frame that a row of the image is mixed from.
            row_share: (h, R) float32: their shares, of sum 1, or 0 where the image is padded.
            column_index: (w, S) int64, likewise.
            column_share: (w, S) float32.

        Returns:
            (1, h, w, 3) uint8.
        """
        # TensorRT takes uint8 only where the next step is a cast, and gives it after one.
        rows = functional.embedding(row_index, frame.float().flatten(1))
        mixed = (rows * row_share.unsqueeze(2)).sum(dim=1)
        columns = torch.unflatten(mixed, 1, (-1, 3)).transpose(0, 1).flatten(1)
        cells = functional.embedding(column_index, columns)
        image = torch.unflatten((cells * column_share.unsqueeze(2)).sum(dim=1), 1, (-1, 3))
        inside = row_share.sum(dim=1).unsqueeze(1) * column_share.sum(dim=1).unsqueeze(0)
        padded = image.transpose(0, 1) + PAD_VALUE * (1.0 - inside.unsqueeze(2))
        return torch.floor(padded + 0.5).clamp(0, 255).unsqueeze(0).to(torch.uint8)
