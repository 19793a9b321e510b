"""Who appears in the procedural scene, dressed how, and which way each one goes.

The first five roles make the demo: two walkers who cross, one who comes nearer, one who leaves and
comes back, and a runner in front of them all.  Further objects get random roles from the seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from .background import EYE_HEIGHT, HORIZON
from .figure import Gait, Placement
from .parts import Clothes

_WALK = Gait(stride_rad=0.47, bend_rad=0.90, lean_rad=0.04, waves=False)
_WAVE = Gait(stride_rad=0.42, bend_rad=0.80, lean_rad=0.02, waves=True)
_RUN = Gait(stride_rad=0.75, bend_rad=1.55, lean_rad=0.17, waves=False)
_TURN_FRAMES = 9


@dataclass(frozen=True, slots=True)
class Role:
    """A path over the square, there and back for ever.

    Attributes:
        start: x at time 0, in image widths.
        speed: Image widths per second; negative walks left first.
        low: Leftmost x, where the figure turns round; below 0 it leaves the image there.
        high: Rightmost x; above 1 it leaves the image there.
        near: Body height at time 0, in image heights.
        far: Body height half a `period_s` later.
        period_s: Time from one body height back to the same.
        gait: How the figure moves.
    """

    start: float
    speed: float
    low: float
    high: float
    near: float
    far: float
    period_s: float
    gait: Gait


ROLES = (
    Role(0.16, 0.140, -0.20, 1.20, 0.38, 0.41, 9.0, _WALK),
    Role(0.85, -0.160, -0.25, 1.25, 0.50, 0.44, 8.0, _WALK),
    Role(0.43, 0.030, 0.22, 0.80, 0.27, 0.53, 12.0, _WAVE),
    Role(0.65, 0.175, -0.25, 1.16, 0.32, 0.34, 10.0, _WALK),
    Role(-0.72, 0.480, -0.75, 1.40, 0.56, 0.54, 11.0, _RUN),
)

_SHIRTS = (
    ("checks", (44, 44, 206), (236, 240, 244)),
    ("stripes", (150, 92, 28), (222, 232, 238)),
    ("blobs", (52, 196, 238), (44, 96, 214)),
    ("dots", (96, 52, 128), (214, 196, 240)),
    ("zigzag", (68, 132, 42), (140, 222, 206)),
    ("bars", (60, 60, 64), (88, 200, 250)),
    ("checks", (172, 138, 30), (226, 216, 120)),
    ("stripes", (120, 40, 176), (60, 180, 250)),
)

_TROUSERS = (
    ("plain", (118, 66, 34), (96, 50, 24)),
    ("plain", (56, 52, 50), (74, 70, 66)),
    ("bars", (108, 128, 142), (92, 110, 124)),
    ("plain", (48, 66, 92), (60, 80, 108)),
    ("stripes", (84, 30, 34), (70, 22, 26)),
)

_SKINS = ((150, 178, 224), (96, 128, 178), (128, 164, 212), (66, 92, 136), (168, 196, 236))
_HAIRS = ((34, 44, 62), (28, 26, 26), (60, 120, 196), (58, 74, 110), (170, 176, 182))
_SHOES = ((46, 46, 50), (40, 40, 170), (140, 90, 40), (60, 110, 60))


def clothes_of(number: int, seed: int) -> Clothes:
    """What object `number` (from 0) wears; the first eight shirts of a seed all differ."""
    shared = np.random.default_rng([seed, 104])
    order = shared.permutation(len(_SHIRTS)) if seed else np.arange(len(_SHIRTS))
    rng = np.random.default_rng([seed, 105, number])
    pattern, first, second = _SHIRTS[int(order[number % len(_SHIRTS)])]
    if number >= len(_SHIRTS):
        first, second = (_shuffled(c, number // len(_SHIRTS)) for c in (second, first))
    return Clothes(
        shirt=(pattern, first, second),
        trousers=_TROUSERS[(number + seed) % len(_TROUSERS)],
        skin=_SKINS[(number + seed) % len(_SKINS)],
        hair=_HAIRS[(2 * number + seed) % len(_HAIRS)],
        shoes=_SHOES[(number + seed) % len(_SHOES)],
        short_sleeves=number % 2 == 0,
        shorts=number % 5 == 4,
        hat=number % 3 == 1,
        girth=float(rng.uniform(0.92, 1.12)),
    )


def _shuffled(color: tuple[int, int, int], turns: int) -> tuple[int, int, int]:
    turned = color[turns % 3 :] + color[: turns % 3]
    return turned[0], turned[1], turned[2]


def role_of(number: int, seed: int) -> Role:
    """The path of object `number`; the seed varies the first five a little and makes the rest."""
    rng = np.random.default_rng([seed, 106, number])
    if number < len(ROLES):
        role = ROLES[number]
        if not seed:
            return role
        return replace(
            role,
            start=role.start + float(rng.uniform(-0.015, 0.015)),
            speed=role.speed * float(rng.uniform(0.95, 1.05)),
            near=role.near * float(rng.uniform(0.97, 1.03)),
        )
    near = float(rng.uniform(0.20, 0.50))
    return Role(
        start=float(rng.uniform(-0.3, 1.3)),
        speed=float(rng.choice([-1, 1]) * rng.uniform(0.35, 0.50) * near),
        low=-float(rng.uniform(0.2, 0.4)),
        high=1 + float(rng.uniform(0.2, 0.4)),
        near=near,
        far=near * float(rng.uniform(0.7, 1.4)),
        period_s=float(rng.uniform(7, 14)),
        gait=_WALK if number % 3 else _WAVE,
    )


def placements(
    role: Role, frames: int, fps: float, height: int, width: int
) -> tuple[Placement, ...]:
    """Where the figure of a role stands in every frame, before the camera's sway is taken off."""
    time_s = np.arange(frames) / fps
    span = role.high - role.low
    way = (role.start - role.low) / span + (role.speed / span) * time_s
    way = 1 - np.abs(1 - way % 2.0)
    x = (role.low + span * way) * width
    swing = 0.5 - 0.5 * np.cos(2 * math.pi * time_s / role.period_s)
    scale = (role.near + (role.far - role.near) * swing) * height
    ground = HORIZON * height + EYE_HEIGHT * scale
    phase = _phase(x, scale, role.gait, width)
    facing = _facing(x, role.speed)
    columns = (x, ground, scale, facing, phase)
    return tuple(Placement(*(float(c[i]) for c in columns)) for i in range(frames))


def _phase(
    x: np.ndarray[tuple[int], np.dtype[np.float64]],
    scale: np.ndarray[tuple[int], np.dtype[np.float64]],
    gait: Gait,
    focal_px: int,
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Walk phase from the way covered on the ground, so that feet do not slide."""
    sideways = np.diff(x) / scale[1:]
    towards = focal_px * np.diff(1.0 / scale)
    double_step = 4 * 0.46 * math.sin(gait.stride_rad) * (1.35 if gait.stride_rad > 0.6 else 1.0)
    steps = np.hypot(sideways, towards) / double_step
    start = 2 * math.pi * (0.13 + 0.618 * float(scale[0]))
    return start + 2 * math.pi * np.concatenate([[0.0], np.cumsum(steps)])


def _facing(
    x: np.ndarray[tuple[int], np.dtype[np.float64]], speed: float
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Direction of the look, turning over a few frames; at least 0.15 so no part vanishes."""
    first = 1.0 if speed >= 0 else -1.0
    heading = np.sign(np.concatenate([[first], np.diff(x)]))
    heading[heading == 0] = first
    padded = np.pad(heading, _TURN_FRAMES // 2, mode="edge")
    smooth = np.convolve(padded, np.full(_TURN_FRAMES, 1 / _TURN_FRAMES), mode="valid")
    return np.where(smooth >= 0, 1.0, -1.0) * np.maximum(np.abs(smooth), 0.15)
