"""Body parts of the scene's figures: small images with alpha, drawn once in object coordinates.

A part lives in its own frame, in body heights: the joint it hangs from is the origin and its bone
runs along +y.  Its texture is painted in that frame, so it turns, swings and grows with the part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...records import UInt8Array
from .background import value_noise

Color = tuple[int, int, int]
Image32 = npt.NDArray[np.float32]
Grid = npt.NDArray[Any]

TEXELS = 256
"""Texels for one body height at the finest level."""

LEVELS = 4
"""Levels of detail of a sprite, each half as fine as the one before."""

_OVERSAMPLE = 2
_RIM = 0.05


@dataclass(frozen=True, slots=True)
class Clothes:
    """What distinguishes one figure from another.

    Attributes:
        shirt: Pattern and its two BGR colours.
        trousers: Pattern and its two BGR colours.
        skin: BGR colour.
        hair: BGR colour.
        shoes: BGR colour.
        short_sleeves: Whether the forearms are bare.
        shorts: Whether the lower legs are bare.
        hat: Whether a hat in the shirt's second colour covers the hair.
        girth: Thickness of torso and limbs, 1 for the average.
    """

    shirt: tuple[str, Color, Color]
    trousers: tuple[str, Color, Color]
    skin: Color
    hair: Color
    shoes: Color
    short_sleeves: bool
    shorts: bool
    hat: bool
    girth: float


@dataclass(frozen=True, slots=True)
class Sprite:
    """A part at several levels of detail.

    Attributes:
        levels: Premultiplied BGRAn images, uint8; level n has `TEXELS / 2**n` texels a height.
        origin: Position of the part's joint from the image's top left corner, in body heights.
    """

    levels: tuple[UInt8Array, ...]
    origin: tuple[float, float]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in body heights."""
        return self.levels[0].shape[1] / TEXELS, self.levels[0].shape[0] / TEXELS


def _stripes(x: Grid, y: Grid) -> Grid:  # noqa: ARG001 - all patterns take both
    return np.floor(y / 0.028) % 2


def _bars(x: Grid, y: Grid) -> Grid:  # noqa: ARG001
    return np.floor(x / 0.020) % 2


def _checks(x: Grid, y: Grid) -> Grid:
    return (np.floor(x / 0.030) + np.floor(y / 0.030)) % 2


def _dots(x: Grid, y: Grid) -> Grid:
    row = np.floor(y / 0.042)
    u = (x / 0.042 + 0.5 * (row % 2)) % 1.0 - 0.5
    v = (y / 0.042) % 1.0 - 0.5
    return ((u * u + v * v) < 0.085).astype(np.float32)


def _zigzag(x: Grid, y: Grid) -> Grid:
    wave = np.abs((x / 0.05) % 1.0 - 0.5) * 0.05
    return np.asarray(np.floor((y + wave) / 0.026) % 2)


def _blobs(x: Grid, y: Grid) -> Grid:
    wave = np.sin(x * 96 + 1.7 * np.sin(y * 61)) + np.sin(y * 83 + 1.9 * np.sin(x * 57 + 1))
    return np.asarray(wave > 0.15, np.float32)


def _plain(x: Grid, y: Grid) -> Grid:
    return np.asarray(0.5 + 0.25 * np.sin(y * 40 + 7 * x))


PATTERNS: dict[str, Callable[[Grid, Grid], Grid]] = {
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "zigzag": _zigzag,
    "blobs": _blobs,
    "bars": _bars,
    "plain": _plain,
}


def _levels(color: Image32, alpha: Image32) -> tuple[UInt8Array, ...]:
    """Premultiplied BGRA pyramid from an oversampled colour (0-255) and alpha (0-1)."""
    full = np.dstack([color * alpha[..., None], alpha * 255]).astype(np.float32)
    pyramid = []
    for level in range(LEVELS):
        factor = _OVERSAMPLE * 2**level
        size = (full.shape[1] // factor, full.shape[0] // factor)
        reduced = cv2.resize(full, size, interpolation=cv2.INTER_AREA)
        pyramid.append(np.clip(np.rint(reduced), 0, 255).astype(np.uint8))
    return tuple(pyramid)


class _Sheet:
    """An oversampled drawing area of a part, addressed in body heights."""

    def __init__(self, left: float, right: float, top: float, bottom: float) -> None:
        block = 2 ** (LEVELS - 1)
        margin = 0.02
        self.origin = (margin - left, margin - top)
        wide = -(-int((right - left + 2 * margin) * TEXELS) // block) * block * _OVERSAMPLE
        tall = -(-int((bottom - top + 2 * margin) * TEXELS) // block) * block * _OVERSAMPLE
        self._scale = float(TEXELS * _OVERSAMPLE)
        self.alpha = np.zeros((tall, wide), np.float32)
        self.color = np.zeros((tall, wide, 3), np.float32)
        grid = np.arange(max(tall, wide), dtype=np.float32) + np.float32(0.5)
        self.x = np.broadcast_to(grid[:wide] / self._scale - self.origin[0], self.alpha.shape)
        self.y = np.broadcast_to(grid[:tall, None] / self._scale - self.origin[1], self.alpha.shape)

    def stain(self, shape: npt.NDArray[np.bool_], color: Image32 | Color) -> None:
        """Cover a shape with a colour, or with a coloured image of the sheet's size."""
        paint = np.broadcast_to(np.asarray(color, np.float32), self.color.shape)
        self.color[shape] = paint[shape]
        self.alpha[shape] = 1.0

    def ellipse(self, x: float, y: float, rx: float, ry: float) -> npt.NDArray[np.bool_]:
        """Where the ellipse around (x, y) is."""
        return np.asarray(((self.x - x) / rx) ** 2 + ((self.y - y) / ry) ** 2 < 1.0)

    def taper(self, length: float, start: float, end: float) -> npt.NDArray[np.bool_]:
        """A limb: from half-width `start` at the joint to `end` at `length`, with round ends."""
        half = start + (end - start) * np.clip(self.y / length, 0, 1)
        shaft = (np.abs(self.x) < half) & (self.y > 0) & (self.y < length)
        ends = self.ellipse(0, 0, start, start) | self.ellipse(0, length, end, end)
        return np.asarray(shaft | ends)

    def sprite(self, brightness: float) -> Sprite:
        """The finished part: lit from the upper front, with a darker rim."""
        inside = self.alpha.astype(np.uint8)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3) / self._scale
        round_off = np.clip(depth / _RIM, 0, 1)
        light = (0.62 + 0.42 * np.sqrt(round_off)) * brightness
        # Colour runs on past the edge, so that blending with alpha never fetches black.
        return Sprite(_levels(self.color * light[..., None], self.alpha), self.origin)


def _cloth(sheet: _Sheet, wear: tuple[str, Color, Color], rng: np.random.Generator) -> Image32:
    pattern, first, second = wear
    mix = PATTERNS[pattern](sheet.x, sheet.y)[..., None]
    paint = np.array(first, np.float32) * (1 - mix) + np.array(second, np.float32) * mix
    height, width = sheet.alpha.shape
    weave = 1 + 0.10 * value_noise(rng, height, width, 40, 3)[..., None]
    return np.asarray(np.clip(paint * weave, 0, 255), np.float32)


def limb(
    length: float,
    start: float,
    end: float,
    wear: tuple[str, Color, Color],
    brightness: float,
    rng: np.random.Generator,
    hand: Color | None = None,
) -> Sprite:
    """A tapering arm or leg piece, with a hand at its end if `hand` is a colour."""
    widest = max(start, end) + (0.012 if hand else 0.0)
    sheet = _Sheet(-widest, widest, -start, length + end + (0.03 if hand else 0.0))
    if hand:
        sheet.stain(sheet.ellipse(0, length + 0.008, 0.026, 0.030), hand)
    sheet.stain(sheet.taper(length, start, end), _cloth(sheet, wear, rng))
    return sheet.sprite(brightness)


def torso(length: float, clothes: Clothes, rng: np.random.Generator) -> Sprite:
    """The trunk, hanging from the neck: shoulders, waist and the top of the trousers."""
    girth = clothes.girth
    sheet = _Sheet(-0.11 * girth, 0.11 * girth, -0.02, length + 0.06)
    down = np.clip(sheet.y / length, 0, 1)
    half = girth * (0.096 - 0.024 * down + 0.006 * np.sin(down * np.pi * 2))
    shoulders = 1 - np.clip((0.045 - sheet.y) / 0.060, 0, 1) ** 2
    trunk = (np.abs(sheet.x) < half * np.sqrt(np.clip(shoulders, 0, 1))) & (sheet.y < length)
    seat = sheet.ellipse(0, length - 0.005, 0.072 * girth, 0.052) & (sheet.y > length - 0.03)
    sheet.stain(seat, _cloth(sheet, clothes.trousers, rng))
    sheet.stain(trunk & (sheet.y > -0.015), _cloth(sheet, clothes.shirt, rng))
    return sheet.sprite(1.0)


def shoe(color: Color, brightness: float) -> Sprite:
    """A shoe, pointing along +x from the ankle, its sole 0.038 below."""
    sheet = _Sheet(-0.035, 0.095, -0.03, 0.038)
    upper = sheet.ellipse(0.0, 0.005, 0.032, 0.034) | sheet.ellipse(0.030, 0.018, 0.060, 0.024)
    body = upper & (sheet.y < 0.032)
    sole = upper & (sheet.y >= 0.022)
    sheet.stain(body, color)
    sheet.stain(sole, (225, 228, 230))
    return sheet.sprite(brightness)


def head(clothes: Clothes) -> Sprite:
    """A head seen from the side, looking along +x; the origin is the neck and the crown is up."""
    sheet = _Sheet(-0.105, 0.125, -0.225, 0.03)
    skin, hair = clothes.skin, clothes.hair
    dark = (int(skin[0] * 0.72), int(skin[1] * 0.72), int(skin[2] * 0.72))
    sheet.stain((np.abs(sheet.x) < 0.030) & (sheet.y > -0.06) & (sheet.y < 0.022), skin)
    skull = sheet.ellipse(0.008, -0.108, 0.078, 0.092)
    sheet.stain(sheet.ellipse(-0.012, -0.118, 0.084, 0.092) & (sheet.y < -0.055), hair)
    sheet.stain(skull, skin)
    sheet.stain(sheet.ellipse(0.086, -0.094, 0.019, 0.015), skin)
    crown = skull & (sheet.y < -0.150 + 0.30 * np.clip(0.055 - sheet.x, -1, 0.0))
    back = skull & (sheet.x < -0.012 + 0.35 * (-0.10 - sheet.y)) & (sheet.y < -0.075)
    sheet.stain(crown | back, hair)
    sheet.stain(sheet.ellipse(-0.004, -0.098, 0.016, 0.023), dark)
    sheet.stain(sheet.ellipse(0.050, -0.116, 0.010, 0.014), (250, 250, 250))
    sheet.stain(sheet.ellipse(0.054, -0.115, 0.006, 0.009), (40, 30, 26))
    smile = sheet.ellipse(0.052, -0.062, 0.020, 0.010) & (sheet.y > -0.062)
    sheet.stain(smile & skull, (74, 66, 168))
    if clothes.hat:
        band = clothes.shirt[2]
        sheet.stain(sheet.ellipse(-0.002, -0.146, 0.088, 0.068) & (sheet.y < -0.142), band)
        sheet.stain(sheet.ellipse(0.070, -0.146, 0.050, 0.011), band)
    return sheet.sprite(1.0)
