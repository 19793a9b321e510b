"""Options that `cli bench` and `cli parity` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import RequestError
from ..runtime.backends import BACKENDS
from .export import read_sizes

if TYPE_CHECKING:
    from ..runtime.bundle import Bundle


def read_size(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """HxW, as in 608x1088, or nothing."""
    return None if value is None else read_sizes(ctx, parameter, (value,))[0]


def backend_option(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `--backend`, repeatable.

    Args:
        default: What stands for it where it is not given, for the help text.
    """
    return click.option(
        "--backend",
        "backends",
        type=click.Choice(list(BACKENDS)),
        multiple=True,
        help=f"What runs the graphs; repeatable.  [default: {default}]",
    )


weights_option = click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Checkpoint that the bundle was exported from, for PyTorch.  [default: where the "
    "bundle's record says]",
)

threads_option = click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="CPU threads.  [default: all that this process may use]",
)


def check_size(bundle: Bundle, size_hw: tuple[int, int]) -> None:
    """Refuse an image size that a bundle does not take.

    Raises:
        RequestError: Names the sizes that it takes.
    """
    sizes = bundle.spec.sizes_hw
    if sizes and size_hw not in sizes:
        taken = ", ".join(f"{height}x{width}" for height, width in sizes)
        raise RequestError(f"--size {size_hw[0]}x{size_hw[1]}: bundle {bundle.path} takes {taken}")
