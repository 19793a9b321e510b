"""`cli compare` and `cli compare-trackers`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import RequestError, UnitrackError
from ..runtime.paths import DEFAULT_BACKBONE, default_bundle
from .console.bundles import ensure_bundle
from .console.report import Report, ReportOutput
from .eval import TASKS, chosen_sequences
from .options.shared import (
    bundle_options,
    executor_options,
    layer_option,
    onnx_backend_option,
    output_option,
    report_options,
    sequence_options,
    threads_option,
)

if TYPE_CHECKING:
    from ..evaluation.datasets.base import Sequence
    from ..evaluation.representations.comparison import Comparison, Correlation
    from ..evaluation.representations.grid import Cells, Entry
    from ..evaluation.runner.jobs import SequenceRecord


@click.command("compare")
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    required=True,
    help="Name as in `cli backbones` (bundles/NAME, exported first if it is missing), or the "
    "folder of a bundle; repeatable.",
)
@layer_option(multiple=True)
@click.option(
    "--data",
    "roots",
    multiple=True,
    required=True,
    metavar="[TASK=]ROOT",
    help="Data of a task, such as vos=DAVIS; repeatable. Without TASK: a folder that has some of "
    "the folders sot, vos, mot, mots, posetrack.",
)
@click.option(
    "--task", "tasks", type=click.Choice(TASKS), multiple=True, help="This task only; repeatable."
)
@sequence_options
@click.option(
    "--similarity",
    "similarities",
    type=click.Choice(["rsm", "pooled", "flattened"]),
    multiple=True,
    default=["rsm"],
    show_default=True,
    help="How association compares appearance; repeat it for the ablation (flattened: mot only).",
)
@click.option(
    "--motion/--no-motion",
    default=False,
    show_default=True,
    help="Use motion and overlap in association too.",
)
@click.option(
    "--sot-head",
    type=click.Choice(["dcf", "xcorr"]),
    default="dcf",
    show_default=True,
    help="Tracker of task sot.",
)
@click.option(
    "--accuracy",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV of name,number: another accuracy to correlate with, such as ImageNet's top-1.",
)
@click.option("--accuracy-label", default="accuracy", show_default=True, help="Its name.")
@onnx_backend_option
@executor_options
@click.option("--plots/--no-plots", default=True, help="Draw the plots.")
@output_option(
    "Folder of tables, plots, page and records; recorded sequences are not run again.",
    "runs/compare",
)
@report_options
def command(backbones: tuple[str, ...], report_to: ReportOutput, **values: Any) -> None:
    """Compare representations over tasks, as the paper does with its fifteen.

    Runs every backbone on every sequence of every task, association without motion cues, and
    ranks them. Writes comparison.csv, .md and .html (one page that opens offline), the radar of
    ranks, and with --accuracy the scatter and its correlations. Your own checkpoint: export it
    with `cli export --weights`, then name its bundle here.

    \b
    Examples:
      cli compare --backbone imagenet-r18 --backbone random-r18 --data mot=MOT16/train
      cli compare --backbone vfs-r18 --layer layer3 --layer layer4 --data vos=DAVIS --jobs 2
      cli compare --backbone bundles/mine --data DATA --similarity rsm --similarity pooled
    """
    from ..evaluation.representations.comparison import (
        comparison_data,
        correlation_table,
        rank_table,
    )
    from ..evaluation.representations.files import write_comparison
    from ..evaluation.representations.grid import Entry, find_bundles, grid_jobs, read_sequences
    from ..evaluation.representations.plots import check_matplotlib
    from .console.steps import raise_failures, run_jobs

    if values["plots"]:
        check_matplotlib()
    accuracy = _accuracy(values["accuracy"])
    data, notes = read_sequences(values)
    entries = [
        Entry(f"{name} {similarity}" if len(values["similarities"]) > 1 else name, path, similarity)
        for name, path in find_bundles(backbones, values["layers"], ensure_bundle)
        for similarity in dict.fromkeys(values["similarities"])
    ]
    places = grid_jobs(entries, data, values)
    jobs = list(places)
    records, failed = run_jobs(
        jobs,
        values["executor"],
        values["jobs"],
        lambda job: f"{job.bundle.name} {job.sequence.name}",
    )
    comparison = _compared(entries, tuple(data), [places[job] for job in jobs], records, failed)
    correlations = _correlations(comparison, accuracy)
    notes += [note for record in records.values() for note in record.notes]
    notes += [f"{_places_of(places[jobs[n]])}: no score, failed: {e}" for n, e in failed.items()]
    notes = list(dict.fromkeys(notes))
    document = write_comparison(
        values["output"],
        comparison,
        correlations,
        _setting(values, data),
        notes,
        plots=values["plots"],
        label=values["accuracy_label"],
    )
    tables = [rank_table(comparison)] + ([correlation_table(correlations)] if correlations else [])
    closing = [f"results: {values['output']}"]
    result = comparison_data(comparison, correlations, notes)
    report_to.show(Report(result, tables, notes=notes, closing=closing, document=document))
    raise_failures(
        {f"{jobs[n].bundle.name} {jobs[n].sequence.name}": e for n, e in failed.items()}, len(jobs)
    )


@click.command("compare-trackers")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Root of a MOTChallenge data set with ground truth; part of it is enough.",
)
@click.option(
    "--detections",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of SEQUENCE.txt, in place of the data set's own detections.",
)
@sequence_options
@bundle_options
@onnx_backend_option
@threads_option
@report_options
def compare_trackers(report_to: ReportOutput, **values: Any) -> None:
    """Compare our tracking of boxes with other packages' trackers.

    Runs task mot as `cli track` does by default, with features of whole frames and with preset
    unitrack, and those of the packages trackers, boxmot and norfair that are installed, on the same
    detections, each with its defaults, and scores them with TrackEval. The times leave out decoding
    and features of whole frames; a note says what these take. Peers are run with scores as
    probabilities, with all detections of 0.5 and more alike, and with raw scores where the file has
    them; the best counts.

    \b
    Examples:
      cli compare-trackers --data MOT15/train --sequence TUD-Campus
      cli compare-trackers --data MOT17 --split train --detections yolox --markdown-file table.md
    """
    from ..evaluation.datasets.base import check_trackable
    from ..evaluation.datasets.registry import FORMATS
    from ..evaluation.runner.jobs import Inputs, prepare_sequence
    from ..evaluation.side_by_side.comparison import (
        Result,
        compare_sequence,
        comparison_data,
        comparison_table,
    )
    from ..evaluation.side_by_side.peers import PEERS
    from ..runtime.bundle.bundle import Bundle
    from ..runtime.inference.runner import GraphRunner

    sequences = chosen_sequences(FORMATS["mot"], {**values, "results": None}, "mot")
    check_trackable(sequences)
    if values["bundle"] is not None and values["backbone"] is not None:
        raise RequestError("--bundle and --backbone name two bundles: give one of them")
    name = values["backbone"] or DEFAULT_BACKBONE
    bundle: Path = values["bundle"] or default_bundle(name)
    ensure_bundle(bundle, None if values["bundle"] else name)
    peers = [peer for peer in PEERS if peer.installed]
    absent = dict.fromkeys(peer.package for peer in PEERS if not peer.installed)
    notes = [f"{package} is not installed, so it is not compared" for package in absent]
    results: dict[str, list[Result]] = {}
    with GraphRunner(Bundle.load(bundle), values["backend"], values["threads"]) as graphs:
        for sequence in sequences:
            with tempfile.TemporaryDirectory() as folder:
                inputs: Inputs = prepare_sequence(sequence, Path(folder))
                found, more = compare_sequence(graphs, sequence, inputs, peers)
            results[sequence.name] = found
            notes += more
    report_to.show(
        Report(comparison_data(results, notes), [comparison_table(results)], notes=notes)
    )


def _accuracy(path: Path | None) -> dict[str, float]:
    from ..evaluation.representations.comparison import read_accuracy

    return {} if path is None else read_accuracy(path)


def _compared(
    entries: list[Entry],
    tasks: tuple[str, ...],
    places: list[Cells],
    records: dict[int, SequenceRecord],
    failed: dict[int, UnitrackError],
) -> Comparison:
    """The scores of all cells; one of which a sequence failed has none."""
    from ..evaluation.datasets.registry import FORMAT_OF_TASK, FORMATS
    from ..evaluation.representations.comparison import Comparison
    from ..evaluation.runner.report import combined_rows

    found: dict[tuple[str, str], list[SequenceRecord]] = {}
    for number, record in records.items():
        for cell in places[number]:
            found.setdefault(cell, []).append(record)
    broken = {cell for number in failed for cell in places[number]}
    cells = {
        (entry, task): combined_rows(FORMATS[FORMAT_OF_TASK[task]], done)
        for (entry, task), done in found.items()
        if (entry, task) not in broken
    }
    return Comparison(tuple(entry.name for entry in entries), tasks, cells)


def _places_of(cells: Cells) -> str:
    """Cells of the comparison, for messages."""
    return ", ".join(f"{entry} {task}" for entry, task in cells)


def _correlations(comparison: Comparison, accuracy: dict[str, float]) -> list[Correlation]:
    from ..evaluation.representations.comparison import correlate

    unknown = set(accuracy) - set(comparison.entries)
    if unknown and not set(accuracy) & set(comparison.entries):
        raise RequestError(
            f"--accuracy names {min(unknown)} and others, none of which is compared: expected "
            f"some of {', '.join(comparison.entries)}"
        )
    return correlate(comparison, accuracy) if accuracy else []


def _setting(values: dict[str, Any], data: dict[str, list[Sequence]]) -> dict[str, str]:
    frames = {t: sum(len(s.numbers) for s in sequences) for t, sequences in data.items()}
    return {
        "data": "; ".join(
            f"{task}: {', '.join(s.name for s in sequences)} ({frames[task]} frames)"
            for task, sequences in data.items()
        ),
        "association": "appearance, motion and overlap" if values["motion"] else "appearance alone",
        "similarity": ", ".join(dict.fromkeys(values["similarities"])),
        "sot head": values["sot_head"],
        "backend": values["backend"],
    }
