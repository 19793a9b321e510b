"""Full COCO files: images, annotations and the names of classes; and lists without anything."""

from __future__ import annotations

import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.runtime.formats.detections import find_format

from ...support.frames import frame

CLASSES = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}]


def full(numbers=(0, 1, 2), name="v/img_{:04d}.jpg", **image):
    images = [{"id": 50 + k, "file_name": name.format(k), **image} for k in numbers]
    annotations = [
        {"id": k, "image_id": 50 + k, "category_id": 3 - 2 * (k % 2), "bbox": [5, 6, 20, 30]}
        for k in numbers
    ]
    return {"images": images, "annotations": annotations, "categories": CLASSES}


def test_classes_have_names(opened):
    file = opened(full(), "det.json")
    assert find_format(file.path) == "coco"
    found = [file.detect(frame(k)) for k in range(4)]
    assert [seen.boxes_xyxy.tolist() for seen in found[:2]] == [[[5, 6, 25, 36]]] * 2
    assert [seen.name_of(seen.classes[0]) for seen in found[:3]] == ["car", "person", "car"]
    assert len(found[3]) == 0
    assert file.notes(4) == []


def test_classes_without_names_are_no_people(opened):
    """PoseTrack's files of boxes alone, which are of people, look the same but for the numbers."""
    for label, expected in ((3, (3, "")), (1, (0, "person"))):
        images = [{"id": 1, "file_name": "a1.jpg"}]
        entries = [{"image_id": 1, "category_id": label, "bbox": [1, 2, 10, 12]}]
        data = {"images": images, "annotations": entries}
        seen = opened(data, "det.json").detect(frame())
        number = int(seen.classes[0])
        assert (number, seen.name_of(number)) == expected


def test_images_are_found_by_name_by_number_or_in_their_order(opened):
    by_name = opened(full(), "det.json")
    names = ("img_0002.png", "img_0007.png")
    assert [len(by_name.detect(frame(k, name=name))) for k, name in enumerate(names)] == [1, 0]
    sparse = opened(full((0, 2, 6)), "det.json")
    assert [len(sparse.detect(frame(k))) for k in range(7)] == [1, 0, 1, 0, 0, 0, 1]
    late = opened(full((100, 101)), "det.json")
    assert [len(late.detect(frame(k))) for k in range(3)] == [1, 1, 0]


def test_an_image_of_another_size_is_refused(opened):
    file = opened(full(width=64, height=47), "det.json")
    with pytest.raises(DetectionError, match=r"'img_0000' is 64x47 there, .* is 64x48"):
        file.detect(frame(0))


@pytest.mark.parametrize("name", ["det.json", "det.txt"])
@pytest.mark.parametrize("text", ["[]", " [ ] \n"])
def test_an_empty_list_holds_no_objects(opened, name, text):
    file = opened(text, name)
    assert len(file.detect(frame(0))) == 0
    assert file.notes(1) == [f"{file.path} holds no detections"]


@pytest.mark.parametrize("name", ["clip_{}", "v/clip_{}.jpg"])
def test_results_that_name_their_images(opened, name):
    box = {"category_id": 3, "bbox": [5, 6, 20, 30], "score": 0.5}
    file = opened([{"image_id": name.format(k), **box} for k in (1, 3)], "predictions.json")
    assert find_format(file.path) == "coco"
    assert [len(file.detect(frame(k))) for k in range(4)] == [1, 0, 1, 0]
    named = opened([{"image_id": name.format(k), **box} for k in (1, 3)], "predictions.json")
    images = ("clip_3.png", "clip_2.png")
    found = [named.detect(frame(k, name=image)) for k, image in enumerate(images)]
    assert [len(seen) for seen in found] == [1, 0]
    assert (found[0].classes[0], found[0].scores[0]) == (3, 0.5)
