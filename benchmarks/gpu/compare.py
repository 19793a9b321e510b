"""Frames of all six tasks on a GPU: PyTorch in three styles against the bundle's graphs.

Per stage and whole frame, with the machine's matrix rate and copy bandwidth from the same run.
Results are kept after every arm: whatever fails later, they are there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ...errors import BackendError, RequestError, UnitrackError
from ...export.bundle_writer import ExportRequest, write_bundle
from ...heads.config import VosConfig
from ...runtime.bundle.bundle import Bundle
from ...runtime.inference.onnxruntime import available_cores
from ..eager import EagerBackbone
from ..script import Script
from ..timing import RESULTS, limit_threads, machine, save
from ..weights import DEFAULT, weights_of
from .arms import ARMS, REFERENCE, Arm, GraphArm, Setup
from .ceilings import Ceilings, backbone_flops
from .frames import EXACT, HALF, Tolerance
from .profile import profile
from .report import (
    NO_GPU,
    TaskResult,
    describe_gpu,
    provenance,
    record_of,
    report,
    result_name,
)
from .tasks import TASKS, Plan, Task
from .timing import Contestant, DeviceStopwatch, Rounds, race

Keep = Callable[[Mapping[str, TaskResult], Ceilings], None]
"""Called with all results so far, after every arm of every task."""


def measure(
    plan: Plan, keep: Keep = lambda _results, _ceilings: None
) -> tuple[dict[str, TaskResult], Ceilings]:
    """Measure all tasks with all arms that are here, each in turns with the reference.

    Raises:
        UnitrackError: The reference cannot run.
    """
    setup = plan.setup
    ceilings = Ceilings(setup.device, setup.half, plan.synchronize)
    results: dict[str, TaskResult] = {}
    with ExitStack() as stack:
        arms, absent = _open_arms(plan, stack)
        for name in plan.tasks:
            task = TASKS[name](plan)
            results[name] = _empty_result(plan, task, arms[REFERENCE], dict(absent))
            others = [arm for arm in arms if arm != REFERENCE]
            for arm in others or [REFERENCE]:
                _measure_arm(plan, task, arms, arm, results[name], ceilings)
                keep(results, ceilings)
    return results, ceilings


def _open_arms(plan: Plan, stack: ExitStack) -> tuple[dict[str, Arm], dict[str, str]]:
    """The arms that are here, and why the others are not."""
    arms: dict[str, Arm] = {}
    absent: dict[str, str] = {}
    for name, row in ARMS.items():
        if name != REFERENCE and name not in plan.arms:
            absent[name] = "left out by --arm"
        elif plan.setup.device not in row.devices:
            absent[name] = f"not compared on --device {plan.setup.device}"
        else:
            try:
                arms[name] = row.open(plan.setup)
            except UnitrackError as error:
                absent[name] = _one_line(error)
                continue
            stack.callback(arms[name].close)
    return arms, absent


def _empty_result(plan: Plan, task: Task, reference: Arm, absent: dict[str, str]) -> TaskResult:
    flops = backbone_flops(EagerBackbone(plan.setup.backbone, None).network, task.size_hw)
    title = {REFERENCE: reference.title}
    return TaskResult(task.heading, task.target_ms, flops, title, absent)


def _measure_arm(
    plan: Plan,
    task: Task,
    arms: dict[str, Arm],
    name: str,
    result: TaskResult,
    ceilings: Ceilings,
) -> None:
    """Race an arm with the reference; what goes wrong with it is the reason of its absence."""
    sides: dict[str, Any] = {}
    contestants: dict[str, Contestant] = {}
    try:
        for side in dict.fromkeys((REFERENCE, name)):
            sides[side], contestants[side] = _prepare(plan, task, arms[side])
        agreement = task.agreement()

        def compare() -> None:
            if name != REFERENCE:
                agreement.add(sides[REFERENCE], sides[name])

        samples = race(
            contestants,
            plan.rounds,
            plan.synchronize,
            before_round=ceilings.measure,
            after_warm_up=compare,
        )
        counted = profile(lambda: contestants[name].frame(0), plan.setup.device)
    except (UnitrackError, RuntimeError) as error:
        # PyTorch's compiler, and a GPU that is full, raise children of RuntimeError.
        if name == REFERENCE or REFERENCE not in contestants:
            raise
        result.absent[name] = _one_line(error)
        return
    result.add(name, arms[name].title, samples, arms[name].describe(), counted)
    result.backends.setdefault(REFERENCE, arms[REFERENCE].describe())
    if name != REFERENCE:
        holds = task.holds(agreement, _tolerance(plan, arms[name]))
        result.agreements[name] = (agreement.describe(), holds)


def _prepare(plan: Plan, task: Task, arm: Arm) -> tuple[Any, Contestant]:
    """What an arm does the task with, after a first frame and a first backbone."""
    watch = DeviceStopwatch(plan.synchronize)
    side = task.side(arm, watch)
    contestant = Contestant(
        watch, lambda number: task.frame(side, number), arm.on_device(task.image)
    )
    contestant.frame(0)
    contestant.backbone()
    return side, contestant


def _tolerance(plan: Plan, arm: Arm) -> Tolerance:
    half = isinstance(arm, GraphArm) and plan.setup.bundle.spec.precision != "fp32"
    return HALF if half or plan.setup.device == "cuda" else EXACT


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def _bundle(
    path: Path | None, backbone: str, weights: Path | None, device: str
) -> Iterator[Bundle]:
    """The one that was named, or a fresh one without engines."""
    if path is not None:
        bundle = Bundle.load(path)
        if bundle.spec.backbone != backbone:
            raise BackendError(
                f"bundle {path} holds {bundle.spec.backbone}, the PyTorch side is {backbone}: give "
                f"--backbone {bundle.spec.backbone}"
            )
        yield bundle
        return
    precision = "fp16" if device == "cuda" else "fp32"
    with TemporaryDirectory() as folder:
        request = ExportRequest(backbone, weights=weights, precision=precision)
        yield write_bundle(request, Path(folder) / backbone)


def _check_device(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError(
            f"no CUDA GPU here that PyTorch {torch.__version__} can use: nothing was measured; "
            "--device cpu --rounds 1 tries the script itself"
        )


script = Script(__doc__, rounds=40, threads=0)
script.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default: cuda")
script.add_argument(
    "--bundle",
    type=Path,
    help="bundle of --backbone; TensorRT arms run if it holds engines for this GPU (default: "
    "a fresh one, FP16 on a GPU)",
)
script.add_argument(
    "--backbone", default="imagenet-r18", help="of both sides (default: %(default)s)"
)
script.add_argument(
    "--weights",
    type=Path,
    default=DEFAULT,
    help=f"its checkpoint (default: ../shared/models/{DEFAULT.name})",
)
script.add_argument(
    "--arm", dest="arms", action="append", choices=tuple(ARMS), help="this arm only; repeatable"
)
script.add_argument(
    "--task", dest="tasks", action="append", choices=tuple(TASKS), help="default: all six"
)
script.number("--burst", 5, "frames in a row")
script.add_argument(
    "--quick", action="store_true", help="3 rounds of 2 frames: a first look, not a result"
)
script.add_argument(
    "--save",
    nargs="?",
    type=Path,
    const=RESULTS,
    metavar="FOLDER",
    help="keep the results, after every arm anew (default folder: benchmarks/results, for a "
    "GPU only)",
)


@script.does
def main(options: argparse.Namespace) -> None:
    """Measure, print, and keep the result where that is asked for."""
    if options.save == RESULTS and options.device == "cpu":
        raise RequestError(
            "benchmarks/results keeps figures of a GPU: give --save a FOLDER of your own"
        )
    gpu = options.device == "cuda"
    repeats = 5 if options.quick and gpu else 20 if gpu else 1
    rounds = Rounds(3 if gpu else 1, options.rounds, options.burst, repeats)
    if options.quick:
        rounds = Rounds(1, min(3, options.rounds), min(2, options.burst), repeats)
    threads = options.threads or available_cores()
    _check_device(options.device)
    limit_threads(threads)
    weights = weights_of(options.backbone, options.weights)
    with _bundle(options.bundle, options.backbone, weights, options.device) as bundle:
        setup = Setup(options.device, options.backbone, weights, bundle, threads, VosConfig())
        plan = Plan(setup, rounds, tuple(options.arms or ARMS), tuple(options.tasks or TASKS))
        record: dict[str, Any] = {
            "machine": machine(threads),
            "backbone": options.backbone,
            "bundle": {"precision": bundle.spec.precision, "opset": bundle.spec.opset},
            "gpu": describe_gpu() if gpu else NO_GPU,
        }

        def keep(results: Mapping[str, TaskResult], ceilings: Ceilings) -> None:
            if options.save is not None:
                data = {**record, **record_of(rounds, results, ceilings)}
                lines = [provenance(record), *report(results, ceilings, judged=gpu)]
                save(result_name(record["gpu"]), lines, data, options.save)

        results, ceilings = measure(plan, keep)
    print("\n".join(report(results, ceilings, judged=gpu)))
    disagreeing = [name for name, result in results.items() if not result.agrees]
    if disagreeing:
        raise UnitrackError(
            f"arms disagree with eager in {', '.join(disagreeing)}: their times compare nothing"
        )
