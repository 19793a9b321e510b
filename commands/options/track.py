"""Options made from configuration classes: a field is an option, its help text beside it."""

from __future__ import annotations

import math
import shlex
import types
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import click

from ...errors import RequestError
from ...heads.config import PresetNumber, TaskConfig, shown_default
from ...tracking.config import PER_SOURCE, TrackConfig
from ...tracking.registry import TASKS

NAME = "{name}"
"""Stands for a source's short name in an option that is given once for each source."""

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Config = TypeVar("_Config")


class SectionedOption(click.Option):
    """An option that the help text lists under a heading of its own."""

    def __init__(self, *args: Any, section: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section


class SectionedCommand(click.Command):
    """Shows each `SectionedOption` under its heading, and all others under 'Options'."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the option sections of the help text."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or isinstance(parameter, click.Argument):
                continue
            sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def config_options(
    config: type[Any], section: str, prefix: str = "", only: Sequence[str] | None = None
) -> Callable[[_Function], _Function]:
    """Add an option for every field of a configuration class that has a help text.

    Args:
        config: A dataclass.
        section: Heading in the help text.
        prefix: Put before the names of fields, as `mot_`.
        only: Names of the fields that are wanted; None: all.
    """

    def decorate(function: _Function) -> _Function:
        hints = get_type_hints(config)
        for parameter in reversed(fields(config)):
            if "help" in parameter.metadata and (only is None or parameter.name in only):
                hint, default = hints[parameter.name], shown_default(config, parameter.name)
                function = _option(parameter, hint, section, prefix, default)(function)
        return function

    return decorate


def task_options(function: _Function) -> _Function:
    """Add `--TASK-PARAMETER` for every parameter of every task."""
    for task, spec in reversed(TASKS.items()):
        title = f"Parameters of --task {task}"
        function = config_options(spec.config, title, f"{task}_")(function)
    return function


def _option(
    parameter: Field[Any], hint: Any, section: str, prefix: str, shown: str | None
) -> Callable[[_Function], _Function]:
    name = prefix + parameter.name
    metadata, default = parameter.metadata, parameter.default
    flag = metadata.get("flag") or f"--{name.replace('_', '-')}"
    attributes: dict[str, Any] = {"help": metadata["help"], "metavar": metadata.get("metavar")}
    kind = _kind_of(hint)
    if parameter.name in PER_SOURCE and not prefix:
        attributes |= {"multiple": True, "type": str}
    elif kind is bool:
        if default or default is None:
            flag = f"{flag}/--{prefix.replace('_', '-')}no-{parameter.name.replace('_', '-')}"
        attributes |= {"is_flag": True, "default": default}
        attributes["help"] += "  [default: on]" if default else ""
    else:
        attributes["type"] = _type_of(kind, metadata)
        if isinstance(attributes["type"], click.IntRange):
            attributes["metavar"] = attributes["metavar"] or "INTEGER"
        if default is not None and default is not MISSING:
            attributes |= {"default": default, "show_default": True}
        elif shown is not None:
            attributes["help"] += f"  [default: {shown}]"
    return click.option(flag, name, cls=SectionedOption, section=section, **attributes)


def _kind_of(hint: Any) -> Any:
    """`float | None` is float."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(kind for kind in get_args(hint) if kind is not type(None))
    return hint


def _type_of(kind: Any, metadata: Any) -> Any:
    if metadata.get("choices"):
        return click.Choice(metadata["choices"])
    if metadata.get("least") is not None:
        return click.IntRange(metadata["least"], metadata["most"])
    path = metadata.get("path")
    if path is None and kind is not Path:
        return kind
    return click.Path(
        file_okay=path != "folder",
        dir_okay=path in (None, "folder"),
        allow_dash=path == "file or -",
        path_type=kind,
    )


def config_from(config: type[_Config], values: dict[str, Any], prefix: str = "") -> _Config:
    """A configuration from the values of the options that `config_options` made.

    Raises:
        RequestError: A value is out of range.
    """
    chosen = {}
    for parameter in fields(config):  # type: ignore[arg-type]
        name = prefix + parameter.name
        if name not in values:
            continue
        value = chosen[parameter.name] = values[name]
        if isinstance(value, float) and not math.isfinite(value):
            flag = parameter.metadata.get("flag") or f"--{name.replace('_', '-')}"
            raise RequestError(f"{flag} {value}: expected a finite number")
    return config(**chosen)


def command_line(config: TrackConfig) -> str:
    """The `cli track` that asks for a run over one source: every field not at its default."""
    (source,) = config.sources
    words = ["cli", "track", source.source]
    words += [word for task in config.task_names for word in ("--task", task)]
    parts: list[tuple[Any, str]] = [(source, ""), (config.detector, ""), (config.run, "")]
    parts += [(task, f"{task.task}_") for task in config.tasks]
    for values, prefix in parts:
        for parameter in fields(values):
            value = getattr(values, parameter.name)
            changed = value != parameter.default and not isinstance(value, PresetNumber)
            if changed and "help" in parameter.metadata:
                words += _words(parameter, prefix, value)
    return shlex.join(words)


def _words(parameter: Field[Any], prefix: str, value: object) -> list[str]:
    name = (prefix + parameter.name).replace("_", "-")
    if isinstance(value, bool):
        prefix = prefix.replace("_", "-")
        return [f"--{name}" if value else f"--{prefix}no-{name.removeprefix(prefix)}"]
    return [parameter.metadata.get("flag") or f"--{name}", str(value)]


def task_config(task: str, values: dict[str, Any]) -> TaskConfig:
    """The parameters of a task from the values of all options.

    Raises:
        RequestError: A value is out of range.
    """
    return config_from(TASKS[task].config, values, f"{task}_")


def check_unused(tasks: Sequence[str], values: dict[str, Any]) -> None:
    """Refuse parameters of tasks that are not run.

    Args:
        tasks: Those that are run.
        values: Of all options.

    Raises:
        RequestError: One is not at its default.
    """
    for task in (task for task in TASKS if task not in tasks):
        given, usual = task_config(task, values), TASKS[task].config()
        for parameter in fields(usual):
            if getattr(given, parameter.name) != getattr(usual, parameter.name):
                raise RequestError(
                    f"--{task}-{parameter.name.replace('_', '-')} belongs to task {task}, which is "
                    f"not run: add --task {task}, or leave it out"
                )


def one_each(flag: str, values: Sequence[str], names: Sequence[str]) -> list[str | None]:
    """What an option that is repeated for each source says for each of them.

    Args:
        flag: The option, for messages.
        values: As given, in their order; an empty one says nothing.
        names: The sources' short names, in theirs.

    Returns:
        One a source: None where the option was not given at all.

    Raises:
        RequestError: Neither one a source, nor one with `{name}` in it.
    """
    if not values:
        return [None] * len(names)
    if len(values) == 1 and NAME in values[0]:
        return [values[0].replace(NAME, name) for name in names]
    if len(values) != len(names):
        raise RequestError(
            f"{flag} was given {len(values)} times for {len(names)} sources: give it once each, in "
            f"their order, or once with {NAME} in it ({NAME} is {names[0]} for the first)"
        )
    return [value.replace(NAME, name) or None for value, name in zip(values, names, strict=True)]
