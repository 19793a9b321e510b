"""Options that several commands share: one definition, one help text and one meaning each.

`--json` and `--markdown` print the result, `--json-file` and `--markdown-file` write it, `--output`
names a folder. Imports nothing heavy.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import RequestError
from ...runtime.inference.registry import BACKENDS, MOST_THREADS
from ...runtime.paths import DEFAULT_BACKBONE
from ..console.report import ReportOutput

if TYPE_CHECKING:
    from ...runtime.bundle.bundle import Bundle


VARIANTS = tuple(row.variant for row in BACKENDS.values() if row.variant)
"""Of TensorRT."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def options(*decorators: Decorator) -> Decorator:
    """Several options as one decorator, listed in the help text in the order given."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


class FiniteRange(click.FloatRange):
    """A range of numbers; `click.FloatRange` lets NaN through, which no comparison refuses."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; see `click.FloatRange`."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


# What a command works on.

bundle_argument = click.argument("bundle", type=click.Path(file_okay=False, path_type=Path))

bundle_options = options(
    click.option(
        "--bundle",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder written by `cli export`.",
    ),
    click.option(
        "--backbone",
        help="Use bundles/BACKBONE, exported first if it is missing.  [default: "
        f"{DEFAULT_BACKBONE}]",
    ),
)

weights_option = click.option(
    "--weights",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Checkpoint that the bundle was exported from, for PyTorch.  [default: where the "
    "bundle's record says]",
)


def _check_split(_ctx: click.Context, _parameter: click.Parameter, split: str | None) -> str | None:
    """Refuse what no folder can be called, which all layouts take for one."""
    if split is not None and not all(0 < len(os.fsencode(p)) < 256 for p in split.split("/")):
        raise click.BadParameter(f"{split[:40]!r}: expected a name such as train or 2017/val")
    return split


sequence_options = options(
    click.option(
        "--split",
        callback=_check_split,
        help="Part of the data set, such as train, val or 2017/val.",
    ),
    click.option("--sequence", "names", multiple=True, help="This sequence only; repeatable."),
    click.option(
        "--max-frames", type=click.IntRange(min=1), help="First frames of every sequence only."
    ),
)


def layer_option(*, multiple: bool = False) -> Decorator:
    """`--layer`, where a ResNet is cut.

    Args:
        multiple: Whether it may be repeated, as parameter `layers`.
    """
    return click.option(
        "--layer",
        "layers" if multiple else "layer",
        type=click.Choice(["layer3", "layer4"]),
        multiple=multiple,
        default=["layer3"] if multiple else "layer3",
        show_default=True,
        help="Where a ResNet is cut" + ("; repeat it to compare both." if multiple else "."),
    )


def size_option(meaning: str, *, multiple: bool = False) -> Decorator:
    """`--size HxW`.

    Args:
        meaning: The help text.
        multiple: Whether it may be repeated: parameter `sizes`, a tuple of (height, width), instead
            of `size_hw`, one of them or None.
    """
    return click.option(
        "--size",
        "sizes" if multiple else "size_hw",
        callback=_read_sizes if multiple else _read_size,
        multiple=multiple,
        metavar="HxW",
        help=meaning,
    )


def _read_size(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    return None if value is None else _read_sizes(ctx, parameter, (value,))[0]


def _read_sizes(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[int, int], ...]:
    sizes = []
    for value in values:
        match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", value)
        if match is None:
            raise click.BadParameter(
                f"{value!r}: expected HEIGHTxWIDTH such as 608x1088", ctx, parameter
            )
        sizes.append((int(match[1]), int(match[2])))
    return tuple(sizes)


def check_size(bundle: Bundle, size_hw: tuple[int, int]) -> None:
    """Refuse an image size that a bundle does not take.

    Raises:
        RequestError: Names the sizes that it takes.
    """
    sizes = bundle.spec.sizes_hw
    if sizes and size_hw not in sizes:
        taken = ", ".join(f"{height}x{width}" for height, width in sizes)
        raise RequestError(f"--size {size_hw[0]}x{size_hw[1]}: bundle {bundle.path} takes {taken}")


# What runs it.


def backends_option(default: str) -> Decorator:
    """`--backend`, repeatable, as parameter `backends`.

    Args:
        default: What is used where it is not given, for the help text.
    """
    return click.option(
        "--backend",
        "backends",
        type=click.Choice(list(BACKENDS)),
        multiple=True,
        help=f"Backend that runs the graphs; repeatable.  [default: {default}]",
    )


onnx_backend_option = click.option(
    "--backend",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Backend that runs the graphs; there is no fallback.",
)

threads_option = click.option(
    "--threads",
    type=click.IntRange(0, MOST_THREADS),
    default=0,
    metavar="N",
    show_default=True,
    help="CPU threads; 0: all cores that this process may use.",
)

executor_options = options(
    click.option(
        "--executor",
        type=click.Choice(["serial", "processes", "ray"]),
        help="How sequences are processed; ray: the cluster at RAY_ADDRESS, or one on this "
        "machine.  [default: serial, or processes with --jobs]",
    ),
    click.option(
        "--jobs",
        type=click.IntRange(1, MOST_THREADS),
        default=1,
        show_default=True,
        help="Number of sequences in parallel; the CPU cores are divided among them.",
    ),
)


def engine_options(*, required: bool) -> Decorator:
    """`--engine`, `--target` and `--workspace`.

    Args:
        required: Whether `--engine` must be given.
    """
    return options(
        click.option(
            "--engine",
            type=click.Choice(VARIANTS),
            required=required,
            help="Variant of TensorRT that builds the engines.",
        ),
        click.option(
            "--target",
            "targets",
            multiple=True,
            metavar="GPU",
            help="GPU to build for: current, or with tensorrt-rtx sm75, sm80, sm86, sm89, "
            "sm120, sm121, portable; repeatable.  [default: the GPU in this machine; "
            "tensorrt-rtx where there is none: portable]",
        ),
        click.option(
            "--workspace",
            type=click.IntRange(min=1),
            metavar="MiB",
            help="Maximum scratch memory of one layer.  [default: TensorRT's]",
        ),
    )


# Where results go.


def output_option(meaning: str, default: str | None = None) -> Decorator:
    """`--output`, always a folder.

    Args:
        meaning: The help text.
        default: Its default; None: the command chooses, and `meaning` says what.
    """
    return click.option(
        "--output",
        type=click.Path(file_okay=False, path_type=Path),
        default=None if default is None else Path(default),
        show_default=default is not None,
        help=meaning,
    )


force_option = click.option("--force", is_flag=True, help="Replace an existing bundle.")


def report_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`, `--json-file`, `--markdown` and `--markdown-file`, as one parameter `report_to`."""

    @functools.wraps(function)
    def with_report(**values: Any) -> Any:
        names = ("as_json", "json_file", "as_markdown", "markdown_file")
        chosen = {name: values.pop(name) for name in names}
        return function(report_to=ReportOutput(**chosen), **values)

    file = click.Path(dir_okay=False, path_type=Path)
    return options(
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables."),
        click.option("--json-file", type=file, metavar="FILE", help="Write the JSON to a file."),
        click.option(
            "--markdown", "as_markdown", is_flag=True, help="Print Markdown instead of tables."
        ),
        click.option(
            "--markdown-file", type=file, metavar="FILE", help="Write the Markdown to a file."
        ),
    )(with_report)


class FormerReportFiles(click.Command):
    """Accepts the former spelling `--json FILE.json` and `--markdown FILE.md`, with a note.

    Also `--json=FILE`. Without `=`, only a name with that ending is taken for a file, since an
    argument of the command may follow a flag.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments after putting the former spelling into the present one."""
        return super().parse_args(ctx, list(_present_spelling(args)))


def _present_spelling(args: list[str]) -> Iterator[str]:
    endings = {"--json": ".json", "--markdown": ".md"}
    waiting = list(args)
    while waiting:
        arg = waiting.pop(0)
        flag, equals, value = arg.partition("=")
        if arg == "--":
            yield from (arg, *waiting)
            return
        if flag not in endings:
            yield arg
            continue
        if not equals and waiting and waiting[0].lower().endswith(endings[flag]):
            equals, value = "=", waiting.pop(0)
        if equals:
            click.echo(f"note: write {flag}-file {value}: {flag} prints", err=True)
            yield from (f"{flag}-file", value)
        else:
            yield arg
