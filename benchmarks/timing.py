"""What the benchmarks share: timing two sides in turn, describing the machine, keeping results."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

Stages = dict[str, float]
"""Seconds by stage."""

_REST_S = 0.03


class Stopwatch:
    """Seconds spent in named stages of one frame."""

    def __init__(self) -> None:
        self.stages: Stages = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the block to a stage."""
        start = time.perf_counter()
        yield
        self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - start

    def take(self) -> Stages:
        """The stages so far; starts over."""
        stages, self.stages = self.stages, {}
        return stages


def interleave(
    sides: Mapping[str, Callable[[int], Stages]], *, warm_up: int, rounds: int
) -> dict[str, list[Stages]]:
    """Run all sides in turn, A B A B, so that what disturbs the machine disturbs all of them.

    Args:
        sides: By name; called with the number of the round, from 0, warm-up included.
        warm_up: Rounds that do not count.
        rounds: Rounds that do.

    Returns:
        The stages of every counted round by side, each with its `total`.
    """
    measured: dict[str, list[Stages]] = {name: [] for name in sides}
    for number in range(warm_up + rounds):
        for name, frame in sides.items():
            # PyTorch's threads keep spinning for a moment after their work.
            time.sleep(_REST_S)
            stages = frame(number)
            stages["total"] = sum(stages.values())
            if number >= warm_up:
                measured[name].append(stages)
    return measured


def medians_ms(rounds: Sequence[Stages]) -> dict[str, float]:
    """Median milliseconds of every stage; the total's is of the totals, not a sum."""
    return {
        stage: round(1e3 * statistics.median(r[stage] for r in rounds), 2) for stage in rounds[0]
    }


def ratios(
    measured: Mapping[str, Sequence[Stages]], baseline: str, side: str
) -> dict[str, dict[str, float]]:
    """How many times faster a side is than the baseline, by stage.

    Returns:
        By stage: `median` is the ratio of medians, `best` that of the fastest rounds, and
        `lowest` and `highest` are of single rounds, each against its own neighbour in time.
    """
    table = {}
    for stage in measured[side][0]:
        slow = [r[stage] for r in measured[baseline]]
        fast = [r[stage] for r in measured[side]]
        each = [a / b for a, b in zip(slow, fast, strict=True)]
        table[stage] = {
            "median": round(statistics.median(slow) / statistics.median(fast), 2),
            "best": round(min(slow) / min(fast), 2),
            "lowest": round(min(each), 2),
            "highest": round(max(each), 2),
        }
    return table


def machine(threads: int, load: Sequence[float] | None = None) -> dict[str, Any]:
    """The machine, the versions and how busy it was, for the record.

    Args:
        threads: That were used.
        load: Load averages before anything was measured; None: those of now.
    """
    import cv2
    import numpy as np
    import onnxruntime
    import torch

    return {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu_model(),
        "cores_used": threads,
        "cores_present": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average_before": [round(value, 2) for value in load or os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }


def _cpu_model() -> str:
    info: dict[str, str] = {}
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8").split("\n\n")[0].splitlines():
            key, _, value = line.partition(":")
            info[key.strip()] = value.strip()
    name = info.get("model name") or platform.processor() or platform.machine()
    flags = info.get("flags", "").split()
    wide = ", ".join(f for f in ("avx2", "avx512f", "avx512_vnni") if f in flags)
    family = f" family {info['cpu family']} model {info['model']}" if "cpu family" in info else ""
    return f"{name}{family}" + (f" ({wide})" if wide else "")


def limit_threads(threads: int) -> None:
    """Give PyTorch and OpenCV as many threads as the other side has."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def stage_table(
    measured: Mapping[str, Sequence[Stages]], pairs: Sequence[tuple[str, str]]
) -> list[str]:
    """Lines of text: a row a stage, the medians of all sides, the ratio of each pair.

    Args:
        measured: From `interleave`.
        pairs: (baseline, side).
    """
    medians = {name: medians_ms(rounds) for name, rounds in measured.items()}
    compared = {pair: ratios(measured, *pair) for pair in pairs}
    width = max(12, *(len(name) + 3 for name in medians))
    header = "stage".ljust(14) + "".join(f"{name} ms".rjust(width + 2) for name in medians)
    header += "".join(f"  {a} / {b}" for a, b in pairs)
    lines = [header]
    for stage in next(iter(medians.values())):
        line = stage.ljust(14) + "".join(f"{m[stage]:{width + 2}.1f}" for m in medians.values())
        for (a, b), table in compared.items():
            line += f"{table[stage]['median']:{len(a) + len(b) + 4}.2f}x"
        lines.append(line)
    return lines


def save(
    name: str, lines: Sequence[str], record: Mapping[str, Any], folder: Path = RESULTS
) -> None:
    """Keep a run as `NAME.txt` and `NAME.json`, in `results/` or another folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = json.dumps(dict(record), indent=1)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def summary(
    measured: Mapping[str, Sequence[Stages]], pairs: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """What `save` keeps of the times."""
    return {
        "rounds": len(next(iter(measured.values()))),
        "median_ms": {name: medians_ms(rounds) for name, rounds in measured.items()},
        "ratios": {f"{a} / {b}": ratios(measured, a, b) for a, b in pairs},
    }
