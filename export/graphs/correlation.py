"""Single-object tracking as graphs: cross-correlation and the discriminative correlation filter.

No Fourier operator and no convolution of two variables: only products with matrices, sums and
slices.  Everything is computed in float32, whatever the features' dtype.

The target is looked for in a square crop of `grid` × `grid` cells; the template is the `inner` ×
`inner` cells in its middle.  Since the template is zero everywhere else, neither correlation needs
more than its own cells: all products of search cells with template cells are one matrix product,
and a response is the sum of shifted pieces of it.  The filter's correlation Σ_c x̂_c ẑ_c* is the
Fourier transform of the circular correlation of x and z, so that only one plane a scale is
transformed, and not every channel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

GRID = 65
"""Cells of a crop's side: 520 pixels at stride 8."""

PADDING = 3.5
"""A crop is this much wider than its target, in widths of the target."""


def inner_cells(grid: int = GRID, padding: float = PADDING) -> int:
    """Cells of the template's side: twice the whole cells of half a target."""
    return 2 * int(grid / (2 * (1 + padding)))


def template_start(grid: int, inner: int) -> int:
    """First row and column of the template in a crop."""
    return grid // 2 - inner // 2


class Template(nn.Module):
    """The cells in the middle of a crop."""

    cells: Tensor

    def __init__(self, grid: int, inner: int) -> None:
        super().__init__()
        line = torch.arange(inner) + template_start(grid, inner)
        self.register_buffer("cells", (line.unsqueeze(1) * grid + line).reshape(-1))

    def forward(self, features: Tensor) -> Tensor:
        """(1, grid, grid, C) → (inner * inner, C) float32."""
        return features.reshape(-1, features.shape[3]).index_select(0, self.cells).float()


class Products(nn.Module):
    """Every search cell, under a Hann window, times every cell of the template."""

    hann: Tensor

    def __init__(self, grid: int) -> None:
        super().__init__()
        line = torch.hann_window(grid, periodic=False, dtype=torch.float64)
        self.register_buffer("hann", torch.outer(line, line).reshape(1, 1, -1).float())

    def forward(self, search: Tensor, template: Tensor) -> Tensor:
        """(S, grid, grid, C), (K, C) → (S, K + 1, grid * grid); the last row of K + 1 is zero."""
        scales, grid, _, channels = search.shape
        # `shifted_sum` reads a little beyond the last template cell, and must find zeros there.
        template = torch.cat([template, torch.zeros_like(template[:1])])
        cells = search.float().reshape(scales, grid * grid, channels)
        # The window is a number a search cell: cheaper on the products than on the features.
        return (template @ cells.transpose(1, 2)) * self.hann


def shifted_sum(products: Tensor, inner: int, side: int) -> Tensor:
    """Σ_{u,v} products[:, u·inner + v, y + u, x + v] for all places where that exists.

    One row down is `side` cells on and one column one cell: read as rows that are longer by as
    much, the planes of u (and then of v) lie shifted under one another, and are summed as they are.

    Args:
        products: (S, inner * inner + 1, side * side).
        inner: Of the template's side.
        side: Of the search grid.

    Returns:
        (S, side - inner + 1, side - inner + 1).
    """
    scales = products.shape[0]
    plane = side * side
    long_row = inner * plane + side
    flat = products.reshape(scales, (inner * inner + 1) * plane)[:, : inner * long_row]
    by_row = flat.reshape(scales, inner, long_row).sum(1)
    flat = by_row[:, : inner * (plane + 1)]
    by_cell = flat.reshape(scales, inner, plane + 1).sum(1)
    reached = side - inner + 1
    return by_cell[:, :plane].reshape(scales, side, side)[:, :reached, :reached]


class XCorr(nn.Module):
    """SiamFC's response: where the template lies best on the search features.

    Args:
        grid: Cells of a crop's side.
        inner: Of the template's.
    """

    def __init__(self, grid: int = GRID, inner: int | None = None) -> None:
        super().__init__()
        self.grid = grid
        self.inner = inner or inner_cells(grid)
        self.template = Template(grid, self.inner)
        self.products = Products(grid)

    def forward(self, search: Tensor, first: Tensor) -> Tensor:
        """Correlate crops with the middle of the first one.

        Args:
            search: (S, grid, grid, C): crops of this frame.
            first: (1, grid, grid, C): the crop of the first frame.

        Returns:
            (S, R, R) float32, R = grid - inner + 1: element (y, x) is the sum of the products of
            the template's cells with the search cells, Hann-windowed, that it covers when its
            corner is at (y, x).
        """
        products = self.products(search, self.template(first))
        return shifted_sum(products, self.inner, self.grid)


class DcfUpdate(nn.Module):
    """The correlation filter's closed form, and its average over time.

    `α̂ = ŷ / (Σ_c |ẑ_c|² + λ)`; template and α̂ move towards the new ones by `rate`.

    Args:
        grid: Cells of a crop's side.
        inner: Of the template's.
    """

    along_x: Tensor
    along_y: Tensor

    def __init__(self, grid: int = GRID, inner: int | None = None) -> None:
        super().__init__()
        self.grid, self.columns = grid, grid // 2 + 1
        self.inner = inner or inner_cells(grid)
        self.template = Template(grid, self.inner)
        # Where a template stands makes no difference to |ẑ|², so it is transformed at the origin.
        angle = _angles(grid)
        along_x = torch.cat([angle[: self.columns].cos(), angle[: self.columns].sin()])
        along_y = torch.cat([angle.cos(), angle.sin()])
        self.register_buffer("along_x", along_x[:, : self.inner].float())
        self.register_buffer("along_y", along_y[:, : self.inner].float())

    def forward(
        self,
        crop: Tensor,
        template: Tensor,
        alpha: Tensor,
        label: Tensor,
        rate: Tensor,
        regularisation: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Learn from one crop that has the target in its middle.

        Args:
            crop: (1, grid, grid, C).
            template: (inner * inner, C) float32: the average so far.
            alpha: (grid, H) float32, H = grid // 2 + 1: α̂ so far, on the half spectrum. It is
                real, because the label is symmetric.
            label: (grid, H) float32: ŷ, real.
            rate: (1,) float32; 1 forgets what was.
            regularisation: (1,) float32, λ.

        Returns:
            The new template and α̂.
        """
        fresh = self.template(crop)
        inner, grid, columns, channels = self.inner, self.grid, self.columns, fresh.shape[1]
        rows = self.along_x @ fresh.reshape(inner, inner, channels)
        both = (self.along_y @ rows.reshape(inner, 2 * columns * channels)).reshape(
            2, grid, 2, columns, channels
        )
        real = both[0, :, 0] - both[1, :, 1]
        imaginary = both[0, :, 1] + both[1, :, 0]
        power = (real * real + imaginary * imaginary).sum(-1)
        fresh_alpha = label / (power + regularisation)
        return template + rate * (fresh - template), alpha + rate * (fresh_alpha - alpha)


class DcfResponse(nn.Module):
    """The correlation filter's response `F⁻¹(α̂ Σ_c x̂_c ẑ_c*)`.

    Args:
        grid: Cells of a crop's side.
        inner: Of the template's.
    """

    cos_y: Tensor
    sin_y: Tensor
    cos_x: Tensor
    sin_x: Tensor
    back_cos_x: Tensor
    back_sin_x: Tensor

    def __init__(self, grid: int = GRID, inner: int | None = None) -> None:
        super().__init__()
        self.grid = grid
        self.inner = inner or inner_cells(grid)
        self.products = Products(grid)
        angle = _angles(grid)
        half = grid // 2 + 1
        # A real signal's other half spectrum mirrors this one: each column but the first (and,
        # in an even grid, the last) counts twice on the way back.
        twice = torch.full((half, 1), 2.0, dtype=torch.float64)
        twice[0] = 1.0
        if grid % 2 == 0:
            twice[-1] = 1.0
        back = twice / grid**2
        for name, matrix in (
            ("cos_y", angle.cos()),
            ("sin_y", angle.sin()),
            ("cos_x", angle[:half].cos().T),
            ("sin_x", angle[:half].sin().T),
            ("back_cos_x", angle[:half].cos() * back),
            ("back_sin_x", angle[:half].sin() * back),
        ):
            self.register_buffer(name, matrix.float().contiguous())

    def forward(self, search: Tensor, template: Tensor, alpha: Tensor) -> Tensor:
        """Respond to crops.

        Args:
            search: (S, grid, grid, C).
            template: (inner * inner, C) float32, from `DcfUpdate`.
            alpha: (grid, H) float32, likewise.

        Returns:
            (S, grid, grid) float32: element (y, x) speaks for a target y cells lower and x cells
            further right than the middle; both wrap around, so that grid - 1 is one cell back.
        """
        correlation = self._correlate(search, template)
        by_cos, by_sin = correlation @ self.cos_x, correlation @ self.sin_x
        # x̂ = real - i·imaginary, with angles counted upwards.
        real = (self.cos_y @ by_cos - self.sin_y @ by_sin) * alpha
        imaginary = (self.sin_y @ by_cos + self.cos_y @ by_sin) * alpha
        even = self.cos_y @ real + self.sin_y @ imaginary
        odd = self.cos_y @ imaginary - self.sin_y @ real
        return even @ self.back_cos_x + odd @ self.back_sin_x

    def _correlate(self, search: Tensor, template: Tensor) -> Tensor:
        """Circular correlation summed over channels, (S, grid, grid), no shift at the origin."""
        grid, start = self.grid, template_start(self.grid, self.inner)
        scales = search.shape[0]
        cells = self.inner**2 + 1
        # The response at (y, x) begins at the search cell (start + y, start + x): the grid is
        # laid out from there and continued around by the width of the template.
        planes = self.products(search, template).reshape(scales, cells, grid, grid)
        end = start + self.inner - 1
        planes = torch.cat([planes[:, :, :, start:], planes[:, :, :, :end]], dim=3)
        planes = torch.cat([planes[:, :, start:], planes[:, :, :end]], dim=2)
        side = grid + self.inner - 1
        return shifted_sum(planes.reshape(scales, cells, side * side), self.inner, side)


def _angles(size: int) -> Tensor:
    """(size, size) float64: 2π k n / size, whole turns taken off so that none is lost to them."""
    line = torch.arange(size)
    return torch.outer(line, line).remainder(size).double() * (2 * math.pi / size)
