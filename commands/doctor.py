"""`cli doctor`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..runtime.tables import TextTable, markdown
from .console.report import Report, ReportOutput
from .options.shared import report_options

if TYPE_CHECKING:
    from ..runtime.diagnostics import Fact


@click.command("doctor")
@click.argument("bundles", nargs=-1, type=click.Path(path_type=Path))
@report_options
def command(bundles: tuple[Path, ...], report_to: ReportOutput) -> None:
    """Show what this machine has, which bundles run on it, and how to fix the rest.

    Looks at the BUNDLES named, or at all in the folder bundles/.
    """
    from ..runtime.diagnostics import bundle_facts, find_bundles, machine_facts

    machine = machine_facts()
    found = {str(path): bundle_facts(path) for path in bundles or find_bundles(Path("bundles"))}
    data = {
        "machine": [asdict(fact) for fact in machine],
        "bundles": {
            path: [{**asdict(fact), "name": fact.name.strip()} for fact in facts]
            for path, facts in found.items()
        },
    }
    lines = _lines(machine)
    for facts in found.values():
        lines += ["", *_lines(facts)]
    if not found:
        lines += ["", "no bundle here: write one with `cli export --backbone NAME`"]
    head = ("name", "value", "hint")
    every = [fact for facts in (machine, *found.values()) for fact in facts]
    rows = [(fact.name.strip(), fact.value, fact.hint) for fact in every]
    document = markdown(TextTable(head, rows, left=len(head)))
    report_to.show(Report(data, heading=lines, document=document))


def _lines(facts: list[Fact]) -> list[str]:
    """Name and value in columns, and what to do about it in brackets."""
    width = max(len(fact.name) for fact in facts) + 2
    return [
        f"{fact.name:<{width}}{fact.value}" + (f"  ({fact.hint})" if fact.hint else "")
        for fact in facts
    ]
