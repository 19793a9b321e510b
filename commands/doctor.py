"""`cli doctor`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from ..runtime.diagnostics import Fact


@click.command("doctor")
@click.argument("bundles", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def command(bundles: tuple[Path, ...], as_json: bool) -> None:
    """Show what this machine has, which bundles run on it, and what mends the rest.

    Looks at the BUNDLES named, or at all in the folder bundles/.
    """
    from ..runtime.diagnostics import bundle_facts, find_bundles, machine_facts

    machine = machine_facts()
    found = {str(path): bundle_facts(path) for path in bundles or find_bundles(Path("bundles"))}
    if as_json:
        data = {
            "machine": [asdict(fact) for fact in machine],
            "bundles": {
                path: [{**asdict(fact), "name": fact.name.strip()} for fact in facts]
                for path, facts in found.items()
            },
        }
        click.echo(json.dumps(data, indent=2))
        return
    from rich.console import Console

    console = Console(highlight=False)
    _print(console, machine)
    for facts in found.values():
        console.print()
        _print(console, facts)
    if not found:
        console.print("\nno bundle here: write one with `cli export --backbone NAME`")


def _print(console: Console, facts: Sequence[Fact]) -> None:
    """Name and value in columns, what to do on a line of its own where it is long."""
    from rich.text import Text

    width = max(len(fact.name) for fact in facts) + 2
    for fact in facts:
        line = Text(f"{fact.name:<{width}}{fact.value}")
        if fact.hint:
            line.append(f"  ({fact.hint})", style="dim")
        console.print(line, soft_wrap=True)
