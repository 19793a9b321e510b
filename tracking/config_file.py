"""`--config FILE`: what a run is asked for, as YAML or JSON; every `run.json` holds such a config.

sources: [street.mp4, {source: camera0, freeze_s: 3}]
tasks: {mot: {confidence: 0.4}}
detector: {detector: motion}
run: {backend: cpu, save_video: true}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ..errors import RequestError
from ..heads.config import usual_value
from ..runtime.paths import check_regular
from .config import PER_SOURCE, DetectorConfig, RunConfig, SourceConfig
from .registry import TASKS

SECTIONS: dict[str, type[Any]] = {"run": RunConfig, "detector": DetectorConfig}


def read_config(path: Path, say: Callable[[str], None] = lambda _line: None) -> dict[str, Any]:
    """The values of a file by the names of the command line's parameters.

    Args:
        path: YAML or JSON. Of a `run.json`, values that the run had by default are kept where
            today's default is another one.
        say: Called with a line on those.

    Returns:
        `sources`, `tasks`, and fields by their names; a task's parameters as `TASK_PARAMETER`, a
        source's own fields as lists with one value a source where not all have the same.

    Raises:
        RequestError: It cannot be read, or names something that does not exist.
    """
    record = _load(path)
    data = _mapping(path, "config", record.get("config", record))
    unknown = set(data) - {"sources", "tasks", *SECTIONS}
    if unknown:
        raise RequestError(
            f"--config {path}: unknown section {min(unknown)!r}, expected sources, tasks, "
            f"{', '.join(SECTIONS)}"
        )
    former = _FormerDefaults(path, record if "config" in record else {})
    values: dict[str, Any] = {}
    for section, config in SECTIONS.items():
        given = _mapping(path, section, data.get(section))
        values |= _checked(path, section, given | former.of(section, given, config), config)
    tasks = _mapping(path, "tasks", data.get("tasks"))
    for task, given in tasks.items():
        if task not in TASKS:
            raise RequestError(
                f"--config {path}: unknown task {task!r}, expected one of {', '.join(TASKS)}"
            )
        given = _mapping(path, task, given)
        given |= former.of(task, given, TASKS[task].config)
        parameters = _checked(path, f"tasks: {task}", given, TASKS[task].config)
        values |= {f"{task}_{name}": value for name, value in parameters.items()}
    if tasks:
        values["tasks"] = tuple(tasks)
    values |= _sources(path, data.get("sources"), former)
    if former.notes:
        say(f"{path} was written when other defaults held: {', '.join(former.notes)}")
    return values


class _FormerDefaults:
    """What a run had by default, as its `run.json` says.

    Args:
        path: Of the file.
        record: Its contents; without `defaults` where an earlier version wrote it, which told the
            parameters of the tasks alone. Empty: the file is no `run.json`.

    Attributes:
        notes: What has changed since, a phrase an option.
    """

    def __init__(self, path: Path, record: Mapping[str, Any]) -> None:
        self.notes: list[str] = []
        said = _mapping(path, "defaults", record.get("defaults"))
        tasks = said.pop("tasks", None)
        if "defaults" not in record:
            rows = _mapping(path, "tasks", record.get("tasks")).items()
            tasks = {task: _mapping(path, task, row).get("parameters") for task, row in rows}
        self._sections = {
            section: _mapping(path, section, values)
            for section, values in (said | _mapping(path, "tasks", tasks)).items()
        }

    def of(self, section: str, given: Mapping[str, Any], config: type[Any]) -> dict[str, Any]:
        """Those of a section or task, `given` left out, that are others today."""
        former = self._sections.get(section)
        if not former:
            return {}
        preset = str(given.get("preset", former.get("preset")))
        presets = set().union(*getattr(config, "presets", {}).values())
        shown, kept = {}, {}
        for parameter in fields(config):
            name = parameter.name
            if parameter.default is MISSING or not parameter.metadata.get("recorded", True):
                continue
            now = usual_value(config, name, preset)
            # What another preset had says nothing of the one that the file has been given since.
            other = preset != former.get("preset", preset) and name in presets
            if name in given or former.get(name) == now or other:
                continue
            flag = parameter.metadata.get("flag") or f"--{name.replace('_', '-')}"
            flag = f"--{section}-{flag[2:]}" if section in TASKS else flag
            if former.get(name) is None:
                self.notes.append(f"{flag} has no value there and is {now}")
            else:
                kept[name] = former[name]
                shown[name] = f"{flag} {former[name]} is kept (by default {now} today)"
        if not _fits(config, {**given, **kept}):
            # What had no effect, as a crop of sot without focus, may only be given where it has.
            kept = {name: old for name, old in kept.items() if _fits(config, {**given, name: old})}
        self.notes += [shown[name] for name in kept]
        return kept


def _fits(config: type[Any], values: dict[str, Any]) -> bool:
    """Whether no value is refused; one of a wrong type is somebody else's matter."""
    try:
        config(**values)
    except RequestError:
        return False
    except (TypeError, ValueError):
        return True
    return True


def _load(path: Path) -> dict[str, Any]:
    import yaml

    try:
        check_regular(path)
        text = path.read_text(encoding="utf-8")
        try:  # YAML would take 1e-05, as JSON writes it, for a text
            data = json.loads(text)
        except json.JSONDecodeError:
            data = yaml.safe_load(text)
    except OSError as error:
        raise RequestError(f"--config {path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise RequestError(f"--config {path}: not YAML or JSON ({reason})") from None
    return _mapping(path, "the file", data)


def _mapping(path: Path, what: str, data: object) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, Mapping) or not all(isinstance(name, str) for name in data):
        raise RequestError(f"--config {path}: {what}: expected names with values")
    return dict(data)


def _checked(path: Path, section: str, given: dict[str, Any], config: type[Any]) -> dict[str, Any]:
    names = {parameter.name for parameter in fields(config) if parameter.default is not MISSING}
    unknown = set(given) - names
    if unknown:
        raise RequestError(
            f"--config {path}: {section} has no field {min(unknown)!r}, expected one of "
            f"{', '.join(sorted(names))}"
        )
    hints = get_type_hints(config)
    for name, value in given.items():
        if isinstance(value, (list, Mapping)):
            raise RequestError(
                f"--config {path}: {section}: expected one value for {name!r} (a text that begins "
                "with { or [ needs quotes)"
            )
        expected = _expected(value, hints[name])
        if expected:
            raise RequestError(
                f"--config {path}: {section}: {name}: {value!r}: expected {expected}"
            )
    return given


def _expected(value: object, hint: Any) -> str:
    """What a value of a file should be instead of what it is; empty where it may be that.

    Text is left to the command line, which reads numbers and choices from it.
    """
    kinds = get_args(hint) or (hint,)
    if value is None or isinstance(value, str):
        return ""
    if bool in kinds:
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "a number" if {int, float} & set(kinds) else "a text"
    if int in kinds and not float(value).is_integer():
        return "a whole number"
    return ""


def _sources(path: Path, data: object, former: _FormerDefaults) -> dict[str, Any]:
    if data is None:
        return {}
    rows = data if isinstance(data, list) else [data]
    sources: list[dict[str, Any]] = []
    for row in rows:
        given = {"source": row} if isinstance(row, str) else _mapping(path, "sources", row)
        own = {name: value for name, value in given.items() if name != "source"}
        own |= former.of("sources", own, SourceConfig)
        sources.append(_checked(path, "sources", own, SourceConfig))
        if not isinstance(given.get("source"), str):
            raise RequestError(f"--config {path}: sources: expected a text under 'source'")
        sources[-1]["source"] = given["source"]
    values: dict[str, Any] = {"sources": tuple(row.pop("source") for row in sources)}
    for name in sorted({name for row in sources for name in row}):
        column = [row.get(name) for row in sources]
        if name in PER_SOURCE:
            values[name] = tuple("" if value is None else str(value) for value in column)
        elif any(value != column[0] for value in column):
            raise RequestError(
                f"--config {path}: sources: {name} is one value for all sources, got "
                f"{', '.join(map(str, column))}"
            )
        else:
            values[name] = column[0]
    return values
