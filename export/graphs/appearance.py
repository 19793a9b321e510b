"""The heavy parts of the method as PyTorch modules that export to TensorRT-friendly ONNX.

Only matrix products, gathers, softmax and top-k: no RoIAlign and no Fourier transform, which some
TensorRT variants cannot parse.  Feature maps travel as (1, rows, cols, C), one point a row, in the
bundle's precision; affinities, softmaxes and norms are computed in float32 whatever that is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MASKED = -1.0e4
"""Added to what must not be chosen: fits in float16, and exp(MASKED) is 0 for every temperature."""

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
        # TensorRT takes uint8 only where the next step is a cast.
        image = frames.float().permute(0, 3, 1, 2)
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

    The interpolation weights come from the host (`heads.mot.roi_weights`); with adaptive sampling
    an output cell is the mean of products of bilinear weights, which is separable and so exact.
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
        flat = features.reshape(rows, cols * channels)
        weights_y, weights_x = weights_y.to(features.dtype), weights_x.to(features.dtype)
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
