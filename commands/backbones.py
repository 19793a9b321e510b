"""`cli backbones`."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..export.backbones.table import BACKBONES
from ..runtime.tables import TextTable
from .console.report import Report, ReportOutput
from .options.shared import report_options


@click.command("backbones")
@report_options
def command(report_to: ReportOutput) -> None:
    """List the backbones that `cli export --backbone NAME` takes.

    "manual" sources cannot be downloaded by a program: `cli export` says where to get the file,
    and takes it with --weights.
    """
    head = ("name", "architecture", "weights", "licence of the weights", "trained")
    rows = [(b.name, b.arch, b.source, b.licence, b.note) for b in BACKBONES.values()]
    data = [{**asdict(row), "source": row.source} for row in BACKBONES.values()]
    report_to.show(Report(data, [TextTable(head, rows, left=len(head))]))
