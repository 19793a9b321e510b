"""`cli doctor`: what a machine has, which bundles run on it, and what mends the rest."""

from __future__ import annotations

import json
import os

import pytest
from unitrack_edge.runtime import diagnostics as bundle_health
from unitrack_edge.runtime import diagnostics as machine
from unitrack_edge.runtime.diagnostics import machine_facts
from unitrack_edge.runtime.inference.tensorrt.cuda import GpuInfo, find_gpu

from ..support.command_line import run_cli
from ..support.models.tiny_bundle import write_tiny_bundle


def program(folder, name, text):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def jetson(tmp_path, monkeypatch):
    """The files and programs by which a Jetson is known."""
    root = tmp_path / "root"
    files = {
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano\0",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic",
        "sys/class/video4linux/video0/name": "USB camera\n",
        "dev/video0": "",
        "dev/video10": "",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    program(tmp_path / "bin", "nvpmodel", "echo 'NV Power Mode: 15W'; echo 0")
    program(tmp_path / "bin", "dpkg-query", "echo 6.2")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return root


def named(facts):
    return {fact.name: fact for fact in facts}


def test_a_jetson_is_described(jetson):
    facts = named(machine_facts(jetson))
    assert facts["board"].value == "NVIDIA Jetson Orin Nano"
    assert facts["L4T"].value == "36.4.3"
    assert facts["JetPack"].value == "6.2"
    assert facts["power mode"].value == "15W"
    assert "nvpmodel -m NUMBER" in facts["power mode"].hint
    assert facts["cameras"].value == "camera0 (USB camera), camera10 (video10)"


def test_a_program_that_fails_is_left_out(jetson, tmp_path):
    program(tmp_path / "bin", "nvpmodel", "exit 3")
    assert "power mode" not in named(machine_facts(jetson))


def test_another_machine_has_no_jetson_lines(tmp_path):
    facts = named(machine_facts(tmp_path))
    assert not facts.keys() & {"board", "L4T", "JetPack", "power mode"}
    assert facts["cameras"].value == "none"


def test_onnxruntime_is_described_by_what_it_reports(monkeypatch):
    import onnxruntime

    assert "CPU" in machine._onnxruntime().value
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "unitrack-edge[gpu]" in machine._onnxruntime().hint
    monkeypatch.setattr(machine, "_version", lambda _name: "1.0")
    assert "pip uninstall onnxruntime onnxruntime-gpu" in machine._onnxruntime().hint


def test_a_bundle_is_judged_backend_by_backend(tmp_path):
    facts = named(bundle_health.bundle_facts(write_tiny_bundle(tmp_path / "tiny").path))
    assert facts[str(tmp_path / "tiny")].value == "tiny layer3 fp32, 64x96"
    assert facts["  cpu"].value == "usable"
    if find_gpu() is None:
        assert facts["  tensorrt-rtx"].value == "no"


def test_engines_for_another_gpu_are_named(tmp_path, monkeypatch):
    pytest.importorskip("tensorrt_rtx_libs", reason="tensorrt-rtx is not installed: extra 'dev'")
    bundle = write_tiny_bundle(tmp_path / "tiny")
    run_cli("build", bundle.path, "--engine", "tensorrt-rtx", "--target", "sm86")
    for target, value in (("sm86", "usable"), ("sm89", "no")):
        gpu = GpuInfo("some GPU", target, 8000, "13.0")
        monkeypatch.setattr(bundle_health, "find_gpu", lambda gpu=gpu: gpu)
        fact = named(bundle_health.bundle_facts(bundle.path))["  tensorrt-rtx"]
        assert fact.value == value
    assert "built for GPU sm86, here is sm89" in fact.hint
    assert "cli build" in fact.hint


def test_the_command_prints_text_and_json(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "tiny")
    text = run_cli("doctor", bundle.path, tmp_path / "absent")
    assert "onnxruntime" in text
    assert "unusable" in text
    data = json.loads(run_cli("doctor", bundle.path, "--json"))
    assert {"system", "python", "onnxruntime", "GPU"} <= {f["name"] for f in data["machine"]}
    assert data["bundles"][str(bundle.path)][1] == {"name": "cpu", "value": "usable", "hint": ""}


def test_no_bundle_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no bundle here: write one with" in run_cli("doctor")
