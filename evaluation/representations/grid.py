"""What `cli compare` runs: every representation on every sequence of every task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import RequestError
from ...heads.config import PropagatedConfig, SotConfig, TaskConfig, TrackedConfig
from ...runtime.bundle.bundle import SPEC_FILE, Bundle
from ...runtime.paths import default_bundle
from ...tracking.registry import TASKS as TASK_TABLE
from ..datasets.base import Sequence, choose, first_frames, why_not_trackable
from ..datasets.registry import FORMAT_OF_TASK, FORMATS
from ..runner.executors import threads_of
from ..runner.jobs import SequenceJob

TASKS = tuple(FORMAT_OF_TASK)
ASSOCIATION = ("mot", "mots", "posetrack")


@dataclass(frozen=True, slots=True)
class Entry:
    """One representation.

    Attributes:
        name: In tables.
        bundle: Its folder.
        similarity: How appearance is compared in association.
    """

    name: str
    bundle: Path
    similarity: str


def read_sequences(values: dict[str, Any]) -> tuple[dict[str, list[Sequence]], list[str]]:
    """The sequences of every task; what cannot be tracked or scored is left out, with a note.

    Raises:
        RequestError: No data, or a name that is not in it.
        DetectionError: A data set cannot be read.
    """
    names = values["names"]
    found: dict[str, list[Sequence]] = {}
    notes: list[str] = []
    for task, root in _roots(values["roots"], values["tasks"]).items():
        every = FORMATS[FORMAT_OF_TASK[task]].read(root, values["split"])
        here = [name for name in names if any(s.name == name for s in every)]
        chosen = choose(every, here) if here or not names else []
        for sequence in chosen:
            lacking = why_not_trackable(sequence)
            if lacking is None and sequence.truth is None:
                lacking = f"{sequence.name}: no ground truth"
            if lacking is not None:
                notes.append(f"{lacking.split(';')[0]}: left out")
            else:
                found.setdefault(task, []).append(first_frames(sequence, values["max_frames"]))
    known = {s.name for sequences in found.values() for s in sequences}
    unknown = set(names) - known
    if unknown or not found:
        what = f"--sequence {min(unknown)}" if unknown else "--data"
        raise RequestError(f"{what}: no such sequence that can be tracked and scored")
    return found, notes


def _roots(texts: Iterable[str], only: tuple[str, ...]) -> dict[str, Path]:
    roots: dict[str, Path] = {}
    for text in texts:
        task, equals, path = text.partition("=")
        if equals and task in TASKS:
            roots[task] = Path(path)
            continue
        below = {task: Path(text) / task for task in TASKS if (Path(text) / task).is_dir()}
        if not below:
            raise RequestError(
                f"--data {text}: expected TASK=ROOT, or a folder with some of {', '.join(TASKS)}"
            )
        roots |= below
    missing = [task for task in only if task not in roots]
    if missing:
        raise RequestError(f"--task {missing[0]}: give its data with --data {missing[0]}=ROOT")
    return {task: roots[task] for task in TASKS if task in roots and (task in only or not only)}


def find_bundles(
    names: tuple[str, ...], layers: tuple[str, ...], ensure: Callable[[Path, str, str], None]
) -> list[tuple[str, Path]]:
    """Name and folder of every backbone at every layer, exported where it is missing.

    Args:
        names: Backbones of the table, or folders of bundles.
        layers: Where the backbones of the table are cut.
        ensure: Writes a bundle that is missing, given its folder, backbone and layer.

    Raises:
        RequestError: Two of one name, or a bundle that was cut at another layer.
        BundleError: Damaged, or missing without PyTorch to write it.
        ExportError: Unknown name, or the export failed.
    """
    found: dict[str, Path] = {}
    for name in names:
        folder = Path(name)
        if (folder / SPEC_FILE).is_file():
            label = folder.absolute().name
            if found.get(label, folder) != folder:
                raise RequestError(f"--backbone {name}: two bundles are called {label}: rename one")
            found[label] = folder
            continue
        for layer in dict.fromkeys(layers):
            label = name if layer == "layer3" else f"{name}-{layer}"
            found[label] = default_bundle(label)
            ensure(found[label], name, layer)
            got = Bundle.load(found[label]).spec.layer
            if got != layer:
                raise RequestError(
                    f"--backbone {name}: {found[label]} was cut at {got}, expected {layer}: give "
                    f"--layer {got}, or name it by its folder"
                )
    return list(found.items())


Cells = list[tuple[str, str]]
"""(entry, task) of all cells of the comparison that one job's score goes into."""


def grid_jobs(
    entries: list[Entry], data: dict[str, list[Sequence]], values: dict[str, Any]
) -> dict[SequenceJob, Cells]:
    """Every job once: propagation knows no similarity, so entries may share its jobs."""
    threads = threads_of(values["jobs"])
    jobs: dict[SequenceJob, Cells] = {}
    for entry in entries:
        for task, sequences in data.items():
            if entry.similarity == "flattened" and task in ("mots", "posetrack"):
                continue  # these objects have no common size, which is the paper's point
            way = ("" if values["motion"] else "-no-motion") if task in ASSOCIATION else ""
            way += f"-{entry.similarity}" if task in ASSOCIATION else ""
            way += f"-{values['sot_head']}" if task == "sot" else ""
            output = values["output"] / "work" / entry.bundle.absolute().name / f"{task}{way}"
            config = _config(task, entry.similarity, values)
            for sequence in sequences:
                job = SequenceJob(
                    *(sequence, FORMAT_OF_TASK[task], config, entry.bundle),
                    *(values["backend"], threads, output),
                )
                jobs.setdefault(job, []).append((entry.name, task))
    return jobs


def _config(task: str, similarity: str, values: dict[str, Any]) -> TaskConfig:
    config = TASK_TABLE[task].config()
    if isinstance(config, TrackedConfig):
        # The paper's association, whose appearance stands alone where motion is off.
        return replace(
            config, preset="unitrack", use_motion=values["motion"], similarity=similarity
        )
    if isinstance(config, PropagatedConfig):
        return replace(config, focus="off")
    if isinstance(config, SotConfig):
        return replace(config, focus="off", head=values["sot_head"])
    return config
