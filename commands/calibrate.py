"""`cli calibrate`."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import CalibrationError, RequestError
from ..runtime.tables import TextTable
from .console.report import Report, ReportOutput
from .options.shared import bundle_argument, force_option, output_option, report_options

if TYPE_CHECKING:
    from ..calibration.outcome import Calibration, CalibrationRequest
    from ..evaluation.runner.validation import Comparison, ValidationItem
    from ..runtime.bundle.bundle import Bundle
    from .console.steps import Progress


_MIN_AGREEMENT, _MIN_DETECTIONS = 0.85, 0.9
_NOT_INT8 = ", which does not compute in int8: measure on the device"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The allowed loss of the tracks; see the options of the same names."""

    max_drop: float
    min_agreement: float

    def __post_init__(self) -> None:
        if not 0.0 < self.max_drop < 1.0:
            raise RequestError(
                f"--max-drop {self.max_drop:g}: expected more than 0 and less than 1"
            )
        if not 0.0 <= self.min_agreement < 1.0:
            raise RequestError(f"--min-agreement {self.min_agreement:g}: expected 0 to less than 1")


@click.command("calibrate")
@bundle_argument
@click.option(
    "--frames",
    multiple=True,
    required=True,
    metavar="SOURCE",
    help="Footage of what the camera will see: a video, a folder of images or videos, or a quoted "
    "pattern of either; repeatable. Frames come evenly from all of it.",
)
@click.option("--count", default=128, show_default=True, help="Maximum number of frames to use.")
@click.option(
    "--target",
    type=click.Choice(["gpu", "cpu"]),
    default="gpu",
    show_default=True,
    help="What the bundle is for: TensorRT's symmetric int8, or what CPUs compute fastest in. "
    "Neither runs as int8 on the other.",
)
@click.option(
    "--method",
    type=click.Choice(["percentile", "entropy", "minmax"]),
    default="percentile",
    show_default=True,
    help="How the range of an activation is chosen.",
)
@click.option(
    "--keep-float", multiple=True, metavar="LAYER", help="Layer to keep in float; repeatable."
)
@click.option(
    "--min-cosine",
    default=0.998,
    show_default=True,
    help="Feature cosine of a backbone that every held-out frame must reach; layers stay in float "
    "until it does.",
)
@click.option(
    "--validate",
    multiple=True,
    metavar="[FORMAT:]PATH",
    help="Sequences to track with both bundles: a layout of `cli eval` (otb, davis, mot, mots, "
    "posetrack), or a video from a camera that stands still; of a detector, images with true boxes "
    "(mot, coco, posetrack), on which its AP50 is measured; repeatable.",
)
@click.option("--validate-frames", type=click.IntRange(min=3), help="Frames to use of each.")
@click.option(
    "--max-drop",
    default=0.01,
    show_default=True,
    help="Largest fall of J, AUC, IDF1 or HOTA, or a detector's AP50 or PCKh, on a validated "
    "sequence.",
)
@click.option(
    "--min-agreement",
    type=float,
    help="Without truth: lowest IDF1 or mask IoU of the int8 tracks against the float ones; of a "
    "detector, how far its detections agree with the float ones on held-out frames; layers stay in "
    f"float until they do.  [default: {_MIN_AGREEMENT} of tracks, "
    f"{_MIN_DETECTIONS} of detections]",
)
@output_option("Folder of the int8 bundle.  [default: BUNDLE-int8]")
@force_option
@report_options
def command(
    bundle: Path,
    frames: tuple[str, ...],
    count: int,
    target: str,
    method: str,
    keep_float: tuple[str, ...],
    min_cosine: float,
    validate: tuple[str, ...],
    validate_frames: int | None,
    max_drop: float,
    min_agreement: float | None,
    output: Path | None,
    force: bool,
    report_to: ReportOutput,
) -> None:
    """Make the backbone or the detector of BUNDLE int8, and say what that costs.

    Ranges come from real frames; layers that hurt too much stay in float. The new bundle holds a
    report (report.md, report.json, drift.png), and is only written where the features or
    detections, and the tracks or scores of --validate, stay within the bounds. An interrupted run
    continues where it stopped.

    \b
    Examples:
      cli calibrate bundles/imagenet-r18 --frames recordings/
      cli calibrate bundles/efficientnet-lite0 --frames 'clips/*/*.jpg' --validate davis:DAVIS \\
          --validate mot:MOT17/train --validate-frames 50
      cli calibrate bundles/detectors/yolox-s --frames street.mp4 --validate coco:val.json
      cli calibrate bundles/detectors/movenet --frames street.mp4 --target cpu
    """
    bounds = Bounds(max_drop, _MIN_AGREEMENT if min_agreement is None else min_agreement)
    try:
        from ..calibration.calibration import load_float_bundle
        from ..calibration.outcome import CalibrationRequest
        from ..calibration.report import check_plotting
    except ImportError as error:
        raise CalibrationError(
            f"calibrating needs {error.name}, which is not installed: "
            "pip install 'unitrack-edge[calibrate]'"
        ) from error
    from ..evaluation.runner.validation import detection_items, validation_items
    from ..runtime.bundle.staging import check_replaceable
    from .console.steps import not_written, progress_bar

    output = output or bundle.with_name(f"{bundle.absolute().name}-int8")
    least = _MIN_DETECTIONS if min_agreement is None else min_agreement
    request = CalibrationRequest(
        bundle, frames, output, count, method, keep_float, min_cosine, least, target
    )
    check_replaceable(output, CalibrationError, force=force)
    check_plotting()
    loaded, model = load_float_bundle(bundle)
    items_of = detection_items if loaded.spec.kind == "detector" else validation_items
    items = items_of(validate, validate_frames)
    again = "run the same command again to continue"
    with progress_bar(lambda: f"{not_written(output)}; {again}") as progress:
        result, comparisons, data = _run(request, loaded, model, items, bounds, progress)
    report_to.show(_report(request, result, comparisons, data))


def _run(
    request: CalibrationRequest,
    bundle: Bundle,
    model: Any,
    items: list[ValidationItem],
    bounds: Bounds,
    progress: Progress,
) -> tuple[Calibration, list[Comparison], dict[str, Any]]:
    from ..calibration.calibration import calibrate
    from ..calibration.int8_bundle import int8_graph, write_int8_bundle
    from ..calibration.report import quantization_facts, report_data
    from ..evaluation.runner.validation import compare_all
    from ..runtime.bundle.staging import move_into_place, partial_folder

    start = time.perf_counter()
    result, saved = calibrate(request, bundle, model, progress)
    seconds = time.perf_counter() - start
    with partial_folder(request.output, CalibrationError) as folder:
        written = write_int8_bundle(bundle, result, quantization_facts(request, result), folder)

        def tick(done: int, name: str) -> None:
            progress(f"comparing on {name}", done, len(items))

        work = saved.folder / "validation"
        comparisons = compare_all(items, bundle.path, folder, work, tick)
        check_bounds(comparisons, result, bounds, request.output)
        int8_bytes = int8_graph(written.spec).size_bytes
        rows = [comparison.to_json() for comparison in comparisons]
        data = report_data(request, bundle, result, int8_bytes, rows)
        data = {**asdict(bounds), "calibration_s": seconds, **data}
        _write_report(folder, data, result)
        move_into_place(folder, request.output)
    saved.discard()
    return result, comparisons, data


def check_bounds(
    comparisons: list[Comparison], result: Calibration, bounds: Bounds, output: Path
) -> None:
    """Refuse an int8 bundle whose tracks or detections lost too much.

    Raises:
        CalibrationError: Names the sequence, the loss and the three layers that hurt most.
    """
    from ..calibration.outcome import worst_layers

    for comparison in comparisons:
        lost = comparison.loss(bounds.max_drop, bounds.min_agreement)
        if lost is None:
            continue
        worst = worst_layers(result.facts)
        flags = " ".join(f"--keep-float {name}" for name in worst)
        raise CalibrationError(
            f"{comparison.name}: {lost}: {output} was not written; the layers that hurt most are "
            f"{', '.join(worst)}: try {flags}, a higher --min-cosine or other --frames"
        )


def _write_report(folder: Path, data: dict[str, Any], result: Calibration) -> None:
    from ..calibration.int8_bundle import REPORT_FILES
    from ..calibration.report import plot_drift, report_text
    from ..runtime.writers.base import write_atomic, write_json_atomic

    text, plain, plot = (folder / name for name in REPORT_FILES)
    write_atomic(text, report_text(data).encode(errors="replace"))
    write_json_atomic(plain, data)
    if result.detections is None:
        kept = f"feature cosine {min(result.scores):.4f}"
    else:
        kept = f"agreement of detections {result.detections.agreement:.4f}"
    plot_drift(result.facts, f"{data[data['kind']]}, int8: {kept}", plot)


def _report(
    request: CalibrationRequest,
    result: Calibration,
    comparisons: list[Comparison],
    data: dict[str, Any],
) -> Report:
    from ..calibration.report import report_text, scores_text

    size, latency = data["size_bytes"], data["cpu_latency_ms"]
    frames = data["frames"]
    if result.detections is None:
        kept = f"features: cosine {min(result.scores):.4f} on the worst of {frames['held_out']}"
    else:
        seen = result.detections
        kept = (
            f"detections: agreement {seen.agreement:.4f}, {seen.lost} of {seen.objects} objects "
            f"lost and {seen.added} added in {frames['held_out']}"
        )
    heading = [
        f"{kept} held-out {'frame' if frames['held_out'] == 1 else 'frames'}, "
        f"{frames['used']} frames used",
        f"in float: {', '.join(data['float_layers'])}",
        f"{data['kind']}: {size['float'] / 1e6:.2f} → {size['int8'] / 1e6:.2f} MB "
        f"({size['int8'] / size['float']:.0%}), {latency['float']:.0f} → {latency['int8']:.0f} ms "
        f"on this CPU{_NOT_INT8 if request.target == 'gpu' else ''}",
    ]
    notes = list(frames["notes"])
    if not comparisons:
        lacking = "tracks" if result.detections is None else "accuracy"
        notes.append(f"without --validate, the effect on {lacking} was not measured")
    rows = [
        (
            row.name,
            str(row.frames),
            scores_text(row.before, row.after) or "no truth",
            "–" if row.agreement is None else f"{row.agreement:.3f}",
        )
        for row in comparisons
    ]
    table = TextTable(("sequence", "frames", "float → int8", "agreement"), rows)
    output = request.output
    return Report(
        data,
        [table] if rows else [],
        heading,
        notes,
        [f"bundle written: {output}, see {output / 'report.md'}"],
        report_text(data),
    )
