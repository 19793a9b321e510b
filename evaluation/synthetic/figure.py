"""A walking figure of the procedural scene: its joints, and its image from jointed parts.

Figure coordinates: body heights, x forward, y down, the ground at y = 0.  Angles are in radians
from hanging straight down, positive swings forward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ...records import FloatArray, UInt8Array
from ...runtime.formats.keypoints import POSETRACK_JOINTS
from .layers import blend_over
from .parts import LEVELS, TEXELS, Clothes, Sprite, head, limb, shoe, torso

_TORSO, _UPPER_ARM, _FOREARM, _THIGH, _SHANK, _SOLE = 0.31, 0.155, 0.140, 0.235, 0.225, 0.038

# The figure is turned a little towards the camera: its far shoulder shows ahead of the near one.
_SHOULDER_X = {"near": -0.040, "far": 0.036}
_HIP_X = {"near": -0.016, "far": 0.016}
_DIM = 0.74
Point = npt.NDArray[np.float64]
Affine = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gait:
    """How a figure moves.

    Attributes:
        stride_rad: Largest angle of the thigh from straight down.
        bend_rad: How far the knee of the swinging leg folds.
        lean_rad: Forward lean of the trunk.
        waves: Whether the far arm is raised and waves.
    """

    stride_rad: float
    bend_rad: float
    lean_rad: float
    waves: bool


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a figure stands in one frame.

    Attributes:
        x: Image x of the body's axis in pixels.
        y: Image y of the ground under it in pixels.
        scale: Pixels for one body height.
        facing: 1 looking right, -1 looking left, between the two while turning; never 0.
        phase: Phase of the walk in radians; one double step is 2 pi.
    """

    x: float
    y: float
    scale: float
    facing: float
    phase: float


@dataclass(frozen=True, slots=True)
class _Bone:
    """A part's joint position and angle in figure coordinates."""

    part: str
    at: Point
    angle: float


def _along(at: Point, angle: float, length: float) -> Point:
    return _from(at, angle, 0.0, length)


def _from(at: Point, angle: float, x: float, y: float) -> Point:
    """The point (x, y) of a part that hangs at `at`, turned by `angle`."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([at[0] + x * c + y * s, at[1] - x * s + y * c])


def _leg(side: str, hip: Point, phase: float, gait: Gait) -> tuple[list[_Bone], dict[str, Point]]:
    thigh = gait.stride_rad * math.sin(phase) + 0.04
    fold = 0.12 + gait.bend_rad * max(0.0, math.cos(phase)) ** 1.4
    shank = thigh - fold
    knee = _along(hip, thigh, _THIGH)
    ankle = _along(knee, shank, _SHANK)
    toe = -0.55 * (fold - 0.12) + 0.30 * max(0.0, math.sin(phase)) ** 3
    bones = [
        _Bone(f"{side}_shank", knee, shank),
        _Bone(f"{side}_thigh", hip, thigh),
        _Bone(f"{side}_shoe", ankle, toe),
    ]
    return bones, {f"{side}_hip": hip, f"{side}_knee": knee, f"{side}_ankle": ankle}


def _arm(
    side: str, shoulder: Point, phase: float, gait: Gait
) -> tuple[list[_Bone], dict[str, Point]]:
    upper = -0.85 * gait.stride_rad * math.sin(phase) + 0.02
    lower = upper + 0.30 + 0.9 * gait.lean_rad + 0.45 * gait.bend_rad * (0.6 - math.sin(phase)) / 2
    if gait.waves and side == "far":
        upper = 1.95 + 0.12 * math.sin(2 * phase)
        lower = upper + 0.75 + 0.5 * math.sin(2 * phase)
    elbow = _along(shoulder, upper, _UPPER_ARM)
    wrist = _along(elbow, lower, _FOREARM)
    bones = [_Bone(f"{side}_forearm", elbow, lower), _Bone(f"{side}_upper_arm", shoulder, upper)]
    return bones, {f"{side}_shoulder": shoulder, f"{side}_elbow": elbow, f"{side}_wrist": wrist}


def skeleton(phase: float, gait: Gait) -> tuple[list[_Bone], dict[str, Point]]:
    """The parts from back to front, and the joints, of a figure looking along +x.

    The lower of the two soles is put on the ground, which gives the body its bob.
    """
    hips, lean = np.zeros(2), -gait.lean_rad
    neck = hips - _TORSO * np.array([math.sin(lean), math.cos(lean)])
    nod = -0.5 * gait.lean_rad + 0.03 * math.sin(2 * phase)
    bones: dict[str, list[_Bone]] = {}
    joints = {"head_bottom": neck, "head_top": _from(neck, nod, 0.004, -0.196)}
    joints["nose"] = _from(neck, nod, 0.088, -0.094)
    joints["near_ear"] = joints["far_ear"] = _from(neck, nod, -0.004, -0.098)
    for side, offset in (("near", 0.0), ("far", math.pi)):
        hip = hips + np.array([_HIP_X[side], -0.005])
        shoulder = _from(neck, lean, _SHOULDER_X[side], 0.045)
        for name, make in (("leg", _leg), ("arm", _arm)):
            start = hip if name == "leg" else shoulder
            bones[f"{side}_{name}"], found = make(side, start, phase + offset, gait)
            joints.update(found)
    trunk = [_Bone("torso", neck, lean), _Bone("head", neck, nod)]
    ordered = [*bones["far_arm"], *bones["far_leg"], *bones["near_leg"], *trunk, *bones["near_arm"]]
    lowest = max(joints["near_ankle"][1], joints["far_ankle"][1]) + _SOLE
    drop = np.array([0.0, -lowest])
    bones_down = [_Bone(bone.part, bone.at + drop, bone.angle) for bone in ordered]
    return bones_down, {name: point + drop for name, point in joints.items()}


def _sprites(clothes: Clothes, seed: int) -> dict[str, Sprite]:
    rng = np.random.default_rng([seed, 103])
    g, skin = clothes.girth, ("plain", clothes.skin, clothes.skin)
    sleeve = skin if clothes.short_sleeves else clothes.shirt
    hose = skin if clothes.shorts else clothes.trousers
    parts = {"torso": torso(_TORSO, clothes, rng), "head": head(clothes)}
    for side, light in (("near", 1.0), ("far", _DIM)):
        parts[f"{side}_upper_arm"] = limb(
            _UPPER_ARM, 0.038 * g, 0.030 * g, clothes.shirt, light, rng
        )
        parts[f"{side}_forearm"] = limb(
            _FOREARM, 0.029 * g, 0.021 * g, sleeve, light, rng, hand=clothes.skin
        )
        parts[f"{side}_thigh"] = limb(_THIGH, 0.054 * g, 0.040 * g, clothes.trousers, light, rng)
        parts[f"{side}_shank"] = limb(_SHANK, 0.039 * g, 0.026 * g, hose, light, rng)
        parts[f"{side}_shoe"] = shoe(clothes.shoes, light)
    return parts


class Figure:
    """One character: clothes, gait, and how to draw it at a placement."""

    def __init__(self, clothes: Clothes, gait: Gait, seed: int) -> None:
        self._gait = gait
        self._parts = _sprites(clothes, seed)

    def joints(self, at: Placement) -> FloatArray:
        """Keypoints in PoseTrack18 order: (17, 3) float32 x, y in image pixels and confidence.

        Confidence is 1, and 0 for the ear on the far side of the head; whether other objects or
        the image's border hide a joint is not known here.
        """
        points = skeleton(at.phase, self._gait)[1]
        near, far = ("right", "left") if at.facing > 0 else ("left", "right")
        named = {
            name.replace("near_", f"{near}_").replace("far_", f"{far}_"): point
            for name, point in points.items()
        }
        xy = np.array([named[name] for name in POSETRACK_JOINTS])
        keypoints = np.ones((len(POSETRACK_JOINTS), 3), np.float32)
        keypoints[:, 0] = at.x + at.facing * at.scale * xy[:, 0]
        keypoints[:, 1] = at.y + at.scale * xy[:, 1]
        keypoints[POSETRACK_JOINTS.index(f"{far}_ear"), 2] = 0
        return keypoints

    def draw(self, at: Placement) -> tuple[UInt8Array, int, int]:
        """The figure alone, whole, wherever the image's border is.

        Returns:
            A premultiplied BGRAn image (h, w, 4) uint8, and the image column and row of its
            top left pixel (may be negative).
        """
        ratio = TEXELS / at.scale
        level = min(LEVELS - 1, max(0, math.floor(math.log2(max(ratio, 1e-6)) + 0.25)))
        bones = skeleton(at.phase, self._gait)[0]
        maps = [self._to_image(bone, at, level) for bone in bones]
        sprites = [self._parts[bone.part].levels[level] for bone in bones]
        boxes = [_bounds(m, sprite) for m, sprite in zip(maps, sprites, strict=True)]
        left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
        right, bottom = max(b[2] for b in boxes), max(b[3] for b in boxes)
        canvas = np.zeros((bottom - top, right - left, 4), np.uint8)
        for sprite, to_picture, (x0, y0, x1, y1) in zip(sprites, maps, boxes, strict=True):
            to_box = to_picture - np.array([[0, 0, x0], [0, 0, y0]])
            layer = cv2.warpAffine(sprite, to_box, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
            region = canvas[y0 - top : y1 - top, x0 - left : x1 - left]
            blend_over(region, np.asarray(layer, np.uint8))
        return canvas, left, top

    def _to_image(self, bone: _Bone, at: Placement, level: int) -> Affine:
        """2x3 map from a sprite's pixel indices to the image's, centres at whole numbers."""
        texels = TEXELS / 2**level
        c, s = math.cos(bone.angle), math.sin(bone.angle)
        turn = np.array([[c * at.facing, s * at.facing], [-s, c]]) * at.scale
        joint = np.array([at.x + at.facing * at.scale * bone.at[0], at.y + at.scale * bone.at[1]])
        first = np.array([0.5, 0.5]) / texels - np.array(self._parts[bone.part].origin)
        shift = turn @ first + joint - 0.5
        return np.concatenate([turn / texels, shift[:, None]], axis=1)


def _bounds(to_picture: Affine, sprite: UInt8Array) -> tuple[int, int, int, int]:
    height, width = sprite.shape[:2]
    spans = []
    for along_x, along_y, shift in to_picture.tolist():
        # A row of the map is linear, so its least and greatest values stand at the corners.
        start = shift - along_x - along_y
        reach_x, reach_y = along_x * (width + 1), along_y * (height + 1)
        low = start + min(0.0, reach_x) + min(0.0, reach_y)
        high = start + max(0.0, reach_x) + max(0.0, reach_y)
        spans.append((math.floor(low), math.ceil(high) + 1))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom
