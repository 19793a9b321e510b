"""What a run of the GPU benchmark says: tables, the ceilings, the targets, who was absent."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from .arms import ARMS, REFERENCE
from .ceilings import Ceilings
from .profile import FrameCounts
from .timing import FRAME, PERCENTILES, Rounds, Samples, percentiles_ms

HOST_STAGES = "letterbox", "labels", "host"
"""Stages that run on the CPU, the same code in every arm."""

RATIO_TARGET = 10.0
SHARE_TARGET = 0.4


NO_GPU = {"name": "no GPU", "capability": "cpu", "torch_cuda": "-", "cudnn": "-"}
"""What stands for the GPU where the script is tried on a CPU."""


@dataclass(slots=True)
class TaskResult:
    """What one task gave so far.

    Attributes:
        heading: What a frame is.
        target_ms: Of a whole frame on a GPU.
        flops: Of the backbone on one image.
        titles: Of the arms that ran, by name.
        absent: Why the others did not run, by name.
        samples: Their times; of the reference, those of all its races.
        references: The reference's times in the race with each arm.
        agreements: How well each agrees with the reference, and whether that is enough.
        backends: What really ran each.
        counts: Kernels, launches, copies and waits of a frame, where a GPU was profiled.
    """

    heading: str
    target_ms: float
    flops: int
    titles: dict[str, str]
    absent: dict[str, str]
    samples: dict[str, Samples] = field(default_factory=dict)
    references: dict[str, Samples] = field(default_factory=dict)
    agreements: dict[str, tuple[str, bool]] = field(default_factory=dict)
    backends: dict[str, str] = field(default_factory=dict)
    counts: dict[str, FrameCounts] = field(default_factory=dict)

    def add(
        self,
        name: str,
        title: str,
        samples: Mapping[str, Samples],
        ran_by: str,
        counts: FrameCounts | None,
    ) -> None:
        """Take an arm's race with the reference."""
        self.titles[name], self.backends[name] = title, ran_by
        self.references[name] = samples[REFERENCE]
        everything = self.samples.setdefault(REFERENCE, Samples())
        everything.add(samples[REFERENCE])
        self.samples[name] = samples[name] if name != REFERENCE else everything
        if counts is not None:
            self.counts[name] = counts

    @property
    def agrees(self) -> bool:
        """Whether all arms compute the same."""
        return all(holds for _, holds in self.agreements.values())

    def ratio(self, name: str) -> float:
        """How many times faster than the reference a whole frame is, by medians of their race."""
        pair = self.references.get(name, self.samples[REFERENCE]), self.samples[name]
        slow, fast = (percentiles_ms(side.frames)[0] for side in pair)
        return slow / fast

    def share(self, name: str, matrix_flops: float) -> float:
        """The backbone's operations a second as a share of the matrix rate."""
        median_s = percentiles_ms(self.samples[name].backbone)[0] / 1e3
        return self.flops / median_s / matrix_flops


def stage_percentiles(samples: Samples) -> dict[str, list[float]]:
    """Milliseconds at `PERCENTILES` of every stage and of the whole frame."""
    names = list(samples.stages[0])
    table = {name: percentiles_ms([s[name] for s in samples.stages]) for name in names}
    return {**table, FRAME: percentiles_ms(samples.frames)}


def task_lines(result: TaskResult, matrix_flops: float | None) -> list[str]:
    """The table of a task, and what belongs below it.

    Args:
        result: Of the task.
        matrix_flops: What the backbone is compared with; None on a CPU, where PyTorch's matrix
            product is slower than some convolutions and no ceiling.
    """
    lines = [result.heading]
    width = max(len(title) for title in result.titles.values()) + 2
    for name, title in result.titles.items():
        if name not in result.samples:
            continue
        table = stage_percentiles(result.samples[name])
        if name == REFERENCE:
            lines.append(
                "milliseconds".ljust(width) + "      " + "".join(f"{s:>13}" for s in table)
            )
        for row, percentile in enumerate(PERCENTILES):
            label = title if row == 0 else ""
            values = "".join(f"{figures[row]:13.3f}" for figures in table.values())
            ratio = f"   eager / this {result.ratio(name):.2f}" if row == 0 else ""
            lines.append(f"{label:<{width}}p{percentile:<5}{values}{ratio}")
    for name, title in result.titles.items():
        if name not in result.samples:
            continue
        median_ms = percentiles_ms(result.samples[name].backbone)[0]
        lines.append(
            f"backbone alone, {title}: {median_ms:.3f} ms, "
            f"{result.flops / median_ms / 1e9:.4g} TFLOP/s"
            + (
                f", {result.share(name, matrix_flops):.1%} of the matrix rate"
                if matrix_flops
                else ""
            )
        )
    for name, (text, holds) in result.agreements.items():
        verdict = "" if holds else "  DISAGREES"
        lines.append(f"agreement with eager, {result.titles[name]}: {text}{verdict}")
    for name, counts in result.counts.items():
        lines.append(f"a frame, {result.titles[name]}: {counts.describe()}")
    for name, reason in result.absent.items():
        lines.append(f"absent: {ARMS[name].title}: {reason}")
    return lines


def target_lines(result: TaskResult, matrix_flops: float) -> list[str]:
    """The targets, met or missed, for each arm that runs the project's own graphs."""
    lines = []
    for name, title in result.titles.items():
        if name in (REFERENCE, "half", "compile"):
            continue
        table = stage_percentiles(result.samples[name])
        frame_ms = table[FRAME][0]
        shared_ms = sum(table[stage][0] for stage in HOST_STAGES if stage in table)
        ratio, share = result.ratio(name), result.share(name, matrix_flops)
        lines.append(
            f"targets, {title}: frame {frame_ms:.2f} ms (at most {result.target_ms:g}: "
            f"{_met(frame_ms <= result.target_ms)}; {shared_ms:.2f} ms of it on the CPU, the same "
            f"in all arms), eager / this {ratio:.1f} (at least {RATIO_TARGET:g}: "
            f"{_met(ratio >= RATIO_TARGET)}), backbone {share:.0%} of the matrix rate (at least "
            f"{SHARE_TARGET:.0%}: {_met(share >= SHARE_TARGET)})"
        )
    return lines or ["targets: not judged, no arm with the project's graphs ran"]


def _met(holds: bool) -> str:
    return "met" if holds else "missed"


def task_record(result: TaskResult, matrix_flops: float) -> dict[str, Any]:
    """What is kept of a task; milliseconds at `PERCENTILES`."""
    return {
        "frame": result.heading,
        "backbone_gflop": round(result.flops / 1e9, 3),
        "arms": {
            name: {
                "title": title,
                "ran_by": result.backends[name],
                "frames": len(result.samples[name].frames),
                "counts": asdict(result.counts[name]) if name in result.counts else None,
                "percentiles_ms": stage_percentiles(result.samples[name]),
                "backbone_alone_ms": percentiles_ms(result.samples[name].backbone),
                "backbone_share_of_matrix_rate": round(result.share(name, matrix_flops), 4),
                "eager_over_this": round(result.ratio(name), 3),
            }
            for name, title in result.titles.items()
            if name in result.samples
        },
        "agreement": {name: text for name, (text, _) in result.agreements.items()},
        "absent": result.absent,
    }


def describe_gpu() -> dict[str, str]:
    """The GPU, its driver and what PyTorch was built with."""
    properties = torch.cuda.get_device_properties(0)
    facts = {
        "name": properties.name,
        "capability": f"sm{properties.major}{properties.minor}",
        "memory_mib": str(properties.total_memory >> 20),
        "torch_cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        "tf32_convolutions": str(torch.backends.cudnn.allow_tf32),
    }
    if shutil.which("nvidia-smi"):
        query = "driver_version,clocks.max.sm,power.limit"
        found = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader", "--id=0"],
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode == 0:
            values = (value.strip() for value in found.stdout.split(","))
            facts |= dict(zip(("driver", "max_sm_clock", "power_limit"), values, strict=False))
    return facts


def result_name(gpu: Mapping[str, str]) -> str:
    """The file's name in `results/` for a GPU, without its ending."""
    return "gpu_" + re.sub(r"[^a-z0-9]+", "_", gpu["name"].lower()).strip("_")


def report(results: Mapping[str, TaskResult], ceilings: Ceilings, *, judged: bool) -> list[str]:
    """The lines that are printed.

    Args:
        results: By task.
        ceilings: Of the same run.
        judged: Whether the targets, which are for GPUs, mean anything.
    """
    lines = []
    for result in results.values():
        lines += task_lines(result, ceilings.flops if judged else None)
        if judged:
            lines += target_lines(result, ceilings.flops)
        lines.append("")
    return [*lines, ceilings.describe()]


def record_of(
    rounds: Rounds, results: Mapping[str, TaskResult], ceilings: Ceilings
) -> dict[str, Any]:
    """What is kept of a run, besides the machine and the GPU."""
    return {
        "rounds": asdict(rounds),
        "matrix_tflop_per_s": round(ceilings.flops / 1e12, 3),
        "copy_gb_per_s": round(ceilings.bytes_per_s / 1e9, 1),
        "tasks": {name: task_record(result, ceilings.flops) for name, result in results.items()},
    }


def provenance(record: Mapping[str, Any]) -> str:
    """One line: when, on what, with which versions; from a record with `machine` and `gpu`."""
    gpu, host = record["gpu"], record["machine"]
    return (
        f"{host['date']}; {gpu['name']} ({gpu['capability']}), driver {gpu.get('driver', '?')}; "
        f"PyTorch {host['torch']} (CUDA {gpu['torch_cuda']}, cuDNN {gpu['cudnn']}), ONNX Runtime "
        f"{host['onnxruntime']}, Python {host['python']}; {host['cpu']}, {host['cores_used']} cores"
    )
