"""`cli compare-trackers`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from ..errors import UnitrackError
from ..runtime.paths import DEFAULT_BACKBONE, default_bundle
from .console.bundles import ensure_bundle
from .console.report import Report, ReportOutput
from .eval import chosen_sequences
from .options.shared import (
    bundle_options,
    onnx_backend_option,
    report_options,
    sequence_options,
    threads_option,
)


@click.command("compare-trackers")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Root of a MOTChallenge data set with ground truth; part of it is enough.",
)
@click.option(
    "--detections",
    type=click.Path(path_type=Path),
    help="Folder of SEQUENCE.txt, in place of the data set's own detections.",
)
@sequence_options
@bundle_options
@onnx_backend_option
@threads_option
@report_options
def command(report_to: ReportOutput, **values: Any) -> None:
    """Compare our tracking of boxes with other packages' trackers.

    Runs both presets of task mot, and those of the packages trackers, boxmot and norfair that are
    installed, on the same detections, each with its defaults, and scores them with TrackEval. The
    times leave out decoding and the backbone. Peers that use scores get them as probabilities and,
    where the file holds others, also as they are; their better result is shown.

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

    sequences = chosen_sequences(FORMATS["mot"], {**values, "results": None})
    check_trackable(sequences)
    if values["bundle"] is not None and values["backbone"] is not None:
        raise UnitrackError("--bundle and --backbone name two bundles: give one of them")
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
