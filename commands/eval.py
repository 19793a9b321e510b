"""`cli eval`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import DetectionError, RequestError, UnitrackError
from ..runtime.paths import DEFAULT_BACKBONE, default_bundle
from ..tracking.config import MODEL_SETTINGS, DetectorConfig
from .console.report import Report, ReportOutput
from .options.shared import (
    bundle_options,
    executor_options,
    onnx_backend_option,
    output_option,
    report_options,
    sequence_options,
)
from .options.track import SectionedCommand, config_options, task_config, task_options

if TYPE_CHECKING:
    from ..evaluation.datasets.base import Sequence
    from ..evaluation.datasets.registry import DatasetFormat
    from ..evaluation.runner.jobs import SequenceRecord
    from ..runtime.tables import TextTable


TASKS = ("sot", "vos", "mot", "mots", "posetrack")
DETECT = "detect"
LAYOUTS = (
    *("otb", "lasot", "got10k", "trackingnet", "davis", "youtube-vos"),
    *("mot", "kitti", "mots", "posetrack", "coco"),
)
OF_DETECT = ("detector", "pose_model", *MODEL_SETTINGS)
NOT_OF_DETECT = ("bundle", "backbone", "results", "detections", "executor")
Failures = dict[str, UnitrackError]


@click.command("eval", cls=SectionedCommand)
@click.option(
    "--task",
    type=click.Choice((*TASKS, DETECT)),
    required=True,
    help="What to measure; detect: a detector alone.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Root of the data set, in its official layout; part of it is enough.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(LAYOUTS),
    help="Layout of the data; of detect: mot, coco or posetrack.  [default: recognised; mot for "
    "detect]",
)
@sequence_options
@bundle_options
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    help="Score the results in this folder instead of tracking; one file or folder a sequence.",
)
@click.option(
    "--detections",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of SEQUENCE.txt or .json, in place of the data set's own detections.",
)
@config_options(DetectorConfig, "The detector of --task detect", only=OF_DETECT)
@onnx_backend_option
@executor_options
@output_option(
    "Folder of results and records; recorded sequences are not run again.  "
    "[default: runs/eval-TASK-DATA-BUNDLE; with --results: none]"
)
@report_options
@task_options
def command(task: str, format_name: str | None, report_to: ReportOutput, **values: Any) -> None:
    """Measure accuracy on a benchmark, as its official tool does.

    Tracks every sequence and scores it, or only scores with --results. Finished sequences are
    recorded: the same command continues where it stopped, and repeats the sequences whose bundle,
    parameters or data changed.

    \b
    Examples:
      cli eval --task mot --data MOT17 --split train --backbone imagenet-r18 --jobs 2
      cli eval --task vos --data DAVIS --split 2017/val
      cli eval --task sot --data OTB100 --sequence Car4 --sot-head xcorr
      cli eval --task mot --data MOT17 --split train --results my-tracker/
      cli eval --task detect --detector yolox.onnx --format coco --data coco/ --split val2017
    """
    if task == DETECT:
        _detect(format_name or "mot", report_to, values)
        return
    given = [name for name in OF_DETECT if values[name] is not None]
    if given:
        flag = f"--{given[0].replace('_', '-')}"
        raise RequestError(f"{flag} belongs to --task detect, got --task {task}")
    if format_name == "coco":
        raise RequestError(f"--format coco belongs to --task detect, got --task {task}")
    from ..evaluation.datasets.registry import FORMAT_OF_TASK, FORMATS, format_of
    from .console.steps import raise_failures

    asked = format_name
    format_name = format_name or format_of(task, values["data"], values["split"])
    row = FORMATS[format_name]
    if row.task != task:
        raise RequestError(
            f"--format {format_name} is of task {row.task}, got --task {task}: "
            f"give --format {FORMAT_OF_TASK[task]}"
        )
    measure = _score if values["results"] is not None else _track
    sequences = chosen_sequences(row, values, asked)
    records, failures, setting = measure(sequences, task, format_name, values)
    summary = _summary(row, records, failures, {"task": task, "format": format_name, **setting})
    if setting["output"] is not None:
        _write_summary(Path(setting["output"]), summary)
    before = len(summary["recorded_before"])
    earlier = [f"{before} of {len(records)} sequences are from an earlier run"] if before else []
    report_to.show(Report(summary, [_table(row, records)], notes=[*earlier, *summary["notes"]]))
    raise_failures(failures, len(sequences))


def _detect(format_name: str, report_to: ReportOutput, values: dict[str, Any]) -> None:
    """Measure a detector alone."""
    from rich.progress import track as progress

    from ..evaluation.datasets.base import choose, first_frames
    from ..evaluation.datasets.detection import DETECTION_FORMATS
    from ..evaluation.runner.detection import DetectorChoice, Found, measure, table_of
    from .console.bundles import ensure_detector

    wrong = [name for name in NOT_OF_DETECT if values[name] is not None]
    if wrong or values["jobs"] != 1:
        flag = wrong[0] if wrong else "jobs"
        raise RequestError(f"--task detect runs no tracker and one detector: leave out --{flag}")
    if format_name not in DETECTION_FORMATS:
        raise RequestError(
            f"--format {format_name} has no boxes of all objects: --task detect takes "
            f"{', '.join(DETECTION_FORMATS)}"
        )
    config = DetectorConfig(**{name: values[name] for name in OF_DETECT})
    choice = DetectorChoice(config.with_defaults(("mot",)), values["backend"])
    row = DETECTION_FORMATS[format_name]
    sequences = choose(row.read(values["data"], values["split"]), values["names"])
    sequences = [first_frames(sequence, values["max_frames"]) for sequence in sequences]
    for sequence in sequences:
        if sequence.truth is None or not sequence.images:
            lacking = "images" if sequence.truth is not None else "ground truth"
            raise DetectionError(f"{sequence.name}: no {lacking}; choose others with --sequence")
    ensure_detector(choice.detector, choice.config.pose_model)
    together, results = Found(), {}
    for sequence in sequences:
        objects = row.objects(sequence)
        shown = progress(objects, sequence.name, console=_error_console(), transient=True)
        results[sequence.name] = measure(choice, shown)
        together.add(results[sequence.name])
    notes = [note for s in sequences for note in s.notes] + together.notes()
    summary = {
        "task": DETECT,
        "format": format_name,
        "detector": choice.detector,
        "sequences": [{"name": name, **found.values()} for name, found in results.items()],
        "combined": together.values(),
        "notes": notes,
    }
    if values["output"] is not None:
        _write_summary(values["output"], summary)
    report_to.show(Report(summary, [table_of(results, together)], notes=notes))


def _error_console() -> Any:
    from rich.console import Console

    console = Console(stderr=True)
    console.quiet = not console.is_terminal
    return console


def chosen_sequences(
    row: DatasetFormat, values: dict[str, Any], asked: str | None = None
) -> list[Sequence]:
    """The sequences that `sequence_options` and `--detections` name.

    Args:
        row: How the data is read.
        values: Of the options.
        asked: The layout that `--format` names; None: it was recognised.
    """
    from ..evaluation.datasets.base import choose, first_frames
    from ..evaluation.datasets.registry import read_sequences

    every = read_sequences(row.task, asked, values["data"], values["split"])
    sequences = choose(every, values["names"])
    sequences = [first_frames(sequence, values["max_frames"]) for sequence in sequences]
    folder: Path | None = values["detections"]
    if folder is None:
        return sequences
    if values["results"] is not None or row.task in ("sot", "vos"):
        raise RequestError("--detections is for tracking with mot, mots or posetrack: leave it out")
    return [replace(s, detections=_detections(folder, s.name)) for s in sequences]


def _detections(folder: Path, name: str) -> Path:
    places = [folder / f"{name}.{ending}" for ending in ("txt", "json")]
    found = [place for place in places if place.is_file()]
    if len(found) != 1:
        got = "no" if not found else "two"
        raise DetectionError(
            f"--detections {folder}: {got} file of {name}, expected {name}.txt or {name}.json"
        )
    return found[0]


def _score(
    sequences: list[Sequence], task: str, format_name: str, values: dict[str, Any]
) -> tuple[list[SequenceRecord], Failures, dict[str, Any]]:
    """Score what is there."""
    from ..evaluation.runner.jobs import score_results

    del task
    if values["bundle"] is not None or values["backbone"] is not None:
        raise RequestError("--results are scored as they are: leave out --bundle and --backbone")
    folder: Path = values["results"]
    if not folder.is_dir():
        raise DetectionError(f"--results {folder}: there is no such folder")
    records: list[SequenceRecord] = []
    failures: Failures = {}
    for sequence in sequences:
        try:
            records.append(score_results(sequence, format_name, folder))
        except UnitrackError as error:
            failures[sequence.name] = error
    output = values["output"]
    return records, failures, {"results": str(folder), "output": output and str(output)}


def _track(
    sequences: list[Sequence], task: str, format_name: str, values: dict[str, Any]
) -> tuple[list[SequenceRecord], Failures, dict[str, Any]]:
    """Track and score, or take what is recorded."""
    from ..evaluation.datasets.base import check_trackable
    from ..evaluation.runner.executors import threads_of
    from ..evaluation.runner.jobs import SequenceJob
    from ..runtime.bundle.bundle import Bundle
    from .console.steps import run_jobs

    if values["bundle"] is not None and values["backbone"] is not None:
        raise RequestError("--bundle and --backbone name two bundles: give one of them")
    name = values["backbone"] or DEFAULT_BACKBONE
    bundle: Path = values["bundle"] or default_bundle(name)
    config = task_config(task, values)
    check_trackable(sequences)
    if values["bundle"] is None and not bundle.exists():
        from .console.bundles import ensure_bundle

        ensure_bundle(bundle, name)
    # What no sequence can be tracked with is no failure of every one of them.
    Bundle.load(bundle)
    default = f"eval-{task}-{values['data'].absolute().name}-{bundle.absolute().name}"
    output: Path = values["output"] or Path("runs") / default
    threads = threads_of(values["jobs"])
    jobs = [
        SequenceJob(sequence, format_name, config, bundle, values["backend"], threads, output)
        for sequence in sequences
    ]
    records, failed = run_jobs(
        jobs, values["executor"], values["jobs"], lambda job: job.sequence.name
    )
    failures = {jobs[number].sequence.name: error for number, error in failed.items()}
    setting = {"bundle": str(bundle), "parameters": asdict(config), "output": str(output)}
    return list(records.values()), failures, setting


def _summary(
    row: DatasetFormat, records: list[SequenceRecord], failures: Failures, setting: dict[str, Any]
) -> dict[str, Any]:
    from ..evaluation.runner.report import summary_of

    failed = {name: str(error) for name, error in failures.items()}
    return {**setting, **summary_of(row, records), "failed": failed}


def _table(row: DatasetFormat, records: list[SequenceRecord]) -> TextTable:
    from ..evaluation.runner.report import cell, combined_rows, sequence_rows
    from ..runtime.tables import TextTable

    lines = [line for record in records for line in sequence_rows(row, record)]
    lines += combined_rows(row, records)
    left = 2 if any(line.group for line in lines) else 1
    table = []
    for line in lines:
        values = {} if line.score is None else line.score.values
        cells = [cell(c, values[c]) if c in values else "–" for c in row.columns]
        table.append([*(line.name, line.group)[:left], str(line.frames), *cells])
    return TextTable([*("sequence", "class")[:left], "frames", *row.columns], table, left)


def _write_summary(output: Path, summary: dict[str, Any]) -> None:
    from ..runtime.writers.base import make_folder, write_json_atomic

    make_folder(output)
    write_json_atomic(output / "summary.json", summary)
