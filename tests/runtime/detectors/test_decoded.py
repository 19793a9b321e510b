"""Decoded detectors: small graphs of the layout with known answers, sizes, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError, RequestError
from unitrack_edge.records import Frame
from unitrack_edge.runtime.detectors.base import MostDetections, OncePerFrame
from unitrack_edge.runtime.detectors.decoded import (
    METADATA_KEY,
    DetectorFacts,
    network_size,
)
from unitrack_edge.runtime.detectors.model import open_model, what_it_finds
from unitrack_edge.runtime.detectors.open import open_detector
from unitrack_edge.runtime.detectors.recognition import ModelSettings
from unitrack_edge.runtime.detectors.topdown import TopDownDetector
from unitrack_edge.runtime.formats.keypoints import COCO_JOINTS

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from unitrack_edge.export.detectors.onnx_graph import OnnxGraph  # noqa: E402

FACTS = DetectorFacts("tiny", ("person", "car"), confidence=0.3, nms_limit=0.5)
JOINTS = len(COCO_JOINTS)


def write(path, boxes, scores, classes, keypoints=None, facts=FACTS, size=("h", "w")):
    """A detector that says the same of every image, plus its first pixel's blue / 255 in scores."""
    graph = OnnxGraph("tiny")
    image = graph.input("image", "uint8", (1, *size, 3))
    pixel = graph.add(
        "Slice",
        graph.cast(image, "float32"),
        *(graph.constant(values, "int64") for values in ([0, 0, 0], [1, 1, 1], [1, 2, 3])),
    )
    flat = graph.add("Reshape", pixel, graph.constant([1], "int64"))
    value = graph.add("Mul", flat, graph.constant(1 / 255, "float32"))
    count = len(boxes)
    graph.output(graph.constant(boxes, "float32"), "boxes", "float32", (count, 4))
    graph.output(
        graph.add("Add", value, graph.constant(scores, "float32")), "scores", "float32", (count,)
    )
    graph.output(graph.constant(classes, "int64"), "classes", "int64", (count,))
    if keypoints is not None:
        points = graph.constant(keypoints, "float32")
        graph.output(points, "keypoints", "float32", np.shape(keypoints))
    onnx.save(graph.model({METADATA_KEY: facts.to_json()}), str(path))
    return path


def frame(size_hw=(128, 192), value=0):
    return Frame(0, 0.0, np.full((*size_hw, 3), value, np.uint8))


def seen_by(path, image=None, **settings):
    with open_model(path, ModelSettings(**settings), threads=1) as detector:
        return detector.detect(image or frame())


BOXES = [[10, 20, 50, 60], [12, 20, 50, 60], [100, 40, 140, 90], [0, 0, 0, 0], [300, 0, 310, 9]]
SCORES = [0.9, 0.8, 0.4, 0.9, 0.9]
CLASSES = [0, 0, 1, 0, 0]


def test_what_is_improbable_empty_outside_or_twice_is_left_out(tmp_path):
    seen = seen_by(write(tmp_path / "a.onnx", BOXES, SCORES, CLASSES))
    np.testing.assert_allclose(seen.boxes_xyxy, [BOXES[0], BOXES[2]])
    np.testing.assert_allclose(seen.scores, [0.9, 0.4], atol=1e-6)
    assert seen.classes.tolist() == [0, 1]
    assert seen.keypoints is None


def test_settings_of_the_user_come_first(tmp_path):
    path = write(tmp_path / "a.onnx", BOXES, SCORES, CLASSES)
    assert len(seen_by(path, confidence=0.5)) == 1
    assert len(seen_by(path, nms_limit=1.0)) == 3
    with open_detector(detector=str(path), classes=(1,), threads=1) as detector:
        assert detector.detect(frame()).classes.tolist() == [1]
    with pytest.raises(RequestError, match="got '2', but the detector has person, car"):
        open_detector(detector=str(path), classes=(2,), threads=1)


def test_a_fixed_size_is_scaled_back_to_the_source(tmp_path):
    points = np.zeros((1, JOINTS, 3), np.float32)
    points[0, 0] = 32, 16, 0.7
    path = write(
        tmp_path / "a.onnx",
        [[8, 16, 24, 32]],
        [0.9],
        [0],
        points,
        replace(FACTS, joints="coco17"),
        (64, 96),
    )
    seen = seen_by(path, frame((128, 100)))
    # 64 / 128 is the smaller ratio: two source pixels a network pixel.
    np.testing.assert_allclose(seen.boxes_xyxy, [[16, 32, 48, 64]], rtol=1e-5)
    np.testing.assert_allclose(seen.keypoints[0, 0], [64, 32, 0.7], rtol=1e-5)
    assert what_it_finds(path) == {"boxes", "keypoints"}


def test_colours_arrive_as_they_are(tmp_path):
    path = write(tmp_path / "a.onnx", BOXES[:1], [0.0], [0])
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 0] = 204  # blue
    seen = seen_by(path, Frame(0, 0.0, image))
    np.testing.assert_allclose(seen.scores, [0.8], atol=1e-6)


def test_nothing_has_no_row(tmp_path):
    path = write(tmp_path / "a.onnx", BOXES, [0.0] * 5, CLASSES)
    assert len(seen_by(path, confidence=0.0)) == 0


def test_probabilities_rise_from_a_half():
    facts = replace(FACTS, score_half=0.1, score_power=2.0)
    scores = np.array([0, 0.1, 0.3, 1], np.float32)
    np.testing.assert_allclose(facts.probability(scores), [0, 0.5, 0.9, 1 / 1.01], atol=1e-6)
    np.testing.assert_array_equal(FACTS.probability(scores), scores)


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ((480, 640), (288, 384)),
        ((576, 768), (288, 384)),
        ((540, 960), (288, 512)),
        ((720, 1280), (384, 640)),
        ((1080, 1920), (544, 960)),
        ((1920, 1080), (960, 544)),
        ((2160, 3840), (544, 960)),
        ((240, 320), (256, 320)),
        ((20, 3000), (64, 960)),
        ((1, 1), (64, 64)),
    ],
)
def test_the_size_follows_the_source(source, network):
    assert network_size(source, FACTS) == network


def test_sizes_that_are_asked_for(tmp_path):
    path = write(tmp_path / "a.onnx", BOXES, SCORES, CLASSES)
    assert len(seen_by(path, size_hw=(64, 64))) == 1
    with pytest.raises(RequestError, match="takes multiples of 32 from 64, got 100x64"):
        seen_by(path, size_hw=(100, 64))
    path = write(tmp_path / "b.onnx", BOXES, SCORES, CLASSES, size=(64, 96))
    with pytest.raises(RequestError, match="was exported for 64x96, got 64x64"):
        seen_by(path, size_hw=(64, 64))


def test_frames_of_changing_size(tmp_path):
    path = write(tmp_path / "a.onnx", BOXES[:1], [0.9], [0])
    with open_model(path, threads=1) as detector:
        for size in ((128, 192), (64, 64), (700, 1280), (128, 192)):
            assert len(detector.detect(frame(size))) == 1


# What is not a decoded detector.


def test_a_yolox_model_is_recognised(tmp_path, shared_models):
    path = write(tmp_path / "a.onnx", BOXES, SCORES, CLASSES)
    with open_detector(detector=str(path), threads=1) as detector:
        assert len(detector.detect(frame())) == 2
    yolox = shared_models / "yolox_nano.onnx"
    assert what_it_finds(yolox) == {"boxes"}
    with open_detector(detector=str(yolox), threads=1) as detector:
        assert detector.recognised.layout.name == "yolox"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DetectionError, match="there is no such file"):
        open_model(tmp_path / "a.onnx")


def test_outputs_that_do_not_fit(tmp_path):
    path = write(tmp_path / "a.onnx", BOXES, SCORES, CLASSES, facts=replace(FACTS, joints="coco17"))
    with pytest.raises(DetectionError, match=r"expected image uint8 .* keypoints"):
        open_model(path)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"name": "a", "class_names": 3}', '{"name":"a","class_names":[],"x":1}'],
)
def test_facts_that_are_damaged(tmp_path, text):
    path = write(tmp_path / "a.onnx", BOXES, SCORES, CLASSES)
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {METADATA_KEY: text})
    onnx.save(model, str(path))
    with pytest.raises(DetectionError, match=r"is damaged .*export it again"):
        open_model(path)


def test_facts_out_of_range():
    for changes in ({"confidence": -1}, {"score_half": 0}, {"multiple": 0}):
        text = replace(FACTS, **changes).to_json()
        with pytest.raises(DetectionError, match="out of range"):
            DetectorFacts.from_json(text, "here")
    assert DetectorFacts.from_json(FACTS.to_json(), "here") == FACTS


def test_an_open_size_becomes_smaller_and_is_the_same_again(tmp_path, monkeypatch):
    path = write(tmp_path / "a.onnx", BOXES[:1], SCORES[:1], CLASSES[:1])
    sizes = []
    with open_model(path, threads=1) as detector:
        put = detector._canvas.put
        keep = lambda image, hw: sizes.append(hw) or put(image, hw)  # noqa: E731
        monkeypatch.setattr(detector._canvas, "put", keep)
        image = frame((540, 960))
        boxes = [detector.detect(image).boxes_xyxy[0]]
        for scale, changed in ((0.75, True), (0.75, False), (0.5, True), (1.0, True)):
            assert detector.resize(scale) == changed
            boxes.append(detector.detect(image).boxes_xyxy[0])
    assert sizes == [(288, 512), (224, 384), (224, 384), (128, 256), (288, 512)]
    # The graph says the same of every image; in source pixels, that is more where it is smaller.
    np.testing.assert_allclose(boxes[3], boxes[0] * (288 / 128), rtol=0.005)
    assert (boxes[4] == boxes[0]).all()


def test_no_side_becomes_smaller_than_the_network_or_its_engine_takes(tmp_path, monkeypatch):
    path = write(tmp_path / "a.onnx", BOXES[:1], SCORES[:1], CLASSES[:1])
    with open_model(path, threads=1) as detector:
        detector.detect(frame((64, 64)))
        assert not detector.resize(0.5)
        detector.detect(frame((540, 960)))
        monkeypatch.setattr(detector._engine, "least", lambda _index, axis: (1, 256, 256, 3)[axis])
        assert not detector.resize(0.75)
        assert detector._network_hw((540, 960)) == (288, 512)


@pytest.mark.parametrize(
    ("source", "enough", "network"),
    [
        # People of 300 and of 180 pixels get 100; those of 1000 leave 288 of the shorter side.
        ((1080, 1920), 1 / 3, (384, 640)),
        ((1080, 1920), 100 / 180, (544, 960)),
        ((1080, 1920), 0.1, (288, 512)),
        ((480, 640), 0.1, (288, 384)),
        ((240, 320), 0.1, (256, 320)),
    ],
)
def test_the_size_follows_what_is_enough(source, enough, network):
    assert network_size(source, FACTS, enough=enough) == network


class Street:
    """People in 1080p, whom a network finds from a height in its pixels on."""

    def __init__(self, tmp_path, monkeypatch, least=30, **settings):
        path = write(tmp_path / "a.onnx", BOXES[:1], SCORES[:1], CLASSES[:1])
        self.detector = open_model(path, ModelSettings(**settings), threads=1)
        self.heights, self.sizes = [], []
        self._image, self._time_s = np.zeros((1080, 1920, 3), np.uint8), 0.0

        def run(feeds):
            size = feeds["image"].shape[1:3]
            scale = min(size[0] / 1080, size[1] / 1920)
            self.sizes.append(size)
            tall = [h * scale for h in self.heights if h * scale >= least]
            boxes = np.array([[9 * k, 0, 9 * k + 8, h] for k, h in enumerate(tall)], np.float32)
            return {
                "boxes": boxes.reshape(-1, 4),
                "scores": np.full(len(tall), 0.9, np.float32),
                "classes": np.zeros(len(tall), np.int64),
            }

        monkeypatch.setattr(self.detector._engine, "run", run)

    def watch(self, seconds, *heights):
        """Sizes of the images looked at, at 10 a second, and how many people each one showed."""
        self.heights, self.sizes, found = heights, [], []
        for _ in range(round(10 * seconds)):
            found.append(len(self.detector.detect(Frame(0, self._time_s, self._image))))
            self._time_s += 0.1
        return self.sizes, found


USUAL, SMALL = (544, 960), (288, 512)


def test_while_there_is_time_every_image_is_as_usual(tmp_path, monkeypatch):
    street = Street(tmp_path, monkeypatch)
    assert street.watch(2, 400, 500) == ([USUAL] * 20, [2] * 20)
    assert street.detector.notes() == []


def test_large_people_are_looked_at_in_small_images_and_nobody_is_lost(tmp_path, monkeypatch):
    street = Street(tmp_path, monkeypatch)
    street.watch(0.5, 400, 500)
    assert street.detector.save_time(True)
    sizes, found = street.watch(2, 400, 500)
    assert set(found) == {2}
    assert (sizes.count(USUAL), sizes.count(SMALL)) == (2, 18)
    assert "18 images were smaller than usual" in street.detector.notes()[0]
    # Of 80 pixels, a small image shows 21: too few for this network.
    sizes, found = street.watch(3, 400, 80, 500)
    first = found.index(3)
    assert first <= 10, "the usual image is looked at once a second"
    assert set(found[first:]) == {3}
    assert set(sizes[first:]) == {USUAL}
    # Once that one has left, small images suffice again.
    sizes, _ = street.watch(1, 400, 500)
    assert (sizes.count(USUAL), sizes.count(SMALL)) == (1, 9)
    assert not street.detector.save_time(False)
    assert set(street.watch(2, 400, 500)[0]) == {USUAL}


def test_who_is_small_and_found_in_a_small_image_is_looked_at_closely_at_once(
    tmp_path, monkeypatch
):
    street = Street(tmp_path, monkeypatch, least=10)
    street.watch(0.1, 400)
    street.detector.save_time(True)
    assert set(street.watch(0.5, 400)[0]) == {SMALL}
    assert street.watch(0.5, 400, 80)[0] == [SMALL, *[USUAL] * 4]


def test_where_nobody_or_someone_small_is_found_no_image_is_smaller(tmp_path, monkeypatch):
    street = Street(tmp_path, monkeypatch)
    for heights in ((), (400, 100)):
        street.watch(0.1, *heights)
        assert not street.detector.save_time(True)
        assert set(street.watch(2, *heights)[0]) == {USUAL}
    street.watch(0.1, 400)
    monkeypatch.setattr(street.detector._engine, "least", lambda _k, axis: (1, 320, 320, 3)[axis])
    assert not street.detector.save_time(True), "the engine takes no such image"
    assert set(street.watch(1, 400)[0]) == {USUAL}


def test_whoever_reports_a_part_of_what_is_found_passes_it_on(tmp_path, monkeypatch):
    street = Street(tmp_path, monkeypatch)
    street.watch(0.1, 400)
    part = MostDetections(OncePerFrame(street.detector), 9)
    for detector in (part, TopDownDetector(part, SimpleNamespace(descriptions=()))):
        assert detector.save_time(True)
        assert not detector.save_time(False)


def test_a_size_that_the_user_said_stays(tmp_path, monkeypatch):
    street = Street(tmp_path, monkeypatch, size_hw=(320, 320))
    street.watch(0.1, 900)
    assert not street.detector.save_time(True)
    assert set(street.watch(2, 900)[0]) == {(320, 320)}


def test_a_graph_of_one_size_keeps_it(tmp_path):
    path = write(tmp_path / "b.onnx", BOXES, SCORES, CLASSES, size=(64, 96))
    with open_model(path, threads=1) as detector:
        assert not detector.resize(0.5)
        assert not detector.save_time(True)
        assert len(detector.detect(frame())) >= 1
