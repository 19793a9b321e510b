"""A VOS frame at 480p, backbone and propagation: this project against PyTorch eager."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import RequestError
from ...heads.config import VosConfig
from ...heads.propagation.label_maps import best_labels, downsample_labels
from ...heads.propagation.propagator import Propagator
from ...records import Frame, UInt8Array
from ...runtime.inference.base import Graphs, to_host
from ...runtime.preprocessing import FeatureExtractor, Letterbox
from ..clip import clip_of_folder, walking_clip
from ..eager import EagerBackbone, EagerPropagator
from ..script import DISAGREE, Result, Script
from ..timing import Stages, Stopwatch, interleave, limit_threads, stage_table, summary
from ..weights import add_options, bundled, weights_of

HEIGHT, WIDTH = 480, 854
AGREEMENT = 0.999
"""Share of pixels that must get the same label from both sides."""

FEATURE_TOLERANCE = 1e-3

Float32 = npt.NDArray[np.float32]
_PAIR = "eager", "ours"


class OurVos:
    """The bundle's graphs under the runtime's own classes.

    Args:
        graphs: Of the bundle.
        config: Parameters.
        frame: The first frame.
        mask: Its map.
    """

    def __init__(self, graphs: Graphs, config: VosConfig, frame: Frame, mask: UInt8Array) -> None:
        self._extractor = FeatureExtractor(graphs)
        self._watch = Stopwatch()
        features = self._extractor.extract(*self._extractor.prepare(frame, frame.size_hw))
        rows, cols = features.grid_hw
        self._propagator = Propagator(
            graphs,
            rows,
            cols,
            top_k=config.top_k,
            temperature=config.temperature,
            radius=config.radius,
            memory=config.memory,
        )
        self._propagator.start(features.array, first_labels(mask, (rows, cols)))

    def step(self, frame: Frame) -> tuple[Stages, Float32, Float32]:
        """One frame: times, features (cells, C), labels (cells, L)."""
        with self._watch.stage("backbone"):
            features = self._extractor.extract(*self._extractor.prepare(frame, frame.size_hw))
        with self._watch.stage("propagation"):
            labels = self._propagator.step(features.array)
        points = to_host(features.array).reshape(len(labels), -1)
        return self._watch.take(), points, labels


class EagerVos:
    """The baseline under the same frames.

    Args:
        backbone: The network.
        config: Parameters.
        frame: The first frame.
        mask: Its map.
    """

    def __init__(
        self, backbone: EagerBackbone, config: VosConfig, frame: Frame, mask: UInt8Array
    ) -> None:
        self._backbone = backbone
        self._watch = Stopwatch()
        features = backbone(frame.image)
        rows, cols = features.shape[2], features.shape[3]
        self._propagator = EagerPropagator(
            rows,
            cols,
            top_k=config.top_k,
            temperature=config.temperature,
            radius=config.radius,
            memory=config.memory,
        )
        self._propagator.start(features, first_labels(mask, (rows, cols)))

    def step(self, frame: Frame) -> tuple[Stages, Float32, Float32]:
        """One frame: times, features (cells, C), labels (cells, L)."""
        with self._watch.stage("backbone"):
            features = self._backbone(frame.image)
        with self._watch.stage("propagation"):
            labels = self._propagator.step(features)
        points = features.flatten(2)[0].t().numpy()
        return self._watch.take(), points, labels


def first_labels(mask: UInt8Array, grid_hw: tuple[int, int]) -> Float32:
    """(cells, 2) of the first frame's map."""
    height, width = mask.shape
    letterbox = Letterbox.fit((height, width), (height, width))
    scores = downsample_labels(mask, np.unique(mask[mask > 0]), letterbox, grid_hw)
    return scores.reshape(grid_hw[0] * grid_hw[1], -1)


def picture_labels(labels: Float32, frame: Frame) -> UInt8Array:
    """(H, W) label of every pixel."""
    height, width = frame.size_hw
    scores = labels.reshape(-(-height // 8), -(-width // 8), -1)
    return best_labels(scores, Letterbox.fit((height, width), (height, width)))


def compare(
    frames: list[Frame], ours: OurVos, eager: EagerVos, rounds: int
) -> tuple[dict[str, list[Stages]], dict[str, float]]:
    """Run both over the rest of the clip in turn; times, and the worst agreement of any frame."""
    outputs: dict[str, tuple[Float32, Float32]] = {}
    agreement = {"labels_equal": 1.0, "feature_error": 0.0, "object_share": 0.0}

    def eager_frame(number: int) -> Stages:
        stages, *found = eager.step(frames[number + 1])
        outputs["eager"] = found[0], found[1]
        return stages

    def our_frame(number: int) -> Stages:
        frame = frames[number + 1]
        stages, points, labels = ours.step(frame)
        eager_points, eager_labels = outputs["eager"]
        found = picture_labels(labels, frame)
        same = float((found == picture_labels(eager_labels, frame)).mean())
        error = float(np.abs(points - eager_points).max())
        agreement["labels_equal"] = min(agreement["labels_equal"], same)
        agreement["feature_error"] = max(agreement["feature_error"], error)
        agreement["object_share"] = float((found > 0).mean())
        return stages

    # The recent frames differ from one another only once the memory has filled.
    warm_up = len(frames) - 1 - rounds
    sides = {"eager": eager_frame, "ours": our_frame}
    return interleave(sides, warm_up=warm_up, rounds=rounds), agreement


script = Script(__doc__, rounds=12, threads=2, saves=True)
add_options(script)
script.add_argument("--frames", type=Path, help="folder of images in place of the built-in")
script.add_argument("--mask", type=Path, help="0/255 mask of the first image of --frames")


@script.does
def main(options: argparse.Namespace) -> Result:
    """Measure both sides."""
    if (options.frames is None) != (options.mask is None):
        raise RequestError("--frames and --mask belong together: give both, or neither")
    config = VosConfig()
    count = 1 + config.memory + options.rounds
    weights = weights_of(options.backbone, options.weights)
    if options.frames is None:
        frames, mask = walking_clip(HEIGHT, WIDTH, count)
    else:
        frames, mask = clip_of_folder(options.frames, options.mask, count)
    limit_threads(options.threads)
    with bundled(options.backbone, weights, options.threads) as graphs:
        backbone = EagerBackbone(options.backbone, weights)
        measured, agreement = compare(
            frames,
            OurVos(graphs, config, frames[0], mask),
            EagerVos(backbone, config, frames[0], mask),
            options.rounds,
        )
    lines = stage_table(measured, [_PAIR])
    lines.append(
        f"agreement, worst frame: {agreement['labels_equal']:.3%} of pixels alike, "
        f"features within {agreement['feature_error']:.1e}"
    )
    record = {
        "backbone": options.backbone,
        "frame_hw": frames[0].size_hw,
        "clip": "procedural" if options.frames is None else options.frames.name,
        "agreement": agreement,
        **summary(measured, [_PAIR]),
    }
    agree = (
        agreement["labels_equal"] >= AGREEMENT and agreement["feature_error"] <= FEATURE_TOLERANCE
    )
    return Result("vos_speed", lines, record, "" if agree else DISAGREE)
