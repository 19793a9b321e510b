"""Single-object tracking: the box of the first frame is carried through the video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import BundleError, DetectionError
from ..records import Detections, Frame, Tracks
from ..runtime.head import Head
from ..runtime.inference.base import Array, Graphs, to_host
from ..runtime.preprocessing import FeatureMap
from .config import SOT_CROP, SOT_MARGIN, SotConfig
from .correlation.focused import FocusedTarget, Sight
from .correlation.geometry import crop_window, find_peak
from .correlation.models import make_model

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

Box = tuple[float, float, float, float]
"""Left, top, width, height in source pixels; pixel (0, 0) covers [0, 1) × [0, 1)."""

SURE = 0.5
"""A response of less than this share of its usual height is of a target that is hidden."""

NEWEST = 0.05
"""Share of the newest frame in that usual height."""

CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1))
"""Where else a target is looked for that the crop does not show, in half crops along x and y."""

GAIN = 0.3
"""Share of a growth that is followed at once: one frame's is uncertain, the next says it again."""

FASTEST = 0.1
"""More growth than this is not what one step of least squares can tell."""

LARGEST = 1.0e6
"""Pixels of a first box's side: beyond, float32 has no fractions of a pixel left."""


@dataclass(slots=True)
class _Target:
    """Where it is.

    Attributes:
        centre_xy: (2,) source pixels.
        size_wh: (2,) width and height, source pixels.
        smallest_wh: (2,) what that may shrink to.
        largest_wh: (2,) what it may grow to.
    """

    centre_xy: Float64
    size_wh: Float64
    smallest_wh: Float64
    largest_wh: Float64


class SotHead(Head):
    """Follows one object, whose track has the id 1.

    It runs the backbone on crops around the last box. With focus, one small one a frame, from which
    place, size and what is learned are read. Where its response is low, four more are looked at, at
    its corners; where theirs is as well, the box stays where it was, and nothing is learned.
    Without, as the authors do: one batch of three scales a frame, and for the filter that learns,
    one more crop at the new place. Bundles and engines for fixed image sizes that do not hold the
    small crop's have no focus.

    The score of a track is the peak of the response, cut to [0, 1]: for `xcorr` the mean cosine of
    the template's cells with what they lie on, under the crop's window; for `dcf` the peak's
    height, of which 1 is what the filter was taught.  A frame that gives no positive response
    leaves the box as it was, with score 0.

    Args:
        graphs: Runs `backbone`, and `xcorr` or `dcf_update` and `dcf_response`.
        box: The first frame's, or what is asked for it when that frame comes.
        config: Parameters.

    Raises:
        BundleError: The bundle has not the graphs, or takes images of other sizes only: neither the
            small crop nor, where neither crop nor margin was asked for, the authors'.
    """

    needs_features = False

    def __init__(
        self,
        graphs: Graphs,
        box: Box | Callable[[Frame], Box],
        config: SotConfig | None = None,
    ) -> None:
        self._graphs = graphs
        self._box = box
        self._config = config or SotConfig()
        self._focused: FocusedTarget | None = None
        sizes, stride = graphs.spec.sizes_hw, graphs.spec.stride
        small = self._config.crop
        if self._config.focus == "auto" and _takes_crops(graphs, small):
            self._side = small
            self._focused = FocusedTarget(small // stride, self._config)
            self._shown = 1 + self._config.margin
        else:
            self._model = make_model(graphs, self._config)
            self.graphs_used = self._model.graphs_used
            self._side = self._model.grid * stride
            self._shown = 1 + self._config.padding
        asked = (small, self._config.margin) != (SOT_CROP, SOT_MARGIN)
        taken_here = not sizes or (self._side, self._side) in sizes
        if not taken_here or (self._focused is None and asked):
            # Without focus a frame takes twenty times as long: a bundle is better made for it.
            side = small if self._config.focus == "auto" else self._side
            size = f"{side}x{side}"
            taken = ", ".join(f"{height}x{width}" for height, width in sizes) or "one size"
            raise BundleError(
                f"sot needs crops of {size}, the bundle takes {taken}: export one with "
                f"`cli export --backbone {graphs.spec.backbone} --size {size}`"
            )
        steps = np.arange(-1, 2)
        self._scales: Float64 = np.float64(self._config.scale_step) ** steps
        self._penalties: Float64 = np.float64(self._config.scale_penalty) ** np.abs(steps)
        self._target: _Target | None = None
        self._usual = 0.0

    def network_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:  # noqa: ARG002
        """The size of a crop."""
        return self._side, self._side

    def reset(self) -> None:
        """Forget the video; the box stays and belongs to the next frame again."""
        self._target = None

    def step(
        self,
        frame: Frame,
        features: FeatureMap | None = None,  # noqa: ARG002
        detections: Detections | None = None,  # noqa: ARG002
    ) -> Tracks:
        """Find the target in the next frame; in the first it is where the box says.

        The box may reach beyond the image, but stays in touch with it.

        Raises:
            DetectionError: The first box is none, or lies wholly outside the image.
        """
        if self._target is None:
            score = 1.0
            self._target = self._start(frame)
        else:
            follow = self._follow if self._focused is None else self._follow_in_focus
            score = follow(frame, self._target)
        corner = self._target.centre_xy - self._target.size_wh / 2
        box = np.concatenate([corner, corner + self._target.size_wh]).astype(np.float32)
        seen = Detections(box[None], np.array([score], np.float32), np.full(1, -1, np.int64))
        return Tracks(frame.index, np.ones(1, np.int64), seen)

    def _start(self, frame: Frame) -> _Target:
        box = self._box(frame) if callable(self._box) else self._box
        check_first_box(box, frame.size_hw)
        x, y, width, height = (float(value) for value in box)
        size = np.array([width, height])
        target = _Target(
            np.array([x, y]) + size / 2,
            size,
            size * self._config.min_scale,
            size * self._config.max_scale,
        )
        crop = self._crops(frame, target, np.ones(1))
        if self._focused is None:
            self._model.start(crop)
        else:
            self._usual = 0.0
            self._focused.start(_on_host(crop))
        return target

    def _follow_in_focus(self, frame: Frame, target: _Target) -> float:
        focused = self._focused
        if focused is None:
            raise RuntimeError("a step in focus of a head without")
        size = target.size_wh

        def look(beside: Float64) -> tuple[Sight, Float32, Float64]:
            crop = _on_host(self._crops(frame, target, np.ones(1), beside))
            return focused.look(crop), crop, beside

        seen = [look(np.zeros(2))]
        if seen[0][0].value < SURE * self._usual:
            seen += [look(np.array(corner) * size * self._shown / 2) for corner in CORNERS]
        sight, crop, beside = max(seen, key=lambda one: one[0].value)
        if not sight.value > 0:
            return 0.0
        self._usual += (NEWEST if self._usual else 1.0) * (sight.value - self._usual)
        if sight.value < SURE * self._usual:
            return sight.value
        cell = size * self._shown / focused.grid
        growth = min(max(focused.growth(crop, sight), 1 - FASTEST), 1 + FASTEST)
        focused.learn(crop, sight)
        way = beside + np.array([sight.right, sight.down]) * cell
        _move(target, way, size * (1 + GAIN * (growth - 1)), frame.size_hw)
        return min(sight.value, 1.0)

    def _follow(self, frame: Frame, target: _Target) -> float:
        responses = self._model.respond(self._crops(frame, target, self._scales))
        peaks = [find_peak(response, self._model.origin) for response in responses]
        heights = np.array([value for value, _, _ in peaks])
        best = int((heights * self._penalties).argmax())
        value, right, down = peaks[best]
        if not value > 0:
            return 0.0
        size = target.size_wh * self._scales[best]
        cell = size * self._shown / self._model.grid
        _move(target, np.array([right, down]) * cell, size, frame.size_hw)
        if self._model.learns:
            self._model.learn(self._crops(frame, target, np.ones(1)))
        return min(value, 1.0)

    def _crops(
        self, frame: Frame, target: _Target, scales: Float64, beside: Float64 | None = None
    ) -> Array:
        """Features (S, G, G, C) of the target's surroundings, S scales in one batch.

        Args:
            frame: Where to cut.
            target: Its last place and size.
            scales: (S,) of the target.
            beside: (2,) source pixels from its last place to the crops' centre; None is there.
        """
        centre = target.centre_xy if beside is None else target.centre_xy + beside
        window = target.size_wh * self._shown
        crops = np.stack([crop_window(frame.image, centre, window * s, self._side) for s in scales])
        self.backbone_pixels += len(crops) * self._side**2
        (features,) = self._graphs.run("backbone", crops)
        return features


def _move(target: _Target, way_xy: Float64, size_wh: Float64, frame_hw: tuple[int, int]) -> None:
    """Give a target a size, within its limits, and move it, in touch with the image."""
    target.size_wh = size_wh.clip(target.smallest_wh, target.largest_wh)
    beyond = target.size_wh / 2
    target.centre_xy = (target.centre_xy + way_xy).clip(-beyond, np.array(frame_hw[::-1]) + beyond)


def _takes_crops(graphs: Graphs, side: int) -> bool:
    """Whether the backbone takes square crops of a size beside those of the full method."""
    sizes = graphs.spec.sizes_hw
    return (side, side) in sizes if sizes else graphs.limit("backbone", 0, 1) is None


def _on_host(crop: Array) -> Float32:
    """(1, G, G, C) features as (G, G, C) float32."""
    return np.asarray(to_host(crop)[0], np.float32)


def check_first_box(box: Box, size_hw: tuple[int, int]) -> None:
    """Whether tracking can start from a box.

    Raises:
        DetectionError: Not finite, under one pixel wide or high, absurdly large, or wholly
            outside the image.
    """
    x, y, width, height = box
    text = ",".join(f"{value:g}" for value in box)
    if not np.isfinite(box).all() or not (1 <= width <= LARGEST and 1 <= height <= LARGEST):
        raise DetectionError(
            f"the first box {text} (x,y,w,h) cannot be tracked: expected finite numbers with w and "
            f"h of 1 to {LARGEST:.0f} pixels; give another --init"
        )
    if x >= size_hw[1] or y >= size_hw[0] or x + width <= 0 or y + height <= 0:
        raise DetectionError(
            f"the first box {text} (x,y,w,h) lies outside the image, which is "
            f"{size_hw[1]}x{size_hw[0]} (width x height): give another --init"
        )
