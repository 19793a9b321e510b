"""Every reader takes anything: it ends in a result or in one line for people.

`UNITRACK_FUZZ=10000 pytest tests/test_fuzz.py` tries so many inputs on each.
"""

from __future__ import annotations

import copy
import json
import os
import resource
import shutil
from io import BytesIO
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from unitrack_edge.errors import UnitrackError
from unitrack_edge.evaluation.datasets.davis import read_youtube_vos
from unitrack_edge.evaluation.datasets.posetrack import labelled_frames, read_posetrack
from unitrack_edge.evaluation.metrics.keypoint_ap import keypoint_counts
from unitrack_edge.records import Frame
from unitrack_edge.runtime.bundle.bundle import SPEC_FILE, Bundle
from unitrack_edge.runtime.detectors.open import open_detector
from unitrack_edge.runtime.formats.davis import encode_palette_png, read_label_png
from unitrack_edge.runtime.formats.otb import read_otb_boxes
from unitrack_edge.runtime.formats.rle import decode_rle, encode_rle
from unitrack_edge.runtime.prompts.box import box_from_text
from unitrack_edge.runtime.prompts.mask import labels_from_text
from unitrack_edge.runtime.prompts.mask_folder import MaskFolder
from unitrack_edge.runtime.prompts.pose import poses_from_file
from unitrack_edge.runtime.server.auth import parse_address
from unitrack_edge.runtime.server.commands import read_command
from unitrack_edge.runtime.sources.image_files.numbering import numbers_in_names
from unitrack_edge.runtime.sources.open import SOURCES, open_source
from unitrack_edge.runtime.sources.redact import redact

from .support.video_files import grey_levels, write_video

SIZE_HW = (24, 32)
MEMORY_MB = 500
EXAMPLES = int(os.environ.get("UNITRACK_FUZZ", "200"))

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=1000,  # milliseconds of one input
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
pytestmark = [
    pytest.mark.timeout(3000),
    # The program does not show Pillow's warnings, pytest makes errors of them.
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


@pytest.fixture(autouse=True)
def bounded_memory():
    """The most that this process ever held may not grow by half a gigabyte in a test."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEMORY_MB


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def ends_well(read, *arguments):
    """Calls a reader: a result, or an error of one line (unless what was asked for has several)."""
    try:
        return read(*arguments)
    except UnitrackError as error:
        said = str(error)
    assert said
    assert "\n" not in said or any("\n" in str(argument) for argument in arguments)
    return None


# What readers are given.

numbers = st.one_of(
    st.integers(-3, 40),
    st.sampled_from([0, 1, -1, 2**31, 2**63, 2**64, 10**30, 1e9, 1e-9, 1e308, 0.5, -0.0]),
    st.floats(),
)
words = st.one_of(numbers.map(str), st.sampled_from(["", "-", "nan", "1e5", "٣", "0x1", "PPPl3"]))
junk = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def rows(columns):
    """Texts of rows that are nearly right."""
    separators = st.sampled_from([",", " ", "\t", ", "])
    row = st.tuples(st.lists(words, min_size=columns - 1, max_size=columns + 1), separators)
    lines = st.lists(row.map(lambda parts: parts[1].join(parts[0])), max_size=5)
    ends = st.sampled_from(["\n", "\r\n", "\r"])
    return st.tuples(lines, ends).map(lambda parts: parts[1].join(parts[0]).encode())


def places_in(data, path=()):
    yield path
    if isinstance(data, dict):
        items = data.items()
    else:
        items = enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places_in(value, (*path, key))


@st.composite
def spoilt(draw, valid):
    """JSON of valid data in which some places hold something else, or nothing."""
    data = copy.deepcopy(valid)
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list(places_in(data))))
        value = draw(junk)
        if not path:
            data = value
            continue
        holder = data
        for key in path[:-1]:
            holder = holder[key]
        if draw(st.booleans()):
            holder[path[-1]] = value
        else:
            del holder[path[-1]]
    return json.dumps(data).encode()


def cut_or_changed(content):
    """Bytes of a file of which some are changed, and the end may be missing."""
    changes = st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=6)

    def spoil(drawn):
        spoiled = bytearray(content)
        for place, value in drawn[0]:
            spoiled[place] = value
        return bytes(spoiled[: drawn[1]])

    lengths = st.one_of(st.just(len(content)), st.integers(0, len(content)))
    return st.tuples(changes, lengths).map(spoil)


PERSON = {
    "image_id": 1,
    "id": 1,
    "track_id": 0,
    "category_id": 1,
    "score": 0.5,
    "bbox": [2, 3, 10, 12],
    "keypoints": [5, 6, 1] * 17,
    "scores": [0.5] * 17,
}
POSETRACK = {
    "images": [
        {"id": 1, "frame_id": 1, "file_name": "a/0.jpg", "height": 24, "width": 32},
        {"id": 2, "frame_id": 2, "file_name": "a/1.jpg"},
    ],
    "annotations": [PERSON, {**PERSON, "image_id": 2, "id": 2}],
    "categories": [{"id": 1, "name": "person", "keypoints": ["nose"]}],
}
COCO = [PERSON, {"image_id": 2, "bbox": [1, 1, 5, 5], "score": 1}]
COCO_FILE = {
    "images": POSETRACK["images"],
    "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 1}],
    "categories": [{"id": 1, "name": "person"}],
}
ALPHAPOSE = [{**PERSON, "image_id": "0.jpg", "box": [1, 2, 9, 9]}, {**PERSON, "image_id": "a"}]
NAMED = [{"image_id": name, "bbox": [1, 1, 5, 5], "score": 1} for name in ("0", "v/1.jpg")]
OPENPOSE = {"version": 1.3, "people": [{"pose_keypoints_2d": [5, 6, 1] * 25}]}
OPENPOSE_IMAGES = {"0.jpg": OPENPOSE, "1.jpg": {"bodies": [{"joints": [5, 6, 1] * 18}]}}
SINK = [
    {"x_min": 1, "y_min": "2", "x_max": 9, "y_max": 9, "frame_index": 0, "class_id": 1},
    {"x_min": 1, "y_min": 2, "x_max": 9, "y_max": 9, "frame_index": 1, "class_name": "a"},
]


def detections(path, strict=False):
    """Reads a file of detections and asks for three frames."""
    with open_detector(detections=path, strict=strict) as detector:
        for index in range(3):
            image = np.zeros((*SIZE_HW, 3), np.uint8)
            seen = detector.detect(Frame(index, index / 25, image, f"{index}.jpg"))
            assert np.isfinite(seen.boxes_xyxy).all()
        for note in [*detector.notes(), *detector.notes(2)]:
            assert "\n" not in note


MOTS_ROW = f"1 2 2 {SIZE_HW[0]} {SIZE_HW[1]} {encode_rle(np.eye(*SIZE_HW, dtype=np.bool_))}\n"


@fuzz
@given(
    content=st.one_of(
        rows(7), rows(10), rows(6), st.binary(max_size=200), cut_or_changed(2 * MOTS_ROW.encode())
    )
)
def test_detections_as_text(folder, content):
    path = folder / "det.txt"
    path.write_bytes(content)
    ends_well(detections, path)


KITTI_ROW = "0 {} Car 0 0 -10 1 2 9 9 -1 -1 -1 -1000 -1000 -1000 -10 0.5\n"
YOLO_ROW = "0 0.5 0.5 0.2 0.3 0.9\n"
CSV = "x_min,y_min,x_max,y_max,class_id,confidence,frame_index\n1,2,9,9,0,0.5,0\n1,2,9,9,0,0.5,1\n"
MOT = "frame,id,bb_left,bb_top,bb_width,bb_height,conf\n" + "1,-1,2,3,9,9,0.5\n" * 4


@fuzz
@given(
    content=st.one_of(
        cut_or_changed((KITTI_ROW.format(1) + KITTI_ROW.format(2)).encode()),
        cut_or_changed(2 * YOLO_ROW.encode()),
        cut_or_changed(CSV.encode()),
        cut_or_changed(MOT.encode()),
        cut_or_changed(MOT.encode("utf-16")),
        rows(17).map(lambda body: KITTI_ROW.encode() + body),
        rows(6).map(lambda body: YOLO_ROW.encode() + body),
        rows(7).map(lambda body: CSV.encode() + body),
    )
)
def test_other_tools_detections_as_text(folder, content):
    path = folder / "other.txt"
    path.write_bytes(content)
    ends_well(detections, path)


@fuzz
@given(
    content=st.one_of(
        spoilt(COCO_FILE),
        spoilt(ALPHAPOSE),
        spoilt(OPENPOSE),
        spoilt(OPENPOSE_IMAGES),
        spoilt(NAMED),
        spoilt(SINK),
    )
)
def test_other_tools_detections_as_json(folder, content):
    path = folder / "other.json"
    path.write_bytes(content)
    ends_well(detections, path)


TRACK = {
    "task": "mots",
    "id": 3,
    "box": [1, 2, 9, 9],
    "score": 0.5,
    "class": 2,
    "name": "a",
    "predicted": False,
    "keypoints": [[5, 6, 1]] * 3,
    "mask": {"size": SIZE_HW, "counts": encode_rle(np.eye(*SIZE_HW, dtype=np.bool_))},
}
LINES = [
    {"source": "door", "frame": k, "time": k / 25, "dropped": 0, "tracks": [TRACK, {**TRACK}]}
    for k in range(2)
]


@fuzz
@given(
    lines=st.lists(
        st.one_of(
            spoilt(LINES[0]),
            spoilt(LINES[1]),
            cut_or_changed(json.dumps(LINES[0]).encode()),
            spoilt(SINK[0]),
            spoilt(SINK[1]),
        ),
        max_size=4,
    ),
    strict=st.booleans(),
)
def test_lines_of_json(folder, lines, strict):
    path = folder / "lines.jsonl"
    path.write_bytes(b"\n".join(lines))
    ends_well(detections, path, strict)


INSTANCES = np.zeros(SIZE_HW, np.uint16)
INSTANCES[3:9, 4:20], INSTANCES[12:20, 4:20] = 1001, 2002


@fuzz
@given(
    names=st.lists(
        st.text(st.sampled_from("ab01_٣"), min_size=1, max_size=4), min_size=1, max_size=3
    ),
    labels=st.one_of(rows(6), cut_or_changed(2 * YOLO_ROW.encode())),
    png=cut_or_changed(cv2.imencode(".png", INSTANCES)[1].tobytes()),
    people=spoilt(OPENPOSE),
    kind=st.sampled_from(["txt", "png", "json"]),
)
def test_folders_of_detections(tmp_path_factory, names, labels, png, people, kind):
    path = tmp_path_factory.mktemp("folder")
    content = {"txt": labels, "png": png, "json": people}[kind]
    for name in names:
        (path / f"{name}{'_keypoints' if kind == 'json' else ''}.{kind}").write_bytes(content)
    ends_well(detections, path)
    shutil.rmtree(path)


@fuzz
@given(content=st.one_of(spoilt(POSETRACK), spoilt(COCO), st.binary(max_size=60)))
def test_poses_as_json(folder, content):
    path = folder / "poses.json"
    path.write_bytes(content)
    ends_well(detections, path)
    ends_well(poses_from_file, path, SIZE_HW)


TRUTH = {**POSETRACK, "annotations": [{**PERSON, "bbox_head": [1, 1, 6, 8]}]}
TRUTH["images"] = [
    {**image, "is_labeled": True, "ignore_regions_x": [[0, 9, 9]], "ignore_regions_y": [[0, 0, 9]]}
    for image in POSETRACK["images"]
]


@fuzz
@given(truth=spoilt(TRUTH), results=st.one_of(spoilt(TRUTH), spoilt(POSETRACK)))
def test_truth_and_results_of_poses(folder, truth, results):
    for name, content in (("gt", truth), ("results", results)):
        path = folder / "walk" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    def score():
        for sequence in read_posetrack(folder, None):
            for pair in labelled_frames(sequence, path):
                keypoint_counts([pair])

    ends_well(score)


VIDEOS = {"videos": {"a": {"objects": {"1": {"category": "cow", "frames": ["00000"]}}}}}


@fuzz
@given(own=spoilt(VIDEOS), train=st.one_of(spoilt(VIDEOS), st.binary(max_size=60)))
def test_categories_of_objects(folder, own, train):
    for split, content in (("valid", own), ("train", train)):
        path = folder / split / "JPEGImages" / "a"
        path.mkdir(parents=True, exist_ok=True)
        (path / "00000.jpg").write_bytes(b"")
        masks = folder / split / "Annotations" / "a"
        masks.mkdir(parents=True, exist_ok=True)
        (masks / "00000.png").write_bytes(PALETTE)
        (folder / split / "meta.json").write_bytes(content)
    ends_well(read_youtube_vos, folder, "valid")


@fuzz
@given(
    text=st.one_of(
        st.text(max_size=40),
        st.binary(max_size=40),
        st.text(st.sampled_from("0123456789:;<=>?@NOPQo"), max_size=40),
    ),
    height=st.one_of(st.integers(-2, 50), st.sampled_from([1 << 27, 1 << 62, 10**30, -(10**9)])),
    width=st.integers(-2, 50),
)
def test_masks_as_run_lengths(text, height, width):
    mask = ends_well(decode_rle, text, (height, width))
    if mask is not None:
        assert mask.shape == (height, width)


@pytest.fixture(scope="module")
def spec():
    graph = {
        "name": "backbone",
        "file": "backbone.onnx",
        "sha256": "0" * 64,
        "size_bytes": 3,
        "inputs": [],
        "outputs": [],
        "max_abs_error": 0.0,
    }
    tensor = {"name": "image", "dtype": "uint8", "shape": ["h", "w", 3]}
    graph["inputs"] = [{**tensor, "min_shape": [8, 8, 3], "opt_shape": None, "max_shape": None}]
    return {
        "format_version": 1,
        "backbone": "a",
        "arch": "a",
        "layer": "layer3",
        "stride": 8,
        "channels": 16,
        "precision": "fp32",
        "opset": 17,
        "sizes_hw": [[64, 96]],
        "preprocessing": {},
        "weights": {},
        "graphs": {"backbone": graph},
        "versions": {},
        "parameters": {"top_k": 10},
    }


@fuzz
@given(data=st.data())
def test_bundles(folder, spec, data):
    bundle = folder / "bundle"
    bundle.mkdir(exist_ok=True)
    (bundle / "backbone.onnx").write_bytes(b"abc")
    content = data.draw(st.one_of(spoilt(spec), st.binary(max_size=60)))
    (bundle / SPEC_FILE).write_bytes(content)
    ends_well(Bundle.load, bundle)


PALETTE = encode_palette_png(np.eye(*SIZE_HW, dtype=np.uint8), np.zeros((256, 3), np.uint8))
GREY = cv2.imencode(".png", np.eye(*SIZE_HW, dtype=np.uint8))[1].tobytes()
SMALL = encode_palette_png(np.eye(8, dtype=np.uint8), np.zeros((256, 3), np.uint8))


@fuzz
@given(content=st.one_of(cut_or_changed(PALETTE), cut_or_changed(GREY), st.binary(max_size=60)))
def test_masks_as_pictures(folder, content):
    path = folder / "mask.png"
    path.write_bytes(content)
    labels = ends_well(read_label_png, path)
    assert labels is None or (labels.ndim == 2 and labels.dtype == np.uint8)
    ends_well(labels_from_text, str(path), SIZE_HW)


# A folder of masks may hold names of any kind, files that are no masks, and masks of other sizes.
mask_names = st.text(st.sampled_from("ab019_.-٣"), min_size=1, max_size=5).filter(
    lambda name: name.strip(".")
)
mask_files = st.one_of(
    st.sampled_from([PALETTE, GREY, SMALL]),
    cut_or_changed(PALETTE),
    cut_or_changed(GREY),
    st.binary(max_size=20),
)


def masks_of_frames(folder, size_hw):
    """Asks a folder of masks for four frames with names, then, anew, for four without."""
    for name in ("{:05d}.jpg", ""):
        masks = MaskFolder(folder)
        for index in range(4):
            image = np.zeros((*size_hw, 3), np.uint8)
            labels = masks(Frame(index, index / 25, image, name.format(index)))
            assert labels is None or (labels.shape == size_hw and labels.dtype == np.uint8)


@fuzz
@given(
    files=st.dictionaries(
        st.one_of(mask_names, st.integers(0, 3).map("{:05d}".format)), mask_files, max_size=3
    ),
    suffix=st.sampled_from([".png", ".png", ".PNG", "", ".jpg"]),
    a_folder=st.booleans(),
    size_hw=st.sampled_from([SIZE_HW, SIZE_HW, (8, 8)]),
)
def test_folders_of_masks(tmp_path_factory, files, suffix, a_folder, size_hw):
    path = tmp_path_factory.mktemp("masks")
    for name, content in files.items():
        (path / f"{name}{suffix}").write_bytes(content)
    if a_folder and "00000" not in files:
        (path / "00000.png").mkdir()
    ends_well(masks_of_frames, path, size_hw)
    shutil.rmtree(path)


@fuzz
@given(
    text=st.one_of(
        st.text(max_size=30),
        st.lists(words, max_size=6).map(",".join),
        st.tuples(words, st.integers(1, 3000)).map(lambda both: f"{both[0]},1,1," + "9" * both[1]),
    )
)
def test_what_a_video_starts_from(folder, monkeypatch_cwd, text):
    del folder, monkeypatch_cwd
    ends_well(labels_from_text, text, SIZE_HW)
    ends_well(box_from_text, text)
    ends_well(poses_from_file, Path(text), SIZE_HW)
    ends_well(detections, Path(text))


@fuzz
@given(content=st.one_of(rows(4), st.binary(max_size=60)))
def test_files_of_boxes(folder, content):
    path = folder / "box.txt"
    path.write_bytes(content)
    ends_well(read_otb_boxes, path)
    ends_well(box_from_text, str(path))


@pytest.fixture(scope="module")
def monkeypatch_cwd(folder):
    """An empty current folder: names that are made up shall not be those of real files."""
    empty = folder / "empty"
    empty.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(empty)
        yield


schemes = st.sampled_from(["rtsp", "http", "HTTPS", "ftp", "file", "x", "rtmp", ""])
parts = st.text(st.characters(codec="utf-8"), max_size=12)


@fuzz
@given(scheme=schemes, user=parts, secret=st.text("abcXYZ0123/?#:", min_size=6), rest=parts)
def test_passwords_in_urls_are_never_shown(scheme, user, secret, rest):
    user = user.replace("@", "")
    shown = redact(f"{scheme}://{user}:{secret}@host/{rest}")
    if len(scheme) > 1 and not any(c.isspace() or c in "'\"" for c in user):
        assert f":{secret}@" not in shown


# Longer than a file system takes, of nobody's home, with a null byte.
odd_names = st.tuples(
    st.sampled_from(["", "~nobody/", "\0", "*", "a" * 300, "b/" * 3000]), parts
).map("".join)


@fuzz
@given(text=st.one_of(parts, odd_names, st.tuples(schemes, parts).map("://".join)))
def test_sources(monkeypatch_cwd, text):
    del monkeypatch_cwd
    ends_well(parse_address, text)
    redact(text)
    # Nothing outside is asked: only names that are none of a camera or a stream.
    outside = ("camera", "stream", "remote file", "csi", "gstreamer", "gst")
    if any(SOURCES[name].matches(text) for name in outside if name in SOURCES):
        return
    nobodys = text.startswith("~nobody/")
    if not nobodys and (text.startswith(("/", "~", "\\")) or "**" in text or ".." in text):
        return
    ends_well(Bundle.load, Path(text))
    source = ends_well(open_source, text)
    if source is not None:
        source.close()


def encoded(suffix, *images, **options):
    """Images of Pillow as the bytes of one file."""
    file = BytesIO()
    pages = {"save_all": True, "append_images": images[1:]} if len(images) > 1 else {}
    images[0].save(file, suffix, **pages, **options)
    return file.getvalue()


def of_opencv(suffix, image):
    return cv2.imencode(suffix, image)[1].tobytes()


DEEP = np.linspace(0, 60_000, SIZE_HW[0] * SIZE_HW[1]).reshape(SIZE_HW).astype(np.uint16)
PLAIN = [Image.fromarray((DEEP // (n + 235)).astype(np.uint8)).convert("RGB") for n in range(3)]
CLEAR = Image.merge("RGBA", (*PLAIN[0].split(), PLAIN[1].getchannel(0)))
PICTURES = {
    "png": [encoded("PNG", *PLAIN), encoded("PNG", CLEAR), of_opencv(".png", DEEP)],
    "tif": [
        encoded("TIFF", *PLAIN),
        encoded("TIFF", *PLAIN, compression="tiff_lzw"),
        encoded("TIFF", Image.fromarray(DEEP), Image.fromarray(DEEP)),
        of_opencv(".tiff", np.dstack([DEEP] * 3)),
        of_opencv(".tiff", DEEP.astype(np.float32)),
    ],
    "gif": [encoded("GIF", *PLAIN)],
    "webp": [encoded("WEBP", *PLAIN), encoded("WEBP", CLEAR)],
    "jpg": [encoded("JPEG", PLAIN[0]), encoded("JPEG", PLAIN[0].convert("CMYK"))],
    "pgm": [of_opencv(".pgm", DEEP)],
    "jp2": [encoded("JPEG2000", Image.fromarray(DEEP))],
    "avif": [encoded("AVIF", PLAIN[0])],
}
ONE_PICTURE = [(suffix, content) for suffix, all_of in PICTURES.items() for content in all_of]


def frames_of(path, value_range=None):
    """Up to five frames of a file, and what is said of it."""
    with open_source(str(path), value_range=value_range) as source:
        for frame in islice(source, 5):
            assert frame.image.dtype == np.uint8
            assert frame.time_s >= 0
        for note in [*source.notes(), source.ended_early or ""]:
            assert "\n" not in note


@pytest.mark.parametrize(("suffix", "valid"), ONE_PICTURE)
@settings(fuzz, max_examples=max(1, EXAMPLES // len(ONE_PICTURE)))
@given(data=st.data())
def test_images(folder, suffix, valid, data):
    path = folder / f"picture.{suffix}"
    path.write_bytes(data.draw(cut_or_changed(valid)))
    ends_well(frames_of, path, data.draw(st.sampled_from([None, None, "0,9", "9,0", "a,b"])))


@fuzz
@given(names=st.lists(st.text("0123456789_-.aé٣", min_size=1, max_size=24), max_size=5))
def test_numbers_in_names(names):
    numbers = numbers_in_names(names) if names else None
    assert numbers is None or len(numbers) == len(names)


@pytest.fixture(scope="module")
def clips(folder):
    kinds = [("mkv", "ffv1", "gray16le"), ("mp4", "libx264", "yuv420p")]
    kinds += [
        ("avi", "mjpeg", "yuvj420p"),
        ("ts", "mpeg2video", "yuv420p"),
        ("flv", "flv", "yuv420p"),
    ]
    return {
        suffix: write_video(folder / f"whole.{suffix}", grey_levels(4, (32, 32)), codec, pix_fmt)
        for suffix, codec, pix_fmt in kinds
    }


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "avi", "ts", "flv"])
@settings(fuzz, max_examples=max(1, EXAMPLES // 5))
@given(data=st.data())
def test_videos(folder, clips, suffix, data):
    path = folder / f"clip.{suffix}"
    path.write_bytes(data.draw(cut_or_changed(clips[suffix].read_bytes())))
    ends_well(frames_of, path)


@fuzz
@given(
    content=st.one_of(
        st.binary(max_size=200),
        spoilt({"source": "door", "task": "sot", "box": [1, 2, 3, 4]}),
        spoilt({"source": "door", "task": "vos", "point": [1, 2]}),
    )
)
def test_what_viewers_send(content):
    ends_well(read_command, content)
