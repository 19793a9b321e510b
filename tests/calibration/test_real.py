"""The two backbones of the project on real footage: fidelity on sequences nobody calibrated on."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("onnx", reason="extra 'calibrate'")

from unitrack_edge.benchmarks.accuracy.int8_backbone import main as compare

from ..support.command_line import run_cli
from ..support.models.calibration_bundle import rewrite

UNSEEN = (
    "mot/TUD-Campus/img1",
    "mots/composite-dev/img1",
    "sot/Car4/img",
    "sot/jogging/img",
    "posetrack/060470979/images",
)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["resnet_bundle", "lite_bundle"])
def test_unseen_sequences_and_size(which, request, shared_data, tmp_path, capsys):
    """Feature cosine of every frame at least 0.98; file at most 30 % (ResNet-18) or 45 %."""
    made = request.getfixturevalue(which)
    # What the session shares is only true in memory.
    bundle = rewrite(shutil.copytree(made.path, tmp_path / "float"), made.spec)
    output = tmp_path / "int8"
    frames = shared_data / "vos" / "JPEGImages" / "480p" / "*" / "*.jpg"
    run_cli("calibrate", bundle.path, "--frames", frames, "--count", 32, "--output", output)
    sources = [str(shared_data / name) for name in UNSEEN]
    status = compare([str(bundle.path), str(output), "--frames", *sources])
    assert status == 0, capsys.readouterr().out
