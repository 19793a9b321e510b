"""A detector's bundle: what its graph says is what its file says, through every layout."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
from click.testing import CliRunner
from unitrack_edge.cli import main
from unitrack_edge.errors import BundleError, DetectionError, ExportError
from unitrack_edge.records import Frame
from unitrack_edge.runtime.bundle.bundle import Bundle
from unitrack_edge.runtime.detectors.model import open_model, what_it_finds
from unitrack_edge.runtime.detectors.open import open_detector
from unitrack_edge.runtime.detectors.recognition import ModelSettings

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

from unitrack_edge.export.detectors.bundle import (  # noqa: E402
    DetectorRequest,
    write_detector_bundle,
)
from unitrack_edge.export.tensorrt.builder import BuildOptions, build_engine  # noqa: E402

from ...support.command_line import run_cli  # noqa: E402
from ...support.models.detector_graphs import write_detector  # noqa: E402
from ...support.models.detector_layouts import CASES, SIDE, check, frame, seen_by, written  # noqa: E402

NO_RTX = importlib.util.find_spec("tensorrt_rtx_libs") is None
TARGETS = ("sm86", "sm89", "sm120")


def bundled(tmp_path, case, precision="fp32", **changes):
    path = written(tmp_path, case, **changes)
    request = DetectorRequest(str(path), precision=precision)
    return write_detector_bundle(request, tmp_path / "bundle")


@pytest.mark.parametrize("case", CASES)
def test_a_bundle_finds_the_two_objects(tmp_path, case):
    bundle = bundled(tmp_path, case)
    assert bundle.spec.arch == case.split()[0]
    # A few roundings of float32 in another order, as a share of the image's side.
    assert bundle.graph("detector").max_abs_error < 1e-6
    detector, seen = seen_by(bundle.path)
    check(case, seen)
    assert what_it_finds(bundle.path) == detector.recognised.finds
    assert seen_by(tmp_path / "m.onnx")[0].class_names == detector.class_names
    fixed = [t for t in bundle.graph("detector").outputs if t.is_dynamic]
    assert fixed == []


def test_settings_go_into_the_bundle(tmp_path):
    path = written(tmp_path, "yolov8", input_shape=("n", 3, "h", "w"))
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    settings = ModelSettings(
        names=tmp_path / "names.txt", layout="yolov8", normalise="bgr-255", size_hw=(SIDE, SIDE)
    )
    request = DetectorRequest(str(path), settings=settings)
    bundle = write_detector_bundle(request, tmp_path / "b")
    assert bundle.spec.detector["class_names"] == ["a", "b", "c"]
    assert bundle.spec.detector["fit"] == "centre"
    assert bundle.spec.preprocessing["inside"] == "bgr-255"
    assert bundle.spec.sizes_hw == ((SIDE, SIDE),)
    with open_detector(detector=str(bundle.path), classes=("c",), threads=1) as detector:
        assert detector.class_names == ("", "", "c")
        assert detector.detect(frame()).classes.tolist() == [2]
    (tmp_path / "others.txt").write_text("x\ny\nz\n")
    others = {"names": tmp_path / "others.txt", "classes": ("z",)}
    with open_detector(detector=str(bundle.path), threads=1, **others) as detector:
        assert detector.detect(frame()).classes.tolist() == [2]
    with pytest.raises(DetectionError, match="normalises in its graph"):
        open_model(bundle.path, ModelSettings(normalise="rgb-1"))
    with pytest.raises(DetectionError, match="is not of --detector-layout yolov8"):
        open_model(bundle.path, ModelSettings(layout="yolov8"))


@pytest.fixture(scope="module")
def nano_bundle(shared_models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nano")
    source = str(shared_models / "yolox_nano.onnx")
    return write_detector_bundle(DetectorRequest(source), folder / "nano")


def test_yolox_nano_as_a_bundle_is_its_file(nano_bundle, shared_models, shared_data):
    import cv2

    assert nano_bundle.graph("detector").max_abs_error < 1e-6
    image = cv2.imread(str(shared_data / "mot/TUD-Campus/img1/000036.jpg"))
    found = []
    for path in (nano_bundle.path, shared_models / "yolox_nano.onnx"):
        with open_model(path, threads=1) as detector:
            found.append(detector.detect(Frame(0, 0.0, image)))
    assert len(found[1]) >= 5
    np.testing.assert_allclose(found[0].boxes_xyxy, found[1].boxes_xyxy, atol=2e-3)
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-6)


def test_half_precision(tmp_path, shared_models):
    source = str(shared_models / "yolox_nano.onnx")
    bundle = write_detector_bundle(DetectorRequest(source, precision="fp16"), tmp_path / "half")
    assert bundle.spec.precision == "fp16"
    # Weights of 11 bits through a hundred layers: a few percent of a noise image's scores.
    assert bundle.graph("detector").max_abs_error < 0.1


def test_what_is_no_detectors_bundle(tmp_path, quick_bundle, nano_bundle):
    with pytest.raises(DetectionError, match=r"is the bundle of the backbone model .*--bundle"):
        open_model(quick_bundle.path)
    with pytest.raises(
        BundleError, match="is of the detector model yolox_nano and has no graph backbone"
    ):
        nano_bundle.graph("backbone")
    with pytest.raises(ExportError, match="already exists: add --force"):
        write_detector_bundle(DetectorRequest("a.onnx"), nano_bundle.path)
    with pytest.raises(ExportError, match=r"expected a name .*or an ONNX file that is there"):
        write_detector_bundle(DetectorRequest(str(tmp_path / "a.onnx")), tmp_path / "b")
    path = write_detector(tmp_path / "a.onnx", {"out": np.zeros((1, 7), np.float32)})
    with pytest.raises(DetectionError, match="of no known layout"):
        write_detector_bundle(DetectorRequest(str(path)), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_command(tmp_path, shared_models):
    output = tmp_path / "b"
    source = shared_models / "yolox_nano.onnx"
    said = run_cli("export", "--detector", source, "--output", output)
    assert f"bundle written: {output}" in said
    assert "yolox with decoding inside" in said
    assert "already exists" in run_cli("export", "--detector", source, "--output", output, status=1)
    data = json.loads(
        run_cli("export", "--detector", source, "--output", output, "--force", "--json")
    )
    assert Bundle.load(output).graph("detector").sha256 == data["graphs"]["detector"]["sha256"]
    assert "usable" in run_cli("doctor", output)


def test_doctor_parity_and_bench_take_detectors(tmp_path, nano_bundle, shared_models, shared_data):
    source = shared_data / "mot/TUD-Campus/img1"
    file = shared_models / "yolox_nano.onnx"
    run = ("--backend", "cpu", "--threads", "1", "--json")
    same = ("parity", nano_bundle.path, "--weights", file, "--frames", source, "--count", "3")
    data = json.loads(run_cli(*same, *run))
    assert data["passed"]
    (row,) = data["backends"]
    assert row["objects"] >= 10
    assert row["score"] < 1e-5
    assert row["iou"] > 0.9999
    record = json.loads((nano_bundle.path / "parity.json").read_text())
    assert record["reference"] == "yolox_nano.onnx on cpu"
    request = DetectorRequest(str(file), precision="fp16")
    half = write_detector_bundle(request, tmp_path / "half").path
    both = ("bench", nano_bundle.path, "--against", half, "--source", source)
    data = json.loads(run_cli(*both, "--rounds", "2", "--frames", "2", *run))
    assert [one["name"] for one in data["detectors"]] == ["nano cpu", "half cpu"]
    assert all(len(one["milliseconds"]) == 4 for one in data["detectors"])
    said = run_cli("doctor", nano_bundle.path)
    assert "detector yolox_nano fp32, 416x416" in said


def test_a_detector_that_changed_is_noticed(tmp_path):
    bundle = bundled(tmp_path, "yolov8")
    outputs = {name: array.copy() for name, array in CASES["yolov8"][0]().items()}
    outputs["output0"][0, 4:] *= 0.7
    other = write_detector(tmp_path / "other.onnx", outputs)
    arguments = ("parity", bundle.path, "--weights", other, "--backend", "cpu", "--size", "96x128")
    ran = CliRunner().invoke(main, [*map(str, arguments), "--count", "2"])
    assert ran.exit_code == 1
    assert "cpu: scores differ by 2.7e-01, bound 1e-03" in ran.stderr.splitlines()[-1]


def test_bench_of_a_backbone_needs_a_task(quick_bundle):
    assert "add --task mot|mots" in run_cli("bench", quick_bundle.path, status=2)


# Engines.


def build(bundle, target):
    from unitrack_edge.export.graphs.profiles import dimension_ranges
    from unitrack_edge.runtime.inference.tensorrt.library import load_library

    graph, library = bundle.graph("detector"), load_library("tensorrt-rtx")
    ranges = dimension_ranges(bundle.spec.sizes_hw, bundle.spec.stride)
    path, options = bundle.path / graph.file, BuildOptions(target)
    return build_engine(library, path, graph, bundle.spec.precision, ranges, options)


@pytest.mark.skipif(NO_RTX, reason="tensorrt-rtx is not installed: extra 'dev'")
@pytest.mark.parametrize("case", CASES)
def test_the_decoding_of_every_layout_builds_without_plugins(tmp_path, case):
    assert len(build(bundled(tmp_path, case), TARGETS[0]).plan) > 1000


@pytest.mark.slow
@pytest.mark.skipif(NO_RTX, reason="tensorrt-rtx is not installed: extra 'dev'")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", CASES)
def test_every_layout_builds_in_half_precision(tmp_path, case, target):
    assert len(build(bundled(tmp_path, case, "fp16"), target).plan) > 1000


@pytest.mark.slow
@pytest.mark.skipif(NO_RTX, reason="tensorrt-rtx is not installed: extra 'dev'")
@pytest.mark.parametrize("target", TARGETS)
def test_yolox_nano_builds_in_half_precision(tmp_path, shared_models, target):
    source = str(shared_models / "yolox_nano.onnx")
    bundle = write_detector_bundle(DetectorRequest(source, precision="fp16"), tmp_path / "half")
    built = build(bundle, target)
    assert set(built.products) == {"float16"}
