"""`cli track --config FILE`: the fields of a `TrackConfig` in YAML or JSON.

    sources: [street.mp4, {source: camera0, freeze_s: 3}]
    tasks: {mot: {confidence: 0.4}}
    detector: {detector: motion}
    run: {backend: cpu, save_video: true}

A `run.json` has the same under `config`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from ..errors import RequestError
from ..runtime.sources.redact import redact
from .config import DetectorConfig, RunConfig, SourceConfig, TrackConfig
from .registry import TASKS

SECTIONS: dict[str, type[Any]] = {"run": RunConfig, "detector": DetectorConfig}


PER_SOURCE = ("init", "detections")
"""Fields of `SourceConfig` that the command line takes once for each source."""


def config_data(
    track: TrackConfig, sources: Sequence[SourceConfig] | None = None
) -> dict[str, Any]:
    """What reproduces a run: every field that is not at its default.

    Args:
        track: What the run was asked for.
        sources: Of them these; None: all.
    """
    chosen = track.sources if sources is None else sources
    return {
        "sources": [{**_changed(s), "source": redact(s.source)} for s in chosen],
        "tasks": {config.task: _changed(config) for config in track.tasks},
        "detector": _changed(track.detector),
        "run": _changed(track.run),
    }


def _changed(config: Any) -> dict[str, Any]:
    changed = {}
    for parameter in fields(config):
        value = getattr(config, parameter.name)
        if parameter.metadata.get("recorded", True) and value != parameter.default:
            changed[parameter.name] = str(value) if isinstance(value, Path) else value
    return changed


def read_config(path: Path) -> dict[str, Any]:
    """The values of a file by the names of the command line's parameters.

    Args:
        path: YAML or JSON.

    Returns:
        `sources`, `tasks`, and fields by their names; a task's parameters as `TASK_PARAMETER`, a
        source's own fields as lists with one value a source where not all have the same.

    Raises:
        RequestError: It cannot be read, or names something that does not exist.
    """
    data = _load(path)
    data = data.get("config", data)
    unknown = set(data) - {"sources", "tasks", *SECTIONS}
    if unknown:
        raise RequestError(
            f"--config {path}: unknown section {min(unknown)!r}, expected sources, tasks, "
            f"{', '.join(SECTIONS)}"
        )
    values: dict[str, Any] = {}
    for section, config in SECTIONS.items():
        given = _mapping(path, section, data.get(section))
        values |= _checked(path, section, given, fields(config))
    tasks = _mapping(path, "tasks", data.get("tasks"))
    for task, given in tasks.items():
        if task not in TASKS:
            raise RequestError(
                f"--config {path}: unknown task {task!r}, expected one of {', '.join(TASKS)}"
            )
        known = fields(TASKS[task].config)
        parameters = _checked(path, f"tasks: {task}", _mapping(path, task, given), known)
        values |= {f"{task}_{name}": value for name, value in parameters.items()}
    if tasks:
        values["tasks"] = tuple(tasks)
    return values | _sources(path, data.get("sources"))


def _load(path: Path) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
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


def _checked(
    path: Path, section: str, given: dict[str, Any], known: Sequence[Field[Any]]
) -> dict[str, Any]:
    names = {parameter.name for parameter in known if parameter.default is not MISSING}
    unknown = set(given) - names
    if unknown:
        raise RequestError(
            f"--config {path}: {section} has no field {min(unknown)!r}, expected one of "
            f"{', '.join(sorted(names))}"
        )
    return given


def _sources(path: Path, data: object) -> dict[str, Any]:
    if data is None:
        return {}
    rows = data if isinstance(data, list) else [data]
    sources: list[dict[str, Any]] = []
    for row in rows:
        given = {"source": row} if isinstance(row, str) else _mapping(path, "sources", row)
        own = {name: value for name, value in given.items() if name != "source"}
        sources.append(_checked(path, "sources", own, fields(SourceConfig)))
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
