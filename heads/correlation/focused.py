"""A target seen in one small crop a frame: where it is, how much it grew, and what to learn of it.

All three come from one pass of the backbone.  The correlation Σ_c x_c ⋆ z_c of the crop x with the
template z is one matrix product and a sum of shifted rows of it, so that only one plane is Fourier
transformed, and a crop may have any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..config import SotConfig
from .geometry import find_peak, gaussian_label

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complexfloating[Any, Any]]


@dataclass(frozen=True, slots=True)
class Sight:
    """What a crop says of the target.

    Attributes:
        value: Height of the response's peak; see `SotHead`.
        right: Cells from the middle of the crop to the target.
        down: The same along y.
    """

    value: float
    right: float
    down: float


class FocusedTarget:
    """The template of one target, and for `dcf` its filter.

    The template is the cells about the middle of the crop that the target covers, as many on one
    side as on the other.

    Args:
        grid: G, cells of a crop's side.
        config: Parameters.
    """

    def __init__(self, grid: int, config: SotConfig) -> None:
        # An odd number where one cell lies in the middle, and an even one where two do.
        fewest = 2 - grid % 2
        covered = grid / (1 + config.margin)
        self.grid = grid
        self.inner = fewest + 2 * max(0, round((covered - fewest) / 2))
        self._start = (grid - self.inner) // 2
        self._filters = config.head == "dcf"
        self._rate = config.learning_rate
        self._regularisation = config.regularisation
        # Half a sine, the root of Hann's window: the crop is narrow, and of a target that moved as
        # far as its margin Hann's would leave nothing.
        line = np.sqrt(np.hanning(grid))
        self._window = np.outer(line, line).astype(np.float32)
        line = np.arange(self.inner)
        self._cells = np.stack(np.meshgrid(line, line, indexing="ij"), axis=2).reshape(-1, 2)
        self._label = gaussian_label(grid, covered * config.sigma)
        self._template: Float32 = np.zeros((0, 0), np.float32)
        self._plain = False
        self._alpha: Complex = np.zeros((grid, grid // 2 + 1), np.complex128)

    def start(self, crop: Float32) -> None:
        """Learn from the first frame: (G, G, C) features with the target in the middle."""
        self._template = self._cut(crop, 0, 0)
        self._alpha = self._taught(self._template, 0.0, 0.0)
        self._plain = False
        own = self.look(crop)
        self._plain = max(abs(own.right), abs(own.down)) > 1

    def look(self, crop: Float32) -> Sight:
        """Where the target is in (G, G, C) features.

        A target that its own first crop does not show in the middle has no structure: of that one
        nothing is ever seen, the value is 0.
        """
        if self._plain:
            return Sight(0.0, 0.0, 0.0)
        plane = self._correlation(crop)
        if self._filters:
            response = np.fft.irfft2(np.fft.rfft2(plane) * self._alpha, plane.shape)
            shifted = np.fft.fftshift(response)
            return Sight(*find_peak(shifted.astype(np.float32), self.grid // 2))
        # Places at which the template lies wholly on the crop.
        reached = np.arange(self.grid - self.inner + 1) - self._start
        response = plane[np.ix_(reached, reached)] / self.inner**2
        return Sight(*find_peak(response.astype(np.float32), self._start))

    def growth(self, crop: Float32, sight: Sight) -> float:
        """The target's size over that which the crop was cut for; one step towards it.

        One step of Gauss and Newton on the features: template cell p is seen at `sight` + (1 + g) p
        + a shift, and the g is sought that explains best how features there differ from it.
        """
        size = self.inner
        # One more cell on each side, for the slopes.
        left, top = self._start - 1 + sight.right, self._start - 1 + sight.down
        if min(left, top) < 0 or int(max(left, top)) + size + 3 > self.grid:
            return 1.0
        seen = _unit(_shown(crop, left, top, size + 2))
        along_x = (seen[1:-1, 2:] - seen[1:-1, :-2]) / 2
        along_y = (seen[2:, 1:-1] - seen[:-2, 1:-1]) / 2
        template = _unit(self._template.reshape(size, size, -1))
        # The template knows no cells beyond its rim.
        inside_x, inside_y = along_x[:, 1:-1], along_y[1:-1]
        inside_x += ((template[:, 2:] - template[:, :-2]) / 2 - inside_x) / 2
        inside_y += ((template[2:] - template[:-2]) / 2 - inside_y) / 2
        away = (np.arange(size) - (size - 1) / 2).astype(np.float32)
        outward = along_x * away[None, :, None] + along_y * away[:, None, None]
        # The middle of a target is more surely its own than its rim.
        line = np.hanning(size + 2)[1:-1]
        weight = np.sqrt(np.outer(line, line))[:, :, None].astype(np.float32)
        slopes = np.stack([(s * weight).ravel() for s in (along_x, along_y, outward)], axis=1)
        missing = ((template - seen[1:-1, 1:-1]) * weight).ravel()
        # Least squares; where nothing slopes, nothing is known.
        return 1.0 + float(np.linalg.lstsq(slopes, missing, rcond=1e-3)[0][2])

    def learn(self, crop: Float32, sight: Sight) -> None:
        """Move the averages towards the cells of (G, G, C) features in which the target was seen.

        Cells are whole, the target is between them: the filter is taught a peak that lies as far
        off.  Nothing is learned of a target at the border of the crop.
        """
        if not self._filters or not self._rate:
            return
        right, down = round(sight.right), round(sight.down)
        # As much room on either side of the middle.
        if max(abs(right), abs(down)) > self._start:
            return
        fresh = self._cut(crop, right, down)
        alpha = self._taught(fresh, sight.right - right, sight.down - down)
        self._template += np.float32(self._rate) * (fresh - self._template)
        self._alpha += self._rate * (alpha - self._alpha)

    def _cut(self, crop: Float32, right: int, down: int) -> Float32:
        """(inner², C) copy of the template's cells, moved."""
        top, left = self._start + down, self._start + right
        part = crop[top : top + self.inner, left : left + self.inner]
        return np.array(part, np.float32).reshape(self.inner**2, -1)

    def _correlation(self, crop: Float32) -> Float64:
        """Σ_c of circular correlations with the template: (G, G), no motion at the origin."""
        grid = self.grid
        rows = self._template.reshape(self.inner, self.inner, -1)
        # (inner, G, inner, G): a template cell's row, y of the crop, its column, x of the crop.
        products = _row_by_row(rows, crop) * self._window[:, None]
        upright = np.zeros(products.shape[1:])
        for row, part in enumerate(products, self._start):
            upright += np.roll(part, -row, 0)
        summed = np.zeros((grid, grid))
        for column, part in enumerate(upright.transpose(1, 0, 2), self._start):
            summed += np.roll(part, -column, 1)
        return summed

    def _taught(self, template: Float32, right: float, down: float) -> Complex:
        """α̂ = ŷ / (Σ_c |ẑ_c|² + λ), with the peak of y moved by a part of a cell.

        Σ_c |ẑ_c|² is the transform of the template's correlation with itself, which depends only
        on how far apart two of its cells are.
        """
        grid = self.grid
        apart = (self._cells[None] - self._cells[:, None]) % grid
        place = apart[..., 0] * grid + apart[..., 1]
        rows = template.reshape(self.inner, self.inner, -1)
        alike = _row_by_row(rows, rows).transpose(0, 2, 1, 3).ravel()
        plane = np.bincount(place.ravel(), alike, grid * grid).reshape(grid, grid)
        power = np.fft.rfft2(plane).real
        turn_y = np.fft.fftfreq(grid)[:, None] * down
        turn_x = np.fft.rfftfreq(grid)[None] * right
        moved = self._label * np.exp(-2j * np.pi * (turn_y + turn_x))
        return np.asarray(moved / (power + self._regularisation), np.complex128)


def _row_by_row(a: Float32, b: Float32) -> Float32:
    """Products (h, H, w, W) of all cells of (h, w, C) with all of (H, W, C).

    NumPy's BLAS gives a large product to threads of its own, which then wait for the next one so
    busily that it costs more processor time than the backbone.  Products of rows stay here.
    """
    return np.asarray(a[:, None] @ b.transpose(0, 2, 1), np.float32)


def _shown(crop: Float32, left: float, top: float, size: int) -> Float32:
    """(size, size, C) features from a place between the cells on, bilinear.

    The place is within the crop, and so are the cells after the last ones.
    """
    column, row = int(left), int(top)
    right, down = np.float32(left - column), np.float32(top - row)
    part = crop[row : row + size + 1, column : column + size + 1]
    along = part[:, :-1] + right * (part[:, 1:] - part[:, :-1])
    return np.asarray(along[:-1] + down * (along[1:] - along[:-1]), np.float32)


def _unit(features: Float32) -> Float32:
    """Points (…, C) of length 1; those of none stay zero."""
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return np.asarray(features / np.maximum(length, np.float32(1e-6)), np.float32)
