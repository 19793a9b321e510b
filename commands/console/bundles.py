"""Writes bundles and engines, with progress on standard error."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import BackendError, BundleError, ExportError, RequestError
from ...runtime.bundle.bundle import Bundle
from ...runtime.detectors.base import BUILT_IN
from ...runtime.inference.registry import find_backend
from ...runtime.paths import default_model, is_model, model_file, model_name, unwritable
from ...runtime.tables import TextTable
from .steps import interruptible, not_written, progress_bar

if TYPE_CHECKING:
    from ...export.bundle_writer import ExportRequest
    from ...export.tensorrt.writer import EngineRequest
    from ...runtime.bundle.spec import EngineSpec
    from ...tracking.config import TrackConfig


def build_with_progress(bundle: Bundle, request: EngineRequest) -> tuple[EngineSpec, ...]:
    """Build engines into a bundle.

    Returns:
        Those that were asked for; those that were there already and fit included.

    Raises:
        UnitrackError: See `export.tensorrt.writer.build_engines`.
    """
    from ...export.tensorrt.writer import build_engines

    warnings: list[str] = []
    with progress_bar(lambda: "finished engines are in the bundle") as progress:
        engines = build_engines(
            bundle,
            request,
            lambda label, done, of, phase: progress(
                "building engines", done, of, f"{label} {phase}"
            ),
            warnings.append,
        )
    for line in warnings:
        click.echo(f"warning: {line}", err=True)
    return engines


def engine_table(engines: Sequence[EngineSpec]) -> TextTable:
    """A row an engine, with the proof of its precision."""
    rows = [
        (
            engine.graph,
            engine.target,
            f"{engine.size_bytes / 1e6:.2f} MB",
            f"{engine.build_s:.2f} s",
            ", ".join(f"{count} {kind}" for kind, count in engine.products.items()) or "none",
        )
        for engine in engines
    ]
    return TextTable(("graph", "target", "size", "built in", "products computed in"), rows, left=2)


def export_with_progress(output: Path, request: ExportRequest) -> Bundle:
    """Export a backbone.

    Raises:
        ExportError: The export failed.
    """
    from rich.console import Console

    from ...export.bundle_writer import write_bundle

    doing = f"exporting {request.backbone}"
    with interruptible(lambda: not_written(output)), Console(stderr=True).status(doing) as status:
        return write_bundle(request, output, lambda step: status.update(f"{doing}: {step}"))


def check_exportable(backbone: str, weights: Path | None = None) -> None:
    """Check before the work that a backbone can be exported here.

    Args:
        backbone: Its name on the table.
        weights: Checkpoint in place of the published one.

    Raises:
        RequestError: Its name is unknown.
        ExportError: Its weights cannot be had, or PyTorch is not installed.
    """
    from ...export.backbones.table import find_backbone
    from ...export.backbones.weight_files import backbone_file

    # A wrong name, or weights that cannot be had, should not cost the seconds that PyTorch takes to
    # load; without PyTorch, nothing is fetched.
    row = find_backbone(backbone)
    if importlib.util.find_spec("torch") is not None and importlib.util.find_spec("onnx"):
        backbone_file(row, weights)
    try:
        from ...export import bundle_writer  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"exporting needs {error.name}, which is not installed: "
            "pip install 'unitrack-edge[export]', or export on another machine and copy the folder"
        ) from error


def ensure_bundle(path: Path, backbone: str | None, layer: str = "layer3") -> None:
    """Export a bundle that is missing, where PyTorch is installed.

    Args:
        path: Where the bundle should be.
        backbone: Its name on the table; None where the user named a folder, which is never written.
        layer: Where the backbone is cut.

    Raises:
        RequestError: Unknown name.
        BundleError: It is missing and PyTorch is not installed.
        ExportError: The export failed.
    """
    if backbone is None or path.exists():
        return
    from ...export.backbones.table import find_backbone

    # A wrong name is an error before anything is announced.
    find_backbone(backbone)
    if importlib.util.find_spec("torch") is None:
        raise BundleError(
            f"bundle {path} does not exist, and PyTorch, which could write it, is not installed: "
            f"run `cli export --backbone {backbone}` on a machine with "
            "pip install 'unitrack-edge[export]' and copy the folder here"
        )
    _check_place(path, "--backbone", backbone, "--bundle")
    where = "" if layer == "layer3" else f" up to {layer}"
    click.echo(f"{path} does not exist yet: exporting {backbone}{where} (once)", err=True)
    check_exportable(backbone)
    from ...export.bundle_writer import ExportRequest

    export_with_progress(path, ExportRequest(backbone, layer))


def _check_place(path: Path, kind: str, name: str, flag: str) -> None:
    """Raise BundleError where a missing model could not be written; before it is fetched."""
    place = unwritable(path)
    if place is not None:
        raise BundleError(
            f"{path} does not exist and cannot be written: {place} is no folder to write to; run "
            f"in one that is, or `cli export {kind} {name} --output FOLDER` and give {flag} FOLDER"
        )


def ensure_models(config: TrackConfig) -> None:
    """Say which models a run uses beside its bundle, and export those that are missing.

    Raises:
        RequestError: There is no such model, or it finds something else.
        ExportError: It cannot be fetched or converted.
    """
    chosen = config.detector
    models = {
        "--detector": None if chosen.detector in BUILT_IN else chosen.detector,
        "--pose-model": chosen.pose_model,
        "--mask-model": chosen.mask_model,
    }
    names = {flag: model_name(model) for flag, model in models.items() if model is not None}
    running = {flag: name for flag, name in names.items() if name is not None}
    if not running:
        return
    poses = bool({"posetrack", "pose"} & set(config.task_names)) and chosen.pose_model is None
    missing = {f: name for f, name in running.items() if not is_model(model_file(name))}
    for flag, name in missing.items():
        _check_model(flag, name, poses=poses and flag == "--detector")
    said = ", ".join(f"{flag} {name}" for flag, name in running.items())
    click.echo(f"running {said} (`cli models` lists others)", err=True)
    backend = chosen.detector_backend or config.run.backend
    for flag, name in missing.items():
        _export_model(flag, name, as_bundle=needs_bundle(name, backend))


def ensure_detector(detector: str, pose_model: Path | None = None) -> None:
    """Export a detector, and a model of poses, that were asked for by name and are not there.

    Raises:
        RequestError: There is no such model, or it finds something else.
        ExportError: It cannot be fetched or converted.
    """
    models = {"--detector": None if detector in BUILT_IN else detector, "--pose-model": pose_model}
    for flag, model in models.items():
        name = None if model is None else model_name(model)
        if name is not None and not is_model(model_file(name)):
            _check_model(flag, name, poses=False)
            _export_model(flag, name, as_bundle=needs_bundle(name, "cpu"))


_FINDS = {"--detector": "boxes", "--pose-model": "keypoints", "--mask-model": "masks"}
"""What the model of each option finds, as the table of models says it."""


def _check_model(flag: str, name: str, *, poses: bool) -> None:
    """Find out before the work whether a model can be had here and does what it is wanted for.

    Args:
        flag: The option that named it.
        name: Its name on the table.
        poses: Whether a detector has to find poses too.

    Raises:
        RequestError: There is no such model, or it finds something else.
        BundleError: It cannot be written.
        ExportError: A package that converts it is not installed.
    """
    from ...export.detectors.exporter import needs_conversion
    from ...export.detectors.table import find_model

    try:
        row = find_model(name, flag)
    except RequestError as error:
        raise RequestError(f"{error}; or give a path that ends in .onnx") from error
    _check_place(default_model(name), "--detector", name, flag)
    finds = _FINDS[flag]
    # A model of crops takes one person; a detector takes the whole image.
    if finds not in row.gives or (finds != "boxes") == ("boxes" in row.gives):
        crop = "" if finds == "boxes" else " in a crop of one person"
        raise RequestError(
            f"{flag} {name}: expected a model that finds {finds}{crop}, and {name} finds "
            f"{' and '.join(row.gives)}; `cli models` lists all"
        )
    if poses and "keypoints" not in row.gives:
        raise RequestError(
            f"task posetrack tracks poses, and {flag} {name} gives boxes: add --pose-model "
            "FILE.onnx or --pose-model blazepose"
        )
    if not row.runs:
        raise RequestError(
            f"{flag} {name}: this version can fetch {row.arch} and cannot run it; `cli models` "
            "says which models run"
        )
    for package in ("tflite", "onnx") if needs_conversion(name) else ():
        if importlib.util.find_spec(package) is None:
            raise ExportError(
                f"{flag} {name}: {model_file(name)} does not exist, and {package}, which could "
                f"convert {row.file} from {row.sources[0].describe()}, is not installed: pip "
                f"install 'unitrack-edge[export]', or run `cli export --detector {name}` on "
                "another machine and copy the file here"
            )


def needs_bundle(name: str, backend: str) -> bool:
    """Whether a missing model becomes a bundle.

    A file that runs as it is needs no package to become one; TensorRT runs bundles only.
    """
    from ...export.detectors.exporter import needs_conversion

    return needs_conversion(name) or find_backend(backend).variant is not None


def _export_model(flag: str, name: str, *, as_bundle: bool) -> None:
    from ...export.detectors.exporter import export_model

    path = default_model(name) if as_bundle else model_file(name)
    click.echo(f"{path} does not exist yet: exporting {name} (once)", err=True)
    try:
        if as_bundle:
            from ...export.detectors.bundle import DetectorRequest, write_detector_bundle

            write_detector_bundle(DetectorRequest(name), path)
        else:
            export_model(name, path)
    except ExportError as error:
        raise ExportError(f"{error}; or choose another model with {flag}") from error


def rebuild_engines(path: Path, backend: str) -> None:
    """Build a bundle's engines that are missing or do not fit this machine.

    Raises:
        RequestError: The backend runs no engines.
        BackendError: Its variant of TensorRT or a GPU is missing.
        BuildError: Building failed.
    """
    from ...runtime.inference.tensorrt.compatibility import unusable_engines
    from ...runtime.inference.tensorrt.cuda import find_gpu
    from ...runtime.inference.tensorrt.library import load_library

    variant = find_backend(backend).variant
    if variant is None:
        raise RequestError(
            f"--rebuild with --backend {backend}: only tensorrt and tensorrt-rtx run engines"
        )
    library = load_library(variant)
    gpu = find_gpu()
    if gpu is None:
        raise BackendError(
            f"--rebuild: no GPU with a working driver was found, and {variant} engines run on one "
            "only (see `cli doctor`); use --backend cpu"
        )
    bundle = Bundle.load(path)
    stale = unusable_engines(bundle, library, gpu.target)
    if stale:
        from ...export.tensorrt.writer import EngineRequest

        build_with_progress(bundle, EngineRequest(variant, graphs=tuple(stale)))
        click.echo(f"built {len(stale)} engines in {path / 'engines'}", err=True)
