"""The backdrop of the procedural scene: sky, hills, houses, trees and a paved square.

Drawn once, a little larger than the image, so that every frame is one shifted crop of it: the
camera pans and nods slowly, and because figures use the same shift their feet stay on the ground.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from ...records import UInt8Array

HORIZON = 0.36
"""Height of the horizon, as a fraction of the image's height from its top."""

EYE_HEIGHT = 1.12
"""Height of the camera above the ground, in body heights; sets where feet of a size stand."""

Image32 = npt.NDArray[np.float32]


def value_noise(
    rng: np.random.Generator, height: int, width: int, cell_px: float, octaves: int = 4
) -> Image32:
    """Smooth random texture: random grids, enlarged and summed, each half as coarse and strong.

    Args:
        rng: Where the random grids come from.
        height: Rows.
        width: Columns.
        cell_px: Size of the coarsest cell in pixels.
        octaves: How many grids are summed.

    Returns:
        (height, width) float32 with mean near 0, roughly within [-1, 1].
    """
    total = np.zeros((height, width), np.float32)
    strength = 1.0
    for _ in range(octaves):
        rows = max(2, math.ceil(height / cell_px) + 2)
        columns = max(2, math.ceil(width / cell_px) + 2)
        grid = rng.uniform(-1.0, 1.0, (rows, columns)).astype(np.float32)
        step = np.array([[1.0 / cell_px, 0.0, 0.5], [0.0, 1.0 / cell_px, 0.5]], np.float64)
        total += strength * cv2.warpAffine(
            grid, step, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        )
        strength *= 0.5
        cell_px = max(2.0, cell_px / 2)
    return np.asarray(total / 1.2, np.float32)


def _mix(base: Image32, color_bgr: tuple[int, int, int], amount: Image32) -> Image32:
    weight = np.clip(amount, 0.0, 1.0)[..., None]
    return (base * (1 - weight) + np.array(color_bgr, np.float32) * weight).astype(np.float32)


def _sky(rng: np.random.Generator, height: int, width: int) -> Image32:
    down = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None, None]
    top, low = np.array([214, 158, 96], np.float32), np.array([232, 220, 196], np.float32)
    sky = np.broadcast_to(top * (1 - down) + low * down, (height, width, 3)).astype(np.float32)
    clouds = value_noise(rng, height, width, height * 0.45, 5) - 0.12
    return _mix(sky, (250, 248, 246), clouds * 1.5)


def _hills(rng: np.random.Generator, image: Image32, horizon: int) -> Image32:
    height, width = image.shape[:2]
    rows = np.arange(height, dtype=np.float32)[:, None]
    layers = (((176, 168, 128), 0.26), ((132, 150, 98), 0.13))
    for color, lift in layers:
        ridge = value_noise(rng, 1, width, width / 5, 4)[0] * 0.35 + 0.75
        inside = np.clip(rows - (horizon - ridge * lift * height) + 0.5, 0, 1)
        inside[horizon:] = 0
        shade = 1.0 + 0.10 * value_noise(rng, height, width, 18, 3)[..., None]
        image = _mix(image, color, inside) * np.where(inside[..., None] > 0.5, shade, 1.0)
    return image.astype(np.float32)


def _house(
    rng: np.random.Generator, canvas: UInt8Array, left: int, right: int, top: int, base: int
) -> None:
    wall = tuple(int(v) for v in rng.choice(_WALLS))
    cv2.rectangle(canvas, (left, top), (right, base), wall, -1)
    roof = tuple(int(v * 0.62) for v in wall)
    middle = (left + right) // 2
    peak = top - max(3, (right - left) // 4)
    outline = np.array([[left - 3, top], [middle, peak], [right + 3, top]], np.int32)
    cv2.fillPoly(canvas, [outline], roof, cv2.LINE_AA)
    step = max(7, (right - left) // 4)
    for x in range(left + step // 2, right - step // 2, step):
        for y in range(top + step // 2, base - step, step + 2):
            glass = (120, 96, 70) if rng.random() < 0.7 else (150, 214, 240)
            cv2.rectangle(canvas, (x, y), (x + step // 2, y + step // 2 + 2), glass, -1)


_WALLS = (
    (150, 178, 206),
    (128, 148, 196),
    (172, 196, 214),
    (170, 164, 150),
    (120, 170, 190),
    (196, 190, 172),
)


def _town(rng: np.random.Generator, image: Image32, horizon: int) -> Image32:
    height, width = image.shape[:2]
    canvas = np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8))
    base = horizon + max(2, height // 60)
    x = -int(rng.integers(0, 20))
    while x < width:
        wide = int(rng.uniform(0.11, 0.19) * height)
        if rng.random() < 0.62:
            top = horizon - int(rng.uniform(0.09, 0.20) * height)
            _house(rng, canvas, x, x + wide, top, base)
        else:
            _trees(rng, canvas, x, x + wide, base, height)
        x += wide + int(rng.uniform(0.01, 0.05) * height)
    return canvas.astype(np.float32)


def _trees(
    rng: np.random.Generator, canvas: UInt8Array, left: int, right: int, base: int, height: int
) -> None:
    for _ in range(3):
        x = int(rng.uniform(left, right))
        tall = rng.uniform(0.10, 0.17) * height
        cv2.line(canvas, (x, base), (x, int(base - tall * 0.6)), (60, 80, 104), 3, cv2.LINE_AA)
        for _ in range(9):
            around = (x + int(rng.normal(0, tall * 0.16)), int(base - tall * rng.uniform(0.5, 1.0)))
            green = rng.uniform(0.7, 1.15)
            leaf = (int(62 * green), int(124 * green), int(84 * green))
            cv2.circle(canvas, around, max(2, int(tall * 0.17)), leaf, -1, cv2.LINE_AA)


def _square(rng: np.random.Generator, image: Image32, horizon: int) -> Image32:
    """Grass edge and a tiled square in perspective: tiles of about two thirds of a body height."""
    height, width = image.shape[:2]
    below = height - horizon
    rows = np.arange(below, dtype=np.float32)[:, None] + 1.5
    depth = np.float32(EYE_HEIGHT * height * 0.5) / rows
    across = (np.arange(width, dtype=np.float32)[None, :] - width / 2) / rows * EYE_HEIGHT / 0.66
    along = np.broadcast_to(depth / 0.5, across.shape)
    tile = (np.floor(across) + np.floor(along)) % 2
    fade = np.clip(rows / (below * 0.35), 0, 1)
    edge = np.minimum(across - np.floor(across), along - np.floor(along)) * rows / EYE_HEIGHT
    stone = 176 + (tile - 0.5) * 26 * fade - 26 * fade * np.exp(-((edge / 1.6) ** 2))
    stone = stone + 12 * value_noise(rng, below, width, 40, 5)
    stone = stone + 7 * value_noise(rng, below, width, 5, 2)
    tint = np.array([0.90, 0.97, 1.03], np.float32)
    ground = (stone[..., None] * tint).astype(np.float32)
    border = below * (0.10 + 0.012 * value_noise(rng, 1, width, 30, 3)[0])
    grass = np.clip(border - rows + 0.5, 0, 1).astype(np.float32)
    blades = 1 + 0.25 * value_noise(rng, below, width, 7, 3)[..., None]
    ground = _mix(ground, (76, 138, 104), grass) * np.where(grass[..., None] > 0.5, blades, 1)
    image[horizon:] = ground
    return image


class Background:
    """A panorama and the camera's slow sway over it.

    Args:
        height: Image height in pixels.
        width: Image width in pixels.
        seed: Seed of the panorama.
        sway_px: Largest horizontal shift of the camera in pixels.
        noise_std: Standard deviation of the sensor noise in grey levels.
    """

    def __init__(
        self, height: int, width: int, seed: int, sway_px: float, noise_std: float
    ) -> None:
        self._size_wh = (width, height)
        self._sway_px = sway_px
        self._margin = math.ceil(sway_px) + 3
        self._seed = seed
        rng = np.random.default_rng([seed, 101])
        tall, wide = height + 2 * self._margin, width + 2 * self._margin
        horizon = self._margin + round(HORIZON * height)
        image = _hills(rng, _sky(rng, tall, wide), horizon)
        image = _square(rng, _town(rng, image, horizon), horizon)
        drawn = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        self._panorama = np.ascontiguousarray(drawn)
        # One field larger than the image, entered at a random place for each frame: drawing
        # fresh Gaussian noise would cost more than the rest of the frame.
        noise = rng.normal(0.0, noise_std, (height + 61, width + 67, 3))
        self._noise = np.clip(np.rint(noise), -127, 127).astype(np.int8)

    def shift(self, time_s: float) -> tuple[float, float]:
        """How far the camera has moved right and down at `time_s`, in pixels."""
        x = self._sway_px * math.sin(2 * math.pi * time_s / 11.0)
        y = 0.12 * self._sway_px * math.sin(2 * math.pi * time_s / 7.0 + 1.0)
        return x, y

    def image(self, time_s: float) -> UInt8Array:
        """The backdrop at `time_s`: (H, W, 3) uint8 BGR, a new array."""
        x, y = self.shift(time_s)
        crop = np.array([[1, 0, x + self._margin], [0, 1, y + self._margin]], np.float64)
        shifted = cv2.warpAffine(
            self._panorama, crop, self._size_wh, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        return np.asarray(shifted, np.uint8)

    def add_noise(self, image: UInt8Array, index: int) -> UInt8Array:
        """The image with the sensor noise of frame `index` added; a new array."""
        width, height = self._size_wh
        rng = np.random.default_rng([self._seed, 102, index])
        top, left = int(rng.integers(0, 62)), int(rng.integers(0, 68))
        field = self._noise[top : top + height, left : left + width]
        return np.asarray(cv2.add(image, field, dtype=cv2.CV_8U), np.uint8)
