"""Pose and mask models as bundles: what their graphs say is what their files say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError, ExportError, RequestError
from unitrack_edge.records import Detections, Frame
from unitrack_edge.runtime.detectors.mask import MaskModel
from unitrack_edge.runtime.detectors.pose import PoseModel

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

from unitrack_edge.export.detectors import bundle as bundles  # noqa: E402
from unitrack_edge.export.detectors.bundle import (  # noqa: E402
    DetectorRequest,
    write_detector_bundle,
)
from unitrack_edge.runtime.detectors.recognition import ModelSettings  # noqa: E402

from ...support.command_line import run_cli  # noqa: E402
from ...support.models.detector_graphs import write_detector  # noqa: E402
from ...support.models.person_networks import red_mask, red_pose  # noqa: E402

HEIGHT, WIDTH = 64, 48
IMAGE = np.random.default_rng(1).integers(0, 256, (120, 160, 3)).astype(np.uint8)
BOXES = np.array([[40, 10, 90, 110], [-20, 30, 30, 90], [0, 0, 160, 120]], np.float32)


def seen():
    return Detections(BOXES, np.ones(3, np.float32), np.zeros(3, np.int64))


def described(model):
    """What a model adds to three boxes, one of them partly outside."""
    try:
        return model.describe(Frame(0, 0.0, IMAGE), seen())
    finally:
        model.close()


def simcc():
    rng = np.random.default_rng(2)
    return {"x": rng.random((1, 17, WIDTH * 2)), "y": rng.random((1, 17, HEIGHT * 2))}


def heatmaps():
    """Random maxima, and ones at every border, where a neighbour is missing."""
    maps = np.random.default_rng(3).random((1, 17, HEIGHT // 4, WIDTH // 4))
    for joint, place in enumerate([(0, 0), (0, -1), (-1, 0), (-1, -1), (0, 5), (7, 0), (7, -1)]):
        maps[(0, joint, *place)] = 1.5
    return {"heatmaps": maps}


def pose_files(folder):
    shape = {"input_shape": (1, 3, HEIGHT, WIDTH)}
    for name, outputs in (("simcc", simcc()), ("heatmaps", heatmaps())):
        arrays = {key: value.astype(np.float32) for key, value in outputs.items()}
        yield name, write_detector(folder / f"{name}.onnx", arrays, **shape)
    yield "MoveNet", red_pose(folder / "movenet.onnx", size_hw=(48, 64), batch=1)
    yield "MoveNet", red_pose(folder / "many.onnx", dtype="int32", channels_last=False)


def test_poses_of_a_bundle_are_those_of_its_file(tmp_path):
    for name, path in pose_files(tmp_path):
        bundle = write_detector_bundle(DetectorRequest(str(path)), tmp_path / path.stem)
        assert bundle.spec.arch.lower() == name.lower()
        assert set(bundle.spec.graphs) == {"pose"}
        assert bundle.graph("pose").max_abs_error < 1e-6
        of_file = described(PoseModel(path)).keypoints
        of_bundle = described(PoseModel(bundle.path)).keypoints
        np.testing.assert_allclose(of_bundle, of_file, atol=1e-4)


@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("axis", [1, 3, None])
def test_masks_of_a_bundle_are_those_of_its_file(tmp_path, logits, axis):
    path = red_mask(tmp_path / "mask.onnx", logits=logits, axis=axis, batch="N")
    bundle = write_detector_bundle(DetectorRequest(str(path)), tmp_path / "mask")
    assert set(bundle.spec.graphs) == {"mask"}
    of_file, of_bundle = (described(MaskModel(p)).masks for p in (path, bundle.path))
    assert of_file.any()
    np.testing.assert_array_equal(of_bundle, of_file)
    (crops,) = bundle.graph("mask").inputs
    assert (crops.min_shape[0], crops.opt_shape[0], crops.max_shape[0]) == (1, 4, 16)


def test_blazepose_gives_both(blazepose_file, tmp_path):
    request = DetectorRequest("blazepose", weights=blazepose_file)
    bundle = write_detector_bundle(request, tmp_path / "both")
    assert set(bundle.spec.graphs) == {"pose", "mask"}
    assert max(graph.max_abs_error for graph in bundle.spec.graphs.values()) < 1e-5


def test_what_differs_from_its_file_is_not_written(tmp_path, monkeypatch):
    path = red_pose(tmp_path / "p.onnx")
    monkeypatch.setattr(bundles, "person_error", lambda *_: 0.01)
    with pytest.raises(ExportError, match=r"differs from the file by 1\.0e-02"):
        write_detector_bundle(DetectorRequest(str(path)), tmp_path / "p")
    assert not (tmp_path / "p").exists()
    settings = ModelSettings(size_hw=(64, 64))
    with pytest.raises(RequestError, match="are of detectors, leave them out"):
        write_detector_bundle(DetectorRequest(str(path), settings=settings), tmp_path / "p")


def test_a_bundle_of_another_kind_is_named(tmp_path):
    path = red_pose(tmp_path / "p.onnx")
    bundle = write_detector_bundle(DetectorRequest(str(path)), tmp_path / "p")
    with pytest.raises(DetectionError, match=r"bundle of the person model p, .* --pose-model$"):
        MaskModel(bundle.path)


def test_doctor_parity_and_bench_take_them(tmp_path):
    path = red_pose(tmp_path / "p.onnx")
    write_detector_bundle(DetectorRequest(str(path)), tmp_path / "p")
    write_detector_bundle(DetectorRequest(str(path), precision="fp16"), tmp_path / "half")
    assert "person p fp32, 64x64" in run_cli("doctor", tmp_path / "p")
    parity = ("--weights", path, "--count", "2", "--json")
    said = json.loads(run_cli("parity", tmp_path / "p", "--backend", "cpu", *parity))
    assert said["passed"]
    assert said["backends"][0]["difference"] < 1e-6
    columns = np.random.default_rng(4).random((2, 1, 17, 64)).astype(np.float32)
    outputs = {"x": columns[0], "y": columns[1]}
    write_detector(tmp_path / "other.onnx", outputs, input_shape=(1, 3, 64, 64))
    other = ("--weights", tmp_path / "other.onnx", "--count", "2")
    said = run_cli("parity", tmp_path / "p", "--backend", "cpu", *other, status=1)
    assert "poses differ by" in said
    arguments = ("--against", tmp_path / "half", "--rounds", "2", "--frames", "2", "--json")
    measured = json.loads(run_cli("bench", tmp_path / "p", *arguments))
    assert [one["name"] for one in measured["detectors"]] == ["p cpu", "half cpu"]
    calibrate = ("calibrate", tmp_path / "p", "--frames", path)
    assert "is of the pose or mask model p" in run_cli(*calibrate, status=1)
