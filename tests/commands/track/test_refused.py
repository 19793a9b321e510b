"""What `cli track` refuses: requests that contradict themselves, bundles, backends, folders."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
from unitrack_edge.commands.console import bundles
from unitrack_edge.runtime.bundle.bundle import SPEC_FILE

from ...support.command_line import run_cli
from ...support.track_runs import NETWORK, refused

pytestmark = pytest.mark.usefixtures("here")


# Requests that contradict themselves: status 2, and nothing is written.

WRONG_USAGE = {
    "no task": (["clip.mp4"], "Missing option '--task'"),
    "unknown task": (["clip.mp4", "--task", "dance"], "'dance' is not one of"),
    "no source": (["--task", "mot"], "Missing argument 'SOURCE"),
    "unknown option": (["a", "--task", "mot", "--speed", "9"], "--speed"),
    "vos without a mask": (["a", "--task", "vos"], "--init MASK.png, X,Y,W,H"),
    "vos with detections": (
        ["a", "--task", "vos", "--init", "m.png", "--detections", "d.txt"],
        "takes no detections",
    ),
    "mot with a mask": (
        ["a", "--task", "mot", "--detector", "motion", "--init", "m.png"],
        "takes no --init",
    ),
    "detections of one source alone": (
        ["a", "b", "--task", "mot", "--detections", "d.txt", "--detections", ""],
        "b has no --detections and other sources have",
    ),
    "one mask for two sources": (
        ["a", "b", "--task", "vos", "--init", "m.png"],
        "give it once each, in their order, or once with {name} in it",
    ),
    "no time at all": (
        ["a", "--task", "mot", "--detector", "motion", "--reconnect-after", "0"],
        "expected seconds above 0",
    ),
    "negative patience": (
        ["a", "--task", "mot", "--detector", "motion", "--give-up", "-1"],
        "--give-up -1: expected 0 to",
    ),
    "two detectors": (
        ["a", "--task", "mot", "--detections", "d.txt", "--detector", "motion"],
        "got both",
    ),
    "no frame at all": (
        ["a", "--task", "mot", "--detector", "motion", "--max-frames", "0"],
        "--max-frames 0: expected 1 or more",
    ),
    "two bundles": (
        ["a", "--task", "mot", "--detector", "motion", "--bundle", "b", "--backbone", "c"],
        "--bundle and --backbone",
    ),
    "classes": (
        ["a", "--task", "mot", "--detector", "m.onnx", "--detector-classes", "person,"],
        "--detector-classes person,: expected names or numbers",
    ),
    "classes of no model": (
        ["a", "--task", "mot", "--detector", "motion", "--detector-classes", "0"],
        "belong to --detector MODEL.onnx",
    ),
    "threads": (["a", "--task", "mot", "--detector", "motion", "--threads", "-1"], "'--threads'"),
    "gaps of a file in real time": (
        ["a", "--task", "mot", "--mot-fill-gaps", "1", "--realtime"],
        "looks ahead, which --realtime cannot: leave one of them out",
    ),
    "gaps, and starts in the browser": (
        ["a", "--task", "mot", "--task", "sot", "--mot-fill-gaps", "1", "--serve", "8080"],
        "task sot would be started with a box of another frame",
    ),
    "not a number": (
        ["a", "--task", "mot", "--detector", "motion", "--mot-cost-limit", "nan"],
        "--mot-cost-limit nan: expected a finite number",
    ),
    "out of range": (
        ["a", "--task", "mot", "--detector", "motion", "--mot-appearance-weight", "2"],
        "expected 0 to 1",
    ),
}


@pytest.mark.parametrize("what", WRONG_USAGE)
def test_wrong_usage(what, here):
    arguments, message = WRONG_USAGE[what]
    assert message in run_cli("track", *arguments, status=2)
    assert list(here.iterdir()) == []


def test_unknown_command():
    assert "No such command 'fly'" in run_cli("fly", status=2)


def test_parameters_of_another_task_are_refused(mot):
    said = mot("--vos-top-k", "5", status=2)
    assert "--vos-top-k belongs to task vos, which is not run: add --task vos" in said


# Bad bundles and backends.


@pytest.fixture
def own_bundle(quick_bundle, here):
    """A copy to spoil."""
    return Path(shutil.copytree(quick_bundle.path, here / "bundle"))


def test_a_truncated_graph(mot, here, own_bundle):
    path = own_bundle / "backbone.onnx"
    path.write_bytes(path.read_bytes()[:-1000])
    said = refused(mot, here, bundle=own_bundle)
    assert "backbone.onnx has" in said
    assert "cli export --force" in said


def test_a_tampered_graph(mot, here, own_bundle):
    path = own_bundle / "rsm.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert "rsm.onnx has sha256" in refused(mot, here, bundle=own_bundle)


def test_a_bundle_of_another_version_or_damaged(mot, here, own_bundle):
    path = own_bundle / SPEC_FILE
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "format_version": 99}))
    assert "format version 99, this toolkit reads 1" in refused(mot, here, bundle=own_bundle)
    path.write_text(json.dumps(data)[:-50])
    assert "cannot be read" in refused(mot, here, bundle=own_bundle)


def test_a_bundle_without_a_graph_that_the_task_needs(mot, here, own_bundle):
    path = own_bundle / SPEC_FILE
    data = json.loads(path.read_text())
    del data["graphs"]["rsm"]
    path.write_text(json.dumps(data))
    said = refused(mot, here, bundle=own_bundle)
    assert "has no graph rsm" in said
    assert "cli export --backbone" in said


def test_a_named_bundle_that_is_missing_is_never_made(mot, here):
    said = refused(mot, here, bundle=here / "none")
    assert f"cli export --backbone NAME --output {here / 'none'}" in said
    assert not (here / "none").exists()


def track_backbone(clip, here, *more, **options):
    arguments = ("track", clip.source, "--task", "mot", "--detections", clip.detections)
    return run_cli(*arguments, "--output", here / "out", *NETWORK, *more, **options)


def test_a_missing_bundle_without_pytorch_gives_the_command(clip, here, monkeypatch):
    real = importlib.util.find_spec
    hidden = lambda name, *rest: None if name == "torch" else real(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    said = track_backbone(clip, here, status=1)
    assert "bundles/efficientnet-lite0 does not exist" in said
    assert "`cli export --backbone efficientnet-lite0` on a machine with" in said
    assert "unitrack-edge[export]" in said
    assert list(here.iterdir()) == []


def test_a_missing_bundle_is_exported_where_pytorch_is(clip, here, monkeypatch, quick_bundle):
    pytest.importorskip("torch")
    asked = []

    def export(output, request):
        asked.append(request.backbone)
        shutil.copytree(quick_bundle.path, output)

    monkeypatch.setattr(bundles, "export_with_progress", export)
    told = "bundles/random-r18 does not exist yet: exporting random-r18 (once)\n"
    track_backbone(clip, here, "--backbone", "random-r18", "--max-frames", 1, stderr=told)
    assert asked == ["random-r18"]
    said = track_backbone(clip, here, "--backbone=random-r18", "--max-frames=1", "--overwrite")
    assert asked == ["random-r18"]
    assert "does not exist" not in said


@pytest.mark.parametrize(
    ("options", "missing", "fix"),
    [
        ("--backbone random-r18 --detector motion", "random-r18", "--backbone random-r18 --output"),
        (
            "--bundle {bundle} --detector movenet",
            "detectors/movenet",
            "--detector movenet --output",
        ),
    ],
)
def test_where_a_missing_model_cannot_be_written_the_fix_is_said_before_it_is_fetched(
    options, missing, fix, clip, here, monkeypatch, quick_bundle
):
    pytest.importorskip("torch")
    monkeypatch.setattr(bundles, "export_with_progress", None)
    (here / "bundles").touch()
    words = options.format(bundle=quick_bundle.path).split()
    said = run_cli("track", clip.source, "--task", "mot", *words, status=1)
    last = said.splitlines()[-1]
    assert last.startswith(f"Error: bundles/{missing} does not exist and cannot be written: ")
    assert f"`cli export {fix} FOLDER`" in last
    assert last.endswith("--bundle FOLDER" if "backbone" in fix else "--detector FOLDER")


def test_an_unknown_backbone_is_told_at_once(clip, here):
    said = track_backbone(clip, here, "--backbone", "efficientnet", status=2)
    assert "did you mean efficientnet-lite0" in said
    assert list(here.iterdir()) == []


def test_an_absent_backend_is_never_replaced(mot, here):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    said = refused(mot, here, "--backend", "cuda")
    assert "CPUExecutionProvider" in said
    assert "--backend cpu" in said


def test_detectors_that_are_none(mot, here):
    said = refused(mot, here, "--detector", "none.onnx", detections=None)
    assert "none.onnx: there is no such file" in said
    (here / "bad.onnx").write_bytes(b"garbage")
    assert "bad.onnx" in refused(mot, here, "--detector", here / "bad.onnx", detections=None)


# Outputs that cannot be written.


def test_output_in_the_way_of_a_file(mot, here):
    (here / "file").write_text("mine")
    assert "Directory" in mot(output=here / "file", status=2)
    assert "file" in mot(output=here / "file" / "below", status=1)
    assert (here / "file").read_text() == "mine"


def test_what_a_run_reads_is_not_written_over(mot, clip, here):
    rows = clip.detections.read_text()
    detections = here / "tracks.txt"
    detections.write_text(rows)
    said = mot("--jsonl", detections, detections=detections, status=2)
    assert "this run reads that file" in said
    said = mot("--overwrite", detections=detections, output=here, status=1)
    assert "--overwrite would remove" in said
    assert detections.read_text() == rows


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="displays are asked for on Linux")
def test_show_without_a_display(mot, here, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    said = refused(mot, here, "--show")
    assert "no display" in said
    assert "--save-video" in said
