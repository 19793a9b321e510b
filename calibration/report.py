"""The report of a calibration as data, text and plot: what was lost, where, what was gained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import CalibrationError
from ..runtime.bundle.bundle import Bundle
from ..runtime.tables import TextTable, markdown
from .int8_bundle import REPORT_FILES, int8_graph
from .outcome import Calibration, CalibrationRequest, LayerFacts

Comparisons = Sequence[Mapping[str, Any]]
"""Plain rows: name, format, frames, before, after, agreement, drop."""


def report_data(
    request: CalibrationRequest,
    bundle: Bundle,
    result: Calibration,
    int8_bytes: int,
    comparisons: Comparisons = (),
) -> dict[str, Any]:
    """Everything that is known of a calibration, as plain data.

    Args:
        request: What was asked for.
        bundle: The float bundle.
        result: What it came to.
        int8_bytes: Size of the int8 graph's file.
        comparisons: Of tracks or detections, where sequences were given.
    """
    graph, kind = int8_graph(bundle.spec), bundle.spec.kind
    sample = result.sample
    return {
        "kind": kind,
        kind: bundle.spec.backbone,
        f"float_{kind}_sha256": graph.sha256,
        "target": request.target,
        "method": request.method,
        "frames": {
            "used": len(sample.images),
            "held_out": len(sample.held_out),
            "seen": sample.seen,
            "scenes": sample.scenes,
            "names": list(sample.names),
            "notes": list(sample.notes(request.count)),
        },
        "float_layers": [fact.name for fact in result.facts if fact.in_float],
        "asked_float_layers": list(request.keep_float),
        **_kept(request, result),
        "layers": [asdict(fact) for fact in result.facts],
        "drift": {fact.name: fact.drift for fact in result.facts},
        "sensitivity": {f.name: f.sensitivity for f in result.facts if f.sensitivity is not None},
        "size_bytes": {"float": graph.size_bytes, "int8": int8_bytes},
        "cpu_latency_ms": {
            "float": result.float_ms,
            "int8": result.int8_ms,
            "image_hw": list(result.image_hw),
        },
        "validation": [dict(row) for row in comparisons],
    }


def _kept(request: CalibrationRequest, result: Calibration) -> dict[str, Any]:
    """What is left of the float graph, and the bound that was asked for."""
    if result.detections is not None:
        return {
            "min_agreement": request.min_agreement,
            "detections": asdict(result.detections),
        }
    mean = sum(result.scores) / len(result.scores)
    return {
        "min_cosine": request.min_cosine,
        "cosine": {"lowest": min(result.scores), "mean": mean},
    }


def quantization_facts(request: CalibrationRequest, result: Calibration) -> dict[str, Any]:
    """What `bundle.json` says of it: enough to know the bundle by without its report."""
    if result.detections is None:
        kept = {"min_cosine": request.min_cosine, "cosine": min(result.scores)}
    else:
        agreement = result.detections.agreement
        kept = {"min_agreement": request.min_agreement, "agreement": agreement}
    return {
        "target": request.target,
        "method": request.method,
        "frames": len(result.sample.images),
        "float_layers": [fact.name for fact in result.facts if fact.in_float],
        **kept,
        "drift": {fact.name: fact.drift for fact in result.facts},
        "sensitivity": {f.name: f.sensitivity for f in result.facts if f.sensitivity is not None},
        "reports": list(REPORT_FILES),
    }


def report_text(data: Mapping[str, Any]) -> str:
    """The same as Markdown.

    Args:
        data: Of `report_data`, with `max_drop`, `min_agreement` and `calibration_s` besides.
    """
    backbone = data["kind"] == "backbone"
    measure = "feature cosine" if backbone else "agreement of detections"
    parts = [
        f"# INT8 calibration of {data[data['kind']]}\n",
        _summary(data),
        "" if backbone else _AGREEMENT,
        "## Tracks\n" if backbone else "## Detections\n",
        _validation(data),
        "## Layers\n",
        "Drift: 1 − cosine between the float and the int8 results of a layer, everything before it "
        f"int8 as well. Hurts alone: how far the {measure} falls when only this layer is "
        "int8.\n",
        _layers(data),
        "![drift per layer](drift.png)\n",
        "## What runs in int8\n",
        _ABOUT[data["target"]].format(graph=data["kind"].capitalize(), rest=_REST[data["kind"]]),
    ]
    return "\n".join(parts)


_AGREEMENT = """
Agreement: every object that the float or the int8 detector reports counts with its score. Of one
that both find (IoU 0.5 or more, the same class), the lower of the two scores is kept, times the IoU
of the boxes, the likeness of the joints and the IoU of the masks; of one that a single detector
finds, nothing is.
"""

_ABOUT = {
    "gpu": """\
{graph} graph: explicit QuantizeLinear and DequantizeLinear pairs, symmetric, around both inputs of
every int8 convolution; weights are stored as int8, by output channel. The first convolution,
biases, residual sums, {rest} are float. TensorRT and TensorRT-RTX read every such convolution as
quantised; which kernel an engine then takes is for its GPU to say. ONNX Runtime on a CPU computes
these graphs in float arithmetic on the rounded values: the accuracy is that of int8, the time is
not.
""",
    "cpu": """\
{graph} graph: explicit QuantizeLinear and DequantizeLinear pairs around the inputs and the result
of every int8 convolution, which ONNX Runtime on a CPU computes in whole numbers. Activations are
uint8, weights int8 of 7 bits by output channel, so that no sum overflows on CPUs without VNNI:
every x86 CPU gives the same. The first convolution, residual sums, {rest} are float. TensorRT does
not take this form.
""",
}

_REST = {
    "backbone": "normalisation and the graphs of all heads",
    "detector": "normalisation, matrix products, decoding and the choice of the best rows",
}


def _summary(data: Mapping[str, Any]) -> str:
    size, latency, frames = data["size_bytes"], data["cpu_latency_ms"], data["frames"]
    height, width = latency["image_hw"]
    share = size["int8"] / size["float"]
    rows = [
        *_kept_rows(data),
        ("frames", f"{frames['used']} of {frames['seen']}, {frames['held_out']} of them held out"),
        ("method", data["method"]),
        ("layers in float", ", ".join(data["float_layers"])),
        (f"{data['kind']} file", f"{size['float']:,} → {size['int8']:,} bytes ({share:.1%})"),
        (
            f"{data['kind']} on this CPU, {width}×{height}",
            f"{latency['float']:.0f} → {latency['int8']:.0f} ms",
        ),
    ]
    rows.append(("calibrated in", f"{data['calibration_s']:.0f} s"))
    notes = "".join(f"\nNote: {note}.\n" for note in frames["notes"])
    return _table(("", ""), rows) + notes


def _kept_rows(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    if data["kind"] == "backbone":
        return [
            ("feature cosine, lowest held-out frame", f"{data['cosine']['lowest']:.4f}"),
            ("feature cosine, mean of held-out frames", f"{data['cosine']['mean']:.4f}"),
        ]
    seen = data["detections"]
    return [
        ("agreement of detections, held-out frames", f"{seen['agreement']:.4f}"),
        (
            "objects of the float detector",
            f"{seen['objects']}; {seen['lost']} of them lost, {seen['added']} added",
        ),
        ("mean IoU of the two boxes of an object", f"{seen['iou']:.4f}"),
        ("mean change of its score", f"{seen['score']:+.4f}"),
        *(
            [("mean distance of its joints", f"{seen['joints_px']:.2f} px")]
            if seen["joints_px"] is not None
            else []
        ),
        *(
            [("mean IoU of its two masks", f"{seen['mask_iou']:.4f}")]
            if seen["mask_iou"] is not None
            else []
        ),
    ]


def _validation(data: Mapping[str, Any]) -> str:
    backbone = data["kind"] == "backbone"
    if not data["validation"]:
        lacking, known = ("tracks", "features") if backbone else ("accuracy", "detections")
        return (
            f"No sequence was given with `--validate`: the effect on {lacking} was not measured, "
            f"only the {known} were compared.\n"
        )
    rows = []
    for row in data["validation"]:
        what = scores_text(row["before"], row["after"]) or "no ground truth"
        alike = "–" if row["agreement"] is None else f"{row['agreement']:.3f}"
        rows.append((row["name"], str(row["frames"]), what, alike))
    bound = f"A score with truth may fall by {data['max_drop']:g}"
    if backbone:
        bound += f"; without truth, tracks agree to {data['min_agreement']:g} or more"
    bound += ".\n"
    head = ("sequence", "frames", "float → int8", "int8 tracks against float ones")
    shown = len(head) if backbone else 3
    return _table(head[:shown], [row[:shown] for row in rows]) + "\n" + bound


_SHOWN = (
    *("AUC", "J", "F", "IDF1", "HOTA", "MOTA", "sMOTSA", "IDs"),
    *("AP50", "recall", "precision", "PCKh"),
)


def scores_text(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """Two rows of scores, such as `J 0.905 → 0.904, F 0.931 → 0.930`."""
    parts = []
    for name in _SHOWN:
        if name in before and name in after:
            digits = 0 if name == "IDs" else 3
            parts.append(f"{name} {before[name]:.{digits}f} → {after[name]:.{digits}f}")
    return ", ".join(parts)


def _layers(data: Mapping[str, Any]) -> str:
    rows = [
        (
            layer["name"],
            "float" if layer["in_float"] else "int8",
            f"{layer['parameters']:,}",
            "–" if layer["scale"] is None else f"{layer['scale']:.5f}",
            "–" if layer["sensitivity"] is None else f"{layer['sensitivity']:.5f}",
            f"{layer['drift']:.5f}",
        )
        for layer in data["layers"]
    ]
    return _table(("layer", "type", "weights", "input scale", "hurts alone", "drift"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return markdown(TextTable(head, list(rows), left=len(head)))


_INT8, _FLOAT, _ALONE = "#2f6db3", "#c2c8d0", "#d9822b"


def check_plotting() -> None:
    """Check before the work that its plot can be drawn.

    Raises:
        CalibrationError: Matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise CalibrationError(
            f"the report's plot needs Matplotlib, which cannot be imported ({error}): "
            "pip install 'unitrack-edge[calibrate]'"
        ) from None


def plot_drift(facts: Sequence[LayerFacts], title: str, path: Path) -> None:
    """Draw a bar of drift for each layer, and a dot for what it does alone.

    Args:
        facts: Of all layers, in the order of the graph.
        title: Above the plot.
        path: A PNG.

    Raises:
        OSError: It cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: it would look for a display.
    figure = Figure(figsize=(9, 1.2 + 0.24 * len(facts)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rows = range(len(facts))
    colours = [_FLOAT if fact.in_float else _INT8 for fact in facts]
    axes.barh(rows, [fact.drift for fact in facts], color=colours)
    alone = [(row, f.sensitivity) for row, f in enumerate(facts) if f.sensitivity is not None]
    axes.plot([max(s, 0.0) for _, s in alone], [r for r, _ in alone], "o", color=_ALONE, ms=4)
    axes.set_yticks(rows, [fact.name for fact in facts], fontsize=8)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("1 − cosine, float against int8")
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(
        handles=[
            axes.barh(0, 0, color=_INT8, label="drift of an int8 layer's results"),
            axes.barh(0, 0, color=_FLOAT, label="drift behind a layer left in float"),
            *axes.plot([], [], "o", color=_ALONE, ms=4, label="what it costs if int8 alone"),
        ],
        loc="outside lower center",
        ncols=3,
        fontsize=8,
        frameon=False,
    )
    figure.savefig(path, metadata={"Software": None})
