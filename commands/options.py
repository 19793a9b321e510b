"""Options of the heads, made from their configuration classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from ..errors import RequestError
from ..heads.config import CONFIGS, HeadConfig
from ..runtime.tensorrt_library import FLAVOURS


def head_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--TASK-PARAMETER` for every parameter of every task."""
    for task, config in reversed(CONFIGS.items()):
        for parameter in reversed(fields(config)):
            name = f"--{task}-{parameter.name.replace('_', '-')}"
            if isinstance(parameter.default, bool):
                name = f"{name}/--{task}-no-{parameter.name.replace('_', '-')}"
            option = click.option(
                name,
                f"{task}_{parameter.name}",
                default=parameter.default,
                show_default=True,
                type=type(parameter.default),
                help=parameter.metadata["help"],
            )
            function = option(function)
    return function


def head_config(task: str, values: dict[str, Any]) -> HeadConfig:
    """The configuration of a task from the values of all options.

    Raises:
        RequestError: A value is out of range.
    """
    config = CONFIGS[task]
    chosen = {p.name: values[f"{task}_{p.name}"] for p in fields(config)}
    for name, value in chosen.items():
        if isinstance(value, float) and not math.isfinite(value):
            flag = f"--{task}-{name.replace('_', '-')}"
            raise RequestError(f"{flag} {value}: expected a finite number")
    return config(**chosen)


def is_head_option(name: str) -> bool:
    """Whether an option of a command was made by `head_options`."""
    return any(
        name == f"{task}_{parameter.name}"
        for task, config in CONFIGS.items()
        for parameter in fields(config)
    )


def engine_options(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `--engine`, `--target` and `--workspace`.

    Args:
        required: Whether a flavour must be named.
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
                type=click.Choice(FLAVOURS),
                required=required,
                help="Flavour of TensorRT that builds the engines.",
            ),
        ):
            function = option(function)
        return function

    return decorate


class SectionedCommand(click.Command):
    """Shows the options of each task under a heading of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the option sections of the help text."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or isinstance(parameter, click.Argument):
                continue
            task = (parameter.name or "").split("_")[0]
            title = f"Parameters of --task {task}" if task in CONFIGS else "Options"
            sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
