"""Options of `cli track` for watching and recording a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., Any])

LIVE = ("serve", "serve_token", "jsonl")
"""The parameters that `runtime.live_outputs.LiveRequest` takes, by the same names."""


def live_options(function: _Function) -> _Function:
    """Add --serve, --serve-token, --jsonl and --segment to a command."""
    options = (
        click.option(
            "--serve",
            metavar="[HOST:]PORT",
            help="Show the run in a browser, and let it start tracks of sot and vos. Without "
            "HOST, this machine alone can look; another one needs a token.",
        ),
        click.option(
            "--serve-token",
            metavar="TOKEN",
            help="What viewers must know.  [default: the variable UNITRACK_TOKEN]",
        ),
        click.option(
            "--jsonl",
            metavar="FILE|-",
            help="Write a line of JSON a frame to a file, or with - to the standard output.",
        ),
        click.option(
            "--segment",
            "segment_minutes",
            type=float,
            metavar="MINUTES",
            help="Cut results and video into files of so many minutes of the source.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function
