"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import RequestError
from ...runtime.bundle.bundle import Bundle
from ...runtime.inference.registry import BACKENDS
from ...runtime.inference.tensorrt.library import VARIANTS

if TYPE_CHECKING:
    from ...runtime.bundle.bundle import Bundle


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


def read_sizes(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[int, int], ...]:
    """HxW, as in 608x1088; anything else is wrong usage."""
    sizes = []
    for value in values:
        match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", value)
        if match is None:
            raise click.BadParameter(
                f"{value!r}: expected HEIGHTxWIDTH such as 608x1088", ctx, parameter
            )
        sizes.append((int(match[1]), int(match[2])))
    return tuple(sizes)


def engine_options(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `--engine`, `--target` and `--workspace`.

    Args:
        required: Whether a variant must be named.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--workspace",
                type=click.IntRange(min=1),
                metavar="MiB",
                help="Most memory that a layer of an engine may use for itself.  "
                "[default: TensorRT's]",
            ),
            click.option(
                "--target",
                "targets",
                multiple=True,
                metavar="GPU",
                help="What engines are for: current, or with tensorrt-rtx sm75, sm80, sm86, sm89, "
                "sm120, sm121, portable; repeatable.  [default: the GPU in this machine; "
                "tensorrt-rtx where there is none: portable]",
            ),
            click.option(
                "--engine",
                type=click.Choice(VARIANTS),
                required=required,
                help="Variant of TensorRT that builds the engines.",
            ),
        ):
            function = option(function)
        return function

    return decorate
