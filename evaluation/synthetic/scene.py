"""A procedural clip with exact truth: textured walkers cross, hide one another and return.

Everything is a function of the configuration and the frame number, so frames may be asked for in
any order, and two scenes of one configuration are equal byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ...errors import SourceError
from ...records import BoolArray, Detections, FloatArray, Frame, IntArray, UInt8Array
from .background import Background
from .cast import clothes_of, placements, role_of
from .detector import DetectorNoise, noisy_detections
from .figure import Figure, Placement
from .layers import Shadow, lay_figure

MAX_OBJECTS = 64


@dataclass(frozen=True, slots=True)
class SceneConfig:
    """What a scene is made from; the defaults are the demo clip.

    Attributes:
        frames: Length of the clip.
        height: Image height in pixels, at least 64.
        width: Image width in pixels, at least 64.
        objects: How many figures take part, 0 to 64; ids are 1 to `objects`.
        seed: Varies backdrop, clothes, paths and noise.
        fps: Frames per second.
        sway: Largest horizontal shift of the camera, in image widths.
        noise_std: Standard deviation of the sensor noise in grey levels.

    Raises:
        SourceError: A value is out of range.
    """

    frames: int = 150
    height: int = 360
    width: int = 640
    objects: int = 5
    seed: int = 0
    fps: float = 25.0
    sway: float = 0.02
    noise_std: float = 2.0

    def __post_init__(self) -> None:
        limits: tuple[tuple[str, float, float], ...] = (
            ("frames", 1, 100_000),
            ("height", 64, 4320),
            ("width", 64, 7680),
            ("objects", 0, MAX_OBJECTS),
            ("seed", 0, 2**31),
            ("fps", 1, 240),
            ("sway", 0, 0.2),
            ("noise_std", 0, 40),
        )
        for name, low, high in limits:
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise SourceError(f"scene: {name} is {value}, expected {low} to {high}")


@dataclass(frozen=True, slots=True)
class SceneTruth:
    """What is really in one frame: the N figures of which any part lies within the image.

    Figures hidden altogether are listed too, with an empty mask.

    Attributes:
        frame_index: The frame's number, from 0.
        ids: (N,) int64, ascending.
        boxes_xyxy: (N, 4) float32, tight around the whole figure as if nothing hid it, cut at the
            image's border; source pixels.
        visible: (N,) float32, the share of the figure's pixels that can be seen: neither hidden
            by another figure nor outside the image.
        masks: (N, H, W) bool, the pixels that can be seen; no pixel belongs to two figures.
        keypoints: (N, 17, 3) float32, x, y in source pixels and confidence, in the order of
            `formats.keypoints.POSETRACK_JOINTS`; 1 where the point can be seen, 0 where another
            figure or the own head hides it or it lies outside the image.
    """

    frame_index: int
    ids: IntArray
    boxes_xyxy: FloatArray
    visible: FloatArray
    masks: BoolArray
    keypoints: FloatArray

    def label_map(self) -> UInt8Array:
        """(H, W) uint8: the id of the figure seen at each pixel, 0 where there is none."""
        labels = np.zeros(self.masks.shape[1:], np.uint8)
        for number, mask in zip(self.ids, self.masks, strict=True):
            labels[mask] = number
        return labels


@dataclass(frozen=True, slots=True)
class _Rendering:
    """One drawn frame: image, who is seen at each pixel, and each figure's box and size."""

    index: int
    image: UInt8Array
    labels: UInt8Array
    spots: list[Placement]
    found: dict[int, tuple[FloatArray, int]]


class Scene:
    """The clip of a configuration: `len(scene)`, `scene.frame(i)`, `scene.truth(i)`.

    Only the last frame asked for is kept, so memory does not grow with the clip.
    """

    def __init__(self, config: SceneConfig | None = None) -> None:
        self.config = c = config or SceneConfig()
        self._background = Background(c.height, c.width, c.seed, c.sway * c.width, c.noise_std)
        self._shadow = Shadow()
        roles = [role_of(k, c.seed) for k in range(c.objects)]
        self._figures = [
            Figure(clothes_of(k, c.seed), role.gait, c.seed * MAX_OBJECTS + k)
            for k, role in enumerate(roles)
        ]
        self._paths = [placements(role, c.frames, c.fps, c.height, c.width) for role in roles]
        self._last: _Rendering | None = None

    def __len__(self) -> int:
        return self.config.frames

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(i) for i in range(len(self)))

    def frame(self, index: int) -> Frame:
        """Frame `index`, from 0; its image is the caller's own.

        Raises:
            SourceError: There is no such frame.
        """
        image = self._render(index).image.copy()
        return Frame(index, index / self.config.fps, image, f"{index + 1:06d}")

    def truth(self, index: int) -> SceneTruth:
        """What is in frame `index`; the arrays are the caller's own.

        Raises:
            SourceError: There is no such frame.
        """
        return self._truth(self._render(index))

    def detections(
        self, index: int, seed: int = 0, noise: DetectorNoise | None = None
    ) -> Detections:
        """What an imperfect detector would report for frame `index`, in random order.

        Args:
            index: Frame number, from 0.
            seed: Seed of the detector's errors; the same seed gives the same detections.
            noise: How it errs.

        Returns:
            Boxes with scores in (0, 1], class 0, without masks and keypoints.

        Raises:
            SourceError: There is no such frame.
        """
        truth, rng = self.truth(index), np.random.default_rng([seed, 107, index])
        size_hw = self.config.height, self.config.width
        return noisy_detections(
            truth.boxes_xyxy, truth.visible, size_hw, noise or DetectorNoise(), rng
        )

    def _render(self, index: int) -> _Rendering:
        if not 0 <= index < len(self):
            raise SourceError(f"scene: frame {index} asked for, it has 0 to {len(self) - 1}")
        if self._last is None or self._last.index != index:
            self._last = self._draw(index)
        return self._last

    def _draw(self, index: int) -> _Rendering:
        time_s = index / self.config.fps
        image = self._background.image(time_s)
        dx, dy = self._background.shift(time_s)
        spots = [
            replace(path[index], x=path[index].x - dx, y=path[index].y - dy) for path in self._paths
        ]
        # Figures lower in the image are nearer and hide the others.
        order = sorted(range(len(spots)), key=lambda k: (spots[k].y, k))
        labels = np.zeros(image.shape[:2], np.uint8)
        found: dict[int, tuple[FloatArray, int]] = {}
        for k in order:
            self._shadow.cast(image, spots[k].x, spots[k].y, spots[k].scale)
        for k in order:
            drawn = lay_figure(image, labels, self._figures[k].draw(spots[k]), k + 1)
            if drawn is not None:
                found[k] = drawn
        return _Rendering(index, self._background.add_noise(image, index), labels, spots, found)

    def _truth(self, drawn: _Rendering) -> SceneTruth:
        labels, found = drawn.labels, drawn.found
        numbers = sorted(found)
        height, width = labels.shape
        ids = np.array(numbers, np.int64) + 1
        masks = labels == ids.astype(np.uint8)[:, None, None]
        keypoints = np.zeros((len(numbers), 17, 3), np.float32)
        for row, k in enumerate(numbers):
            points = self._figures[k].joints(drawn.spots[k])
            x, y = np.floor(points[:, 0]).astype(int), np.floor(points[:, 1]).astype(int)
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            own = labels[y.clip(0, height - 1), x.clip(0, width - 1)] == k + 1
            points[:, 2] *= inside & own
            keypoints[row] = points
        boxes = np.array([found[k][0] for k in numbers], np.float32).reshape(-1, 4)
        whole = np.array([found[k][1] for k in numbers], np.float32)
        seen = np.array([np.count_nonzero(mask) for mask in masks], np.float32)
        visible = seen / whole
        return SceneTruth(drawn.index, ids, boxes, visible, masks, keypoints)
