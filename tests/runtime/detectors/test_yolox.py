from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import BackendError, DetectionError, RequestError
from unitrack_edge.records import Frame
from unitrack_edge.runtime.boxes import iou_matrix
from unitrack_edge.runtime.detectors.layouts.yolo import grid_cells
from unitrack_edge.runtime.detectors.model import open_model
from unitrack_edge.runtime.detectors.open import open_detector
from unitrack_edge.runtime.detectors.recognition import ModelSettings
from unitrack_edge.runtime.formats.detections import open_detections

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from ...support.tolerance import assert_within, sum_error  # noqa: E402

DATA = Path(os.environ.get("UNITRACK_DATA", Path(__file__).parents[4] / "shared" / "data"))
MODEL = DATA.parent / "models" / "yolox_nano.onnx"

SIZE = 64
CELLS = 8 * 8 + 4 * 4 + 2 * 2
CLASSES = 3


def write_model(path, nodes, output_shape, constants, input_shape=(1, 3, SIZE, SIZE), **types):
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", types.get("input", 1), input_shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return path


def fixed_model(path, raw):
    """A model that answers `raw` whatever it sees."""
    nodes = [
        helper.make_node("Slice", ["images", "zeros", "ones", "axes"], ["pixel"]),
        helper.make_node("Mul", ["pixel", "nothing"], ["silence"]),
        helper.make_node("Reshape", ["silence", "shape"], ["flat"]),
        helper.make_node("Add", ["flat", "raw"], ["output"]),
    ]
    constants = {
        "zeros": np.zeros(3, np.int64),
        "ones": np.ones(3, np.int64),
        "axes": np.array([1, 2, 3], np.int64),
        "nothing": np.zeros(1, np.float32),
        "shape": np.ones(3, np.int64),
        "raw": raw[None].astype(np.float32),
    }
    return write_model(path, nodes, (1, *raw.shape), constants)


def silent():
    return np.zeros((CELLS, 5 + CLASSES), np.float32)


def put(raw, level, column, row, box, score, label):
    """Let a cell see `box`: offsets of the centre and sides, in strides."""
    start, width = [(0, 8), (64, 4), (80, 2)][level]
    cell = raw[start + row * width + column]
    cell[:2], cell[2:4] = box[:2], np.log(box[2:])
    cell[4], cell[5 + label] = score, 1


def frame(size_hw=(SIZE, SIZE), value=0):
    return Frame(0, 0.0, np.full((*size_hw, 3), value, np.uint8))


def test_boxes_are_decoded_into_source_pixels(tmp_path):
    raw = silent()
    put(raw, 1, 2, 1, (0.5, 0.25, 2, 1), 0.75, 2)
    put(raw, 0, 7, 3, (0, 0, 1, 1.5), 0.5, 0)
    put(raw, 2, 0, 1, (0.5, 0.5, 1, 0.5), 0.2, 1)
    with open_model(fixed_model(tmp_path / "m.onnx", raw)) as detector:
        found = detector.detect(frame())
        # Stride 16: centre (2.5, 1.25) and sides 2 × 1; stride 8: centre (7, 3), sides 1 × 1.5.
        expected = np.array([[24, 12, 56, 28], [52, 18, 60, 30]], np.float32)
        # A few sums and products each, and an exponential good to two units in the last place.
        error = sum_error(12, expected)
        assert_within(found.boxes_xyxy, expected, error)
        assert found.scores.tolist() == [0.75, 0.5]
        assert found.classes.tolist() == [2, 0]
        # 128 × 100 pixels are halved: 64 × 50, so a network pixel is two source pixels.
        doubled = detector.detect(frame((100, 128)))
        assert_within(doubled.boxes_xyxy, 2 * expected, 2 * error)
        # 129 pixels in 64 are not exactly a half; each axis has its own factor.
        odd = detector.detect(frame((100, 129)))
        factors = np.array([129 / 64, 100 / 50, 129 / 64, 100 / 50])
        assert_within(odd.boxes_xyxy, expected * factors, factors * error)
        assert detector.notes() == []


def test_threshold_and_classes(tmp_path):
    raw = silent()
    for label in range(3):
        put(raw, 0, 2 * label, 2 * label, (0.5, 0.5, 1, 1), 0.9 - 0.2 * label, label)
    path = fixed_model(tmp_path / "m.onnx", raw)

    def classes(**settings):
        with open_detector(detector=str(path), threads=1, **settings) as detector:
            return detector.detect(frame()).classes.tolist()

    assert classes() == [0, 1, 2]
    assert classes(confidence=0.6) == [0, 1]
    assert classes(classes=(2, 1)) == [1, 2]
    assert classes(classes=(0,), confidence=0.95) == []
    with pytest.raises(RequestError, match=r"--detector-classes: got '3', .* 0 to 2"):
        classes(classes=(3, 0))


def test_a_score_at_the_threshold_counts(tmp_path):
    raw = silent()
    put(raw, 0, 2, 2, (0.5, 0.5, 1, 1), 0.5, 0)
    path = fixed_model(tmp_path / "m.onnx", raw)
    for confidence, count in ((0.5, 1), (0.501, 0)):
        with open_model(path, ModelSettings(confidence=confidence)) as detector:
            assert len(detector.detect(frame())) == count


def test_suppression_is_per_class(tmp_path):
    raw = silent()
    put(raw, 1, 1, 1, (0.5, 0.5, 2, 2), 0.9, 0)
    put(raw, 1, 2, 1, (-0.4, 0.5, 2, 2), 0.8, 0)
    put(raw, 1, 1, 2, (0.5, -0.4, 2, 2), 0.7, 1)
    path = fixed_model(tmp_path / "m.onnx", raw)
    with open_model(path) as detector:
        assert detector.detect(frame()).classes.tolist() == [0, 1]
    with open_model(path, ModelSettings(nms_limit=1)) as detector:
        assert len(detector.detect(frame())) == 3


def test_boxes_outside_the_picture_are_left_out(tmp_path):
    raw = silent()
    put(raw, 1, 3, 3, (0.5, 0.5, 1, 1), 0.9, 0)
    put(raw, 1, 0, 0, (0, 0, 2, 2), 0.9, 0)
    with open_model(fixed_model(tmp_path / "m.onnx", raw)) as detector:
        assert len(detector.detect(frame())) == 2
        # In a wide image the lower cells lie in the padding.
        assert len(detector.detect(frame((32, 64)))) == 1


def test_five_hundred_detections_and_absurd_sizes(tmp_path):
    raw = silent()
    for cell in range(CELLS):
        raw[cell, 4], raw[cell, 5] = 0.9, 1
    raw[0, 2:4] = 500
    with open_model(fixed_model(tmp_path / "m.onnx", raw)) as detector:
        found = detector.detect(frame())
        assert 60 < len(found) <= CELLS
        assert np.isfinite(found.boxes_xyxy).all()


def pixel_model(path):
    """Objectness of cells 64, 66, 72, 74: a blue, a red, a padded and a bottom right pixel."""
    picks = np.array([[0, 0, 5, 5], [0, 2, 5, 5], [0, 1, 40, 5], [0, 0, 31, 63]], np.int64)
    base = silent()
    base[[64, 66, 72, 74], 5] = 1
    where = np.array([[0, cell, 4] for cell in (64, 66, 72, 74)], np.int64)
    nodes = [
        helper.make_node("GatherND", ["images", "picks"], ["values"]),
        helper.make_node("Div", ["values", "full"], ["scores"]),
        helper.make_node("ScatterND", ["base", "where", "scores"], ["output"]),
    ]
    constants = {
        "picks": picks,
        "full": np.array([255], np.float32),
        "base": base[None],
        "where": where,
    }
    return write_model(path, nodes, ("n", CELLS, 5 + CLASSES), constants)


def test_the_network_sees_bgr_in_the_top_left_corner(tmp_path):
    image = np.zeros((32, 64, 3), np.uint8)
    image[..., 0], image[..., 2] = 255, 51
    with open_model(pixel_model(tmp_path / "m.onnx"), ModelSettings(0.0, 1.0)) as detector:
        full = np.full((SIZE, SIZE, 3), 9, np.uint8)
        for _ in range(2):
            assert detector.detect(Frame(0, 0.0, full)).scores.max() == pytest.approx(9 / 255)
            # The second round shows that nothing of the full image stays in the padding.
            scores = detector.detect(Frame(0, 0.0, image)).scores
            seen = sorted(scores[scores > 0].tolist())
            assert seen == pytest.approx([51 / 255, 114 / 255, 1, 1])


@pytest.mark.parametrize("shape", [(1, 3, 60, 60), (1, 3, 96, 64)])
def test_models_of_another_grid(tmp_path, shape):
    nodes = [
        helper.make_node("Shape", ["images"], ["size"]),
        helper.make_node("Cast", ["size"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["floats"], ["one"], keepdims=0),
        helper.make_node("Add", ["one", "raw"], ["output"]),
    ]
    constants = {"raw": silent()[None]}
    path = write_model(tmp_path / "m.onnx", nodes, (1, *silent().shape), constants, shape)
    with pytest.raises(DetectionError, match=r"of no known layout: got .* float32 \(1, 84, 8\)"):
        open_model(path)


def test_a_model_with_too_few_channels(tmp_path):
    path = fixed_model(tmp_path / "m.onnx", silent()[:, :5])
    with pytest.raises(DetectionError, match="of no known layout"):
        open_model(path)


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(DetectionError, match="no such file"):
        open_detector(detector=str(tmp_path / "absent.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(BackendError, match="cannot be loaded"):
        open_detector(detector=str(tmp_path / "bad.onnx"))


@pytest.mark.parametrize("settings", [{"confidence": 1.5}, {"nms_limit": -0.1}])
def test_settings_out_of_range(settings):
    with pytest.raises(DetectionError, match=next(iter(settings))):
        ModelSettings(**settings)


def test_cells_are_counted_row_by_row():
    cells = grid_cells((32, 64))
    assert cells.shape == (4 * 8 + 2 * 4 + 1 * 2, 3)
    assert cells[9].tolist() == [1, 1, 8]
    assert cells[32 + 7].tolist() == [3, 1, 16]
    assert cells[-1].tolist() == [1, 0, 32]


@pytest.mark.skipif(not MODEL.is_file(), reason=f"no model at {MODEL}")
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}")
def test_yolox_nano_finds_the_people_of_tud_campus():
    sequence = DATA / "mot" / "TUD-Campus"
    truth = open_detections(sequence / "gt" / "gt.txt")
    hits = total = 0
    with open_detector(detector=str(MODEL), classes=(0,), threads=1) as detector:
        for index in range(0, 71, 7):
            image = cv2.imread(str(sequence / "img1" / f"{index + 1:06d}.jpg"))
            shown = Frame(index, index / 25, image)
            expected = truth.detect(shown).boxes_xyxy
            found = detector.detect(shown)
            assert (found.classes == 0).all()
            total += len(expected)
            hits += int((iou_matrix(expected, found.boxes_xyxy).max(axis=1) > 0.5).sum())
    assert hits / total > 0.7
