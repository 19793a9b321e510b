"""`cli calibrate`: the bundle and its report, what is refused, and what an interruption leaves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="extra 'calibrate'")
pytest.importorskip("onnxruntime", reason="extra 'calibrate'")
pytest.importorskip("matplotlib", reason="extra 'calibrate'")

from click.testing import CliRunner
from unitrack_edge.calibration import calibration
from unitrack_edge.cli import main
from unitrack_edge.evaluation.runner import validation
from unitrack_edge.evaluation.runner.validation import Comparison
from unitrack_edge.runtime.bundle.bundle import SPEC_FILE, Bundle
from unitrack_edge.runtime.inference.runner import GraphRunner

from ..support.command_line import run_cli
from ..support.models.calibration_bundle import (
    NAMES,
    make_image,
    rewrite,
    small_weights,
    write_backbone_bundle,
    write_images,
)
from ..support.tolerance import sum_error

REPORTS = {"report.md", "report.json", "drift.png"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_images(
        tmp_path_factory.mktemp("frames") / "clip", [make_image(seed) for seed in range(24)]
    )


@pytest.fixture
def bundle(tmp_path):
    return write_backbone_bundle(tmp_path / "small")


def run(bundle, clip, *more, status=0):
    return run_cli("calibrate", bundle.path, "--frames", clip, "--count", 24, *more, status=status)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def without_times(data):
    return {k: v for k, v in data.items() if k not in ("cpu_latency_ms", "calibration_s")}


def test_the_bundle_and_its_report(bundle, clip, tmp_path):
    said = run(bundle, clip, "--min-cosine", 0.999)
    output = tmp_path / "small-int8"
    assert f"bundle written: {output}" in said
    assert "without --validate" in said
    made = Bundle.load(output)
    assert made.spec.precision == "int8"
    assert {path.name for path in output.iterdir()} == {SPEC_FILE, "backbone.onnx", *REPORTS}
    facts = made.spec.quantization
    assert (facts["method"], facts["frames"]) == ("percentile", 24)
    assert facts["float_layers"][0] == "stem"
    assert "depthwise" in facts["float_layers"]
    assert set(facts["drift"]) == set(NAMES)
    assert made.spec.graphs["backbone"].fp32_nodes == tuple(
        f"node_{name}" for name in facts["float_layers"]
    )
    data = json.loads((output / "report.json").read_text("utf-8"))
    assert data["cosine"]["lowest"] == facts["cosine"] >= 0.999
    assert data["size_bytes"]["int8"] == (output / "backbone.onnx").stat().st_size
    assert [layer["name"] for layer in data["layers"]] == list(NAMES)
    assert data["validation"] == []
    text = (output / "report.md").read_text("utf-8")
    assert "the effect on tracks was not measured" in text
    assert all(f"| {name} |" in text for name in NAMES)
    assert str(tmp_path) not in (output / SPEC_FILE).read_text("utf-8")
    plot = cv2.imread(str(output / "drift.png"))
    assert plot.shape[1] > 600
    assert len(np.unique(plot.reshape(-1, 3), axis=0)) > 50
    # Nothing else is left beside it.
    assert {path.name for path in tmp_path.iterdir()} == {"small", "small-int8"}


def test_the_report_says_what_the_graph_does(bundle, clip, tmp_path):
    """The reported cosine is that of the two graphs as the runtime runs them."""
    run(bundle, clip, "--method", "minmax", "--keep-float", "last", "--min-cosine", 0.5)
    made = Bundle.load(tmp_path / "small-int8")
    data = json.loads((made.path / "report.json").read_text("utf-8"))
    assert data["float_layers"] == ["stem", "last"]
    held = [int(name.rpartition("#")[2]) for name in data["frames"]["names"]][4::8]
    cosines = []
    with GraphRunner(bundle, threads=1) as before, GraphRunner(made, threads=1) as after:
        for number in held:
            frame = cv2.imread(str(clip / f"{number:03d}.png"))[None]
            (a,), (b,) = (graphs.run("backbone", frame) for graphs in (before, after))
            cosines.append(float((a * b).sum(-1).mean()))
    # Cosines of float32 points, and means of them.
    error = sum_error(a.shape[-1] + a[..., 0].size + 10)
    assert data["cosine"]["lowest"] == pytest.approx(min(cosines), abs=error)
    assert data["cosine"]["mean"] == pytest.approx(np.mean(cosines), abs=error)


def test_the_same_frames_give_the_same_bytes(bundle, clip, tmp_path):
    for name in ("a", "b"):
        run(bundle, clip, "--output", tmp_path / name)
    one, other = (files_of(tmp_path / name) for name in "ab")
    assert one["backbone.onnx"] == other["backbone.onnx"]
    assert one[SPEC_FILE] == other[SPEC_FILE]
    reports = [without_times(json.loads(files["report.json"])) for files in (one, other)]
    assert reports[0] == reports[1]


@pytest.mark.parametrize("after_s", [0.05, 0.4, 0.8])
def test_a_killed_run_leaves_nothing_that_looks_whole(bundle, clip, tmp_path, after_s):
    expected, output = tmp_path / "expected", tmp_path / "out"
    run(bundle, clip, "--output", expected)
    code = (
        "from unitrack_edge.cli import main; import onnxruntime; print('ready', flush=True); main()"
    )
    arguments = ["calibrate", bundle.path, "--frames", clip, "--count", 24, "--output", output]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(after_s)
    process.kill()
    process.communicate()
    # Killed before its end there is no bundle; killed just after it, a whole one.
    if output.exists():
        Bundle.load(output)
    run(bundle, clip, "--output", output, "--force")
    assert files_of(output)["backbone.onnx"] == files_of(expected)["backbone.onnx"]


@pytest.mark.parametrize("moment", ["ranges", "layers", "tracks"])
def test_an_interrupted_run_goes_on_where_it_ended(bundle, clip, tmp_path, monkeypatch, moment):
    expected = tmp_path / "expected"
    run(bundle, clip, "--output", expected)
    output = tmp_path / "out"
    done = []

    def stop_after(target, name, calls):
        original = getattr(target, name)

        def interrupted(*args, **options):
            done.append(name)
            if len(done) > calls:
                raise KeyboardInterrupt
            return original(*args, **options)

        monkeypatch.setattr(target, name, interrupted)
        return original

    if moment == "ranges":
        monkeypatch.setattr(calibration, "_SAVE_EVERY", 4)
        stop_after(calibration.Histogram, "add", 10 * 4)
    elif moment == "layers":
        stop_after(calibration, "sensitivity_of", 3)
    else:
        stop_after(validation, "compare_all", 0)
    arguments = ["calibrate", bundle.path, "--frames", clip, "--count", 24, "--output", output]
    stopped = CliRunner().invoke(main, [str(a) for a in arguments])
    assert stopped.exit_code == 130
    assert "run the same command again to continue" in stopped.stderr
    assert not output.exists()
    monkeypatch.undo()
    before = len(done)
    target, name = {
        "ranges": (calibration.Histogram, "add"),
        "layers": (calibration, "sensitivity_of"),
        "tracks": (calibration, "sensitivity_of"),
    }[moment]
    stop_after(target, name, 10**6)
    run_cli(*arguments)
    again = len(done) - before
    whole = {"ranges": 21 * 4, "layers": 5, "tracks": 5}[moment]
    assert again == {"ranges": whole - 8 * 4, "layers": whole - 3, "tracks": 0}[moment]
    assert files_of(output)["backbone.onnx"] == files_of(expected)["backbone.onnx"]
    assert not (tmp_path / ".out.calibration").exists()


def test_other_frames_do_not_go_on_from_there(bundle, clip, tmp_path, monkeypatch):
    def stop(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(validation, "compare_all", stop)
    arguments = ["calibrate", str(bundle.path), "--output", str(tmp_path / "out"), "--frames"]
    assert CliRunner().invoke(main, [*arguments, str(clip)]).exit_code == 130
    monkeypatch.undo()
    other = write_images(tmp_path / "other", [make_image(seed) for seed in range(100, 116)])
    run_cli(*arguments, other)
    run_cli(*arguments[:2], "--output", tmp_path / "fresh", "--frames", other)
    names = ("out", "fresh")
    assert len({(tmp_path / name / "backbone.onnx").read_bytes() for name in names}) == 1


# What is refused.


def fails(bundle, clip, *more, status=1):
    said = run(bundle, clip, *more, status=status)
    assert not (bundle.path.parent / "small-int8").exists()
    return said


def test_a_bundle_that_is_int8_already(bundle, clip, tmp_path):
    run(bundle, clip)
    made = Bundle.load(tmp_path / "small-int8")
    said = run_cli("calibrate", made.path, "--frames", clip, status=1)
    assert "is int8 already: calibrate the float bundle" in said
    # Also where only the graph knows it.
    path = shutil.copytree(made.path, tmp_path / "disguised")
    rewrite(path, made.spec, precision="fp32", quantization={})
    assert "is int8 already" in run_cli("calibrate", path, "--frames", clip, status=1)


def test_a_bundle_of_half_precision(bundle, clip):
    half = rewrite(bundle.path, bundle.spec, precision="fp16")
    assert "is fp16, expected fp32: write one with `cli export" in fails(half, clip)


def test_an_unknown_layer(bundle, clip):
    said = fails(bundle, clip, "--keep-float", "layer9", status=2)
    assert "--keep-float layer9: there is no such layer" in said
    assert all(name in said for name in NAMES)


def test_a_bundle_in_the_way(bundle, clip, tmp_path):
    run(bundle, clip)
    before = files_of(tmp_path / "small-int8")
    said = run(bundle, clip, status=1)
    assert "already exists: add --force" in said
    assert files_of(tmp_path / "small-int8") == before
    run(bundle, clip, "--force", "--keep-float", "last")
    assert "last" in Bundle.load(tmp_path / "small-int8").spec.quantization["float_layers"]


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        (["--count", "3"], 2, "--count 3: expected 8 frames or more"),
        (["--min-cosine", "1"], 2, "--min-cosine 1: expected 0 to less than 1"),
        (["--max-drop", "0"], 2, "--max-drop 0: expected more than 0"),
        (["--min-agreement", "2"], 2, "--min-agreement 2: expected 0 to less than 1"),
        (["--validate", "nowhere"], 1, "no file or folder 'nowhere'"),
        (["--frames", "nowhere.mp4"], 1, "no file or folder 'nowhere.mp4'"),
        (["--min-cosine", "0.9999999"], 1, "no layer can be int8"),
    ],
)
def test_requests_that_cannot_be_met(bundle, clip, arguments, status, part):
    assert part in fails(bundle, clip, *arguments, status=status)


def test_onnx_is_missing(bundle, clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "unitrack_edge.calibration.calibration", None)
    said = fails(bundle, clip)
    assert "which is not installed: pip install 'unitrack-edge[calibrate]'" in said


@pytest.mark.parametrize(
    ("compared", "part"),
    [
        (
            Comparison("walk", "mot", 9, {"IDF1": 0.9, "HOTA": 0.5}, {"IDF1": 0.8, "HOTA": 0.5}, 1),
            "walk: IDF1 falls from 0.900 to 0.800, by more than --max-drop 0.01",
        ),
        (
            Comparison("yard", "video", 9, {}, {}, 0.5),
            "yard: the tracks agree to 0.500 with those of the float bundle, expected "
            "--min-agreement 0.85 or more",
        ),
    ],
)
def test_what_lost_too_much_is_not_written(bundle, clip, monkeypatch, compared, part):
    monkeypatch.setattr(validation, "compare_all", lambda *_: [compared])
    said = fails(bundle, clip, "--min-cosine", 0.5)
    assert part in said
    # The three that hurt most, worst first.
    assert "the layers that hurt most are depthwise, " in said
    assert said.count("--keep-float") == 3


def test_a_score_may_fall_a_little_and_rise_at_will():
    before = {"IDF1": 0.9, "HOTA": 0.5}
    for after, lost in (
        ({"IDF1": 0.892, "HOTA": 0.5}, False),
        ({"IDF1": 0.95, "HOTA": 0.7}, False),
        ({"IDF1": 0.95, "HOTA": 0.48}, True),
    ):
        comparison = Comparison("walk", "mot", 9, before, after, 0.1)
        assert (comparison.loss(0.01, 0.85) is not None) is lost
    assert replace(comparison, before={}).drop is None


# The search works on frames, whatever they show, and the weights of a small network are enough
# to see that it is the ranges that matter: with equal ranges everything can be int8.


def test_an_even_network_needs_no_float_layer(clip, tmp_path):
    weights = small_weights()
    for name, factor in (("wide", 1 / 60), ("depthwise", 60)):
        weights[name][0][0] *= factor
    weights["wide"][1][0] /= 60
    even = write_backbone_bundle(tmp_path / "small", weights=weights)
    run(even, clip, "--min-cosine", 0.999)
    facts = Bundle.load(tmp_path / "small-int8").spec.quantization
    assert facts["float_layers"] == ["stem"]
