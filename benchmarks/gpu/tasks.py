"""The six tasks that are measured: their clips, their frames, and what must agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ...evaluation.benchmark.measure import Runner
from ...evaluation.benchmark.workload import make_task_runner, scene_workload
from ...records import Frame, UInt8Array
from ...runtime.preprocessing import Letterbox
from ..clip import panning_crowd, walking_clip
from ..speed.mot import Agreement, Side
from ..timing import Stages
from .arms import ARMS, Arm, Setup
from .frames import DeviceGraphs, Tolerance, VosAgreement, VosSide
from .timing import DeviceStopwatch, Rounds
from .whole import WholeAgreement, WholeSide

_FIGURES = 20

WHOLE_TARGET_MS = {"mots": 10.0, "posetrack": 10.0, "pose": 5.0, "sot": 5.0}
"""Of a frame of the whole pipeline."""

WHOLE_ALIKE = 0.8
"""Least share of objects that come out alike; how exactly graphs compute, `cli parity` says."""

CLIP = 12
"""Frames of the built-in clips, played forwards and backwards."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Attributes:
        setup: The network, the bundle and the device.
        rounds: How often.
        arms: Names of `ARMS`; the reference is measured in any case.
        source_hw: Of the images.
        mot_hw: Of MOT's network image.
        vos_hw: Of VOS's network image.
        objects: Of MOT.
        tasks: Names of `TASKS`.
    """

    setup: Setup
    rounds: Rounds
    arms: tuple[str, ...] = tuple(ARMS)
    tasks: tuple[str, ...] = ("mot", "vos", "mots", "posetrack", "pose", "sot")
    source_hw: tuple[int, int] = (1080, 1920)
    mot_hw: tuple[int, int] = (608, 1088)
    vos_hw: tuple[int, int] = (480, 853)
    objects: int = 50

    def synchronize(self) -> None:
        """Wait for the GPU: for all its streams, whichever library made them."""
        if self.setup.device == "cuda":
            torch.cuda.synchronize()


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    Attributes:
        heading: What a frame is.
        target_ms: Of a whole frame on a GPU.
        size_hw: Of the network's image.
        image: A network image.
        side: Makes what an arm does frames with, measured by a watch.
        frame: Does the frame of a number with it.
        agreement: Makes what collects differences of two sides.
        holds: Whether they are within a tolerance.
    """

    heading: str
    target_ms: float
    size_hw: tuple[int, int]
    image: UInt8Array
    side: Callable[[Arm, DeviceStopwatch], Any]
    frame: Callable[[Any, int], Stages]
    agreement: Callable[[], Any]
    holds: Callable[[Any, Tolerance], bool]


def mot_task(plan: Plan) -> Task:
    """Boxes of a crowd get identities."""
    clip = panning_crowd(*plan.source_hw, CLIP, plan.objects)

    def frame(side: Side, number: int) -> Stages:
        image, seen = clip[_bounce(number)]
        stages = side.step(Frame(number, number / 25, image.image), seen)
        if isinstance(side.graphs, DeviceGraphs):
            side.graphs.fetch_cost()
        return stages

    def holds(found: Agreement, tolerance: Tolerance) -> bool:
        near = found.feature_error <= tolerance.features and found.cost_error <= tolerance.costs
        return near and found.same_ids

    return Task(
        f"mot: image {_size(plan.source_hw)}, network {_size(plan.mot_hw)}, {plan.objects} objects",
        2.0,
        plan.mot_hw,
        Letterbox.fit(plan.source_hw, plan.mot_hw).apply(clip[0][0].image),
        lambda arm, watch: arm.mot(watch, plan.mot_hw),
        frame,
        Agreement,
        holds,
    )


def vos_task(plan: Plan) -> Task:
    """A mask is carried on."""
    clip, mask = walking_clip(*plan.source_hw, CLIP)

    def frame(side: VosSide, number: int) -> Stages:
        return side.step(Frame(number, number / 25, clip[_bounce(number)].image))

    def holds(found: VosAgreement, tolerance: Tolerance) -> bool:
        alike = found.labels_equal >= tolerance.labels
        return alike and found.feature_error <= tolerance.features

    return Task(
        f"vos: image {_size(plan.source_hw)}, network {_size(plan.vos_hw)}, the first and "
        f"{plan.setup.config.memory} recent frames",
        4.0,
        plan.vos_hw,
        Letterbox.fit(plan.source_hw, plan.vos_hw).apply(clip[0].image),
        lambda arm, watch: VosSide(arm.vos(), watch, plan.vos_hw, clip[0], mask),
        frame,
        VosAgreement,
        holds,
    )


def whole_task(plan: Plan, name: str) -> Task:
    """A task in the pipeline that `cli track` runs, on the procedural scene.

    Args:
        plan: What is measured.
        name: One of `evaluation.benchmark.workload.TASKS`.
    """
    workload = scene_workload(CLIP, plan.source_hw, _FIGURES, (name,))
    tracked = name in workload.detected
    # Propagation works at a short side of its own, where the image has one as long.
    size = plan.mot_hw if tracked else None if min(plan.source_hw) > 480 else plan.source_hw
    network = {"sot": (520, 520), "pose": plan.vos_hw}.get(name, plan.mot_hw)

    def frame(side: WholeSide, number: int) -> Stages:
        return side.step(number)

    def side(arm: Arm, watch: DeviceStopwatch) -> WholeSide:
        graphs = arm.graphs()
        runner = make_task_runner(name, graphs, workload, size)
        return WholeSide(Runner(name, graphs, runner, workload), watch)

    return Task(
        f"{name}: image {_size(plan.source_hw)}, network {_size(network)}, "
        f"{workload.objects(name):.0f} objects, the whole pipeline",
        WHOLE_TARGET_MS[name],
        network,
        Letterbox.fit(plan.source_hw, network).apply(workload.frames[0].image),
        side,
        frame,
        WholeAgreement,
        lambda found, _tolerance: found.alike >= WHOLE_ALIKE,
    )


TASKS: dict[str, Callable[[Plan], Task]] = {
    "mot": mot_task,
    "vos": vos_task,
    **{name: partial(whole_task, name=name) for name in ("mots", "posetrack", "pose", "sot")},
}


def _bounce(number: int) -> int:
    """Frame of the clip for a running number: 0 1 2 … 2 1 0 1 …"""
    place = number % (2 * CLIP - 2)
    return min(place, 2 * CLIP - 2 - place)


def _size(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]}x{size_hw[0]}"
