"""SimCC and heatmaps of pose models: small graphs with known joints."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.records import Detections, Frame
from unitrack_edge.runtime.bundle.spec import GraphSpec, TensorSpec
from unitrack_edge.runtime.detectors.open import open_detector
from unitrack_edge.runtime.detectors.pose import MARGIN, PoseModel, read_heatmaps, read_simcc
from unitrack_edge.runtime.detectors.topdown import PersonCrop, read_input

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
from ...support.models.detector_graphs import write_detector

HEIGHT, WIDTH = 64, 48
X, Y = 2 * np.arange(17) + 5, 3 * np.arange(17) + 7
"""Of the joints, in pixels of the crop."""


def simcc(ratio=2):
    columns = np.zeros((1, 17, WIDTH * ratio), np.float32)
    rows = np.zeros((1, 17, HEIGHT * ratio), np.float32)
    columns[0, np.arange(17), X * ratio] = 0.9
    rows[0, np.arange(17), Y * ratio] = 0.8
    return {"simcc_x": columns, "simcc_y": rows}


def write(tmp_path, outputs, **inputs):
    shape = {"input_shape": (1, 3, HEIGHT, WIDTH), **inputs}
    return write_detector(tmp_path / "pose.onnx", outputs, **shape)


def posed(path):
    """Keypoints of one box in a frame, and the crop that was looked at."""
    box = np.array([[40, 10, 90, 110]], np.float32)
    seen = Detections(box, np.ones(1, np.float32), np.zeros(1, np.int64))
    model = PoseModel(path, threads=1)
    frame = Frame(0, 0.0, np.zeros((120, 160, 3), np.uint8))
    keypoints = model.describe(frame, seen).keypoints[0]
    model.close()
    crop = PersonCrop.about(box[0], (120, 160), (HEIGHT, WIDTH), MARGIN)
    return model, keypoints[[0, *range(3, 17)]], crop


@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_simcc_is_a_maximum_of_columns_and_of_rows(tmp_path, ratio):
    model, keypoints, crop = posed(write(tmp_path, simcc(ratio)))
    assert model.descriptions[0].endswith("recognised as SimCC, crops of 64x48")
    expected = crop.points_to_source(np.stack([X, Y], axis=1))[[0, *range(3, 17)]]
    np.testing.assert_allclose(keypoints[:, :2], expected, atol=1e-4)
    np.testing.assert_allclose(keypoints[:, 2], 0.8)


def test_heatmaps_lean_a_quarter_towards_the_larger_neighbour(tmp_path):
    maps = np.zeros((1, 17, HEIGHT // 4, WIDTH // 4), np.float32)
    joint = np.arange(17)
    columns, rows = joint % 8 + 2, joint % 12 + 2
    maps[0, joint, rows, columns] = 0.7
    maps[0, joint, rows, columns + 1] = 0.2
    maps[0, joint, rows - 1, columns] = 0.3
    model, keypoints, crop = posed(write(tmp_path, {"heatmaps": maps}))
    assert "recognised as heatmaps" in model.descriptions[0]
    points = np.stack([(columns + 0.25) * 4, (rows - 0.25) * 4], axis=1)
    expected = crop.points_to_source(points)[[0, *range(3, 17)]]
    np.testing.assert_allclose(keypoints[:, :2], expected, atol=1e-4)
    np.testing.assert_allclose(keypoints[:, 2], 0.7)


def test_maxima_at_the_edge_stay_there():
    maps = np.zeros((2, 17, 4, 3), np.float32)
    maps[0, :, 0, 0] = 1.5
    maps[1, :, 3, 2] = 0.5
    joints = read_heatmaps([maps], (16, 12))
    np.testing.assert_array_equal(joints[0, 0], [0, 0, 1])
    np.testing.assert_array_equal(joints[1, 0], [8, 12, 0.5])
    columns, rows = np.zeros((1, 17, 6), np.float32), np.zeros((1, 17, 8), np.float32)
    columns[..., -1] = rows[..., 0] = -1
    np.testing.assert_array_equal(read_simcc([columns, rows], (4, 3))[0, 0], [0, 0.5, 0])


def test_both_take_imagenets_mean_and_deviation():
    image = TensorSpec("images", "float32", (1, 3, HEIGHT, WIDTH))
    crops = read_input(GraphSpec("pose", "pose.onnx", "", 0, (image,), ()))
    blue = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    blue[..., 0] = 255
    fed = crops.feed([blue], "rgb-imagenet")
    assert fed.shape == (1, 3, HEIGHT, WIDTH)
    expected = (-123.675 / 58.395, -116.28 / 57.12, (255 - 103.53) / 57.375)
    np.testing.assert_allclose(fed[0, :, 5, 5], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "outputs",
    [
        {"x": np.zeros((1, 17, 100), np.float32), "y": np.zeros((1, 17, 128), np.float32)},
        {"maps": np.zeros((1, 17, 16, 16), np.float32)},
        {"maps": np.zeros((1, 21, 16, 12), np.float32)},
        {"x": np.zeros((1, 17, 96), np.float32)},
    ],
)
def test_other_shapes_are_refused(tmp_path, outputs):
    with pytest.raises(DetectionError, match="is not a pose model of a known format: got images"):
        PoseModel(write(tmp_path, outputs))


def test_nan_is_an_error(tmp_path):
    outputs = simcc()
    outputs["simcc_x"][0, 3, 3] = np.nan
    with pytest.raises(DetectionError, match="NaN or infinite values for frame 0"):
        posed(write(tmp_path, outputs))


def test_what_was_recognised_is_said_of_both_models(tmp_path):
    rows = np.zeros((1, 300, 6), np.float32)
    boxes = write_detector(tmp_path / "boxes.onnx", {"output0": rows})
    pose = write(tmp_path, simcc())
    with open_detector(detector=str(boxes), pose_model=pose, threads=1) as detector:
        first, second = detector.descriptions
    assert first.startswith(f"--detector {boxes}: recognised as end2end")
    assert second.startswith(f"--pose-model {pose}: recognised as SimCC")
