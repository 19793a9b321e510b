"""`cli track --rebuild` and backends that are asked for by name."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from unitrack_edge.commands.console.bundles import rebuild_engines
from unitrack_edge.errors import BackendError
from unitrack_edge.runtime.bundle.bundle import Bundle
from unitrack_edge.runtime.inference.tensorrt import cuda
from unitrack_edge.runtime.inference.tensorrt.cuda import GpuInfo, find_gpu

from ...support.command_line import run_cli
from ...support.models.tiny_bundle import write_tiny_bundle

RTX = "tensorrt-rtx"

no_gpu = pytest.mark.skipif(find_gpu() is not None, reason="a GPU is at hand")


def track(tmp_path, *arguments, status=1):
    frames = tmp_path / "frames"
    frames.mkdir(exist_ok=True)
    cv2.imwrite(str(frames / "0.png"), np.zeros((64, 96, 3), np.uint8))
    bundle = tmp_path / "tiny"
    if not bundle.exists():
        write_tiny_bundle(bundle)
    where = ("--bundle", bundle, "--output", tmp_path / "run", "--detector", "motion")
    return run_cli("track", frames, "--task", "mot", *where, *arguments, status=status)


def test_rebuild_belongs_to_engines(tmp_path):
    error = track(tmp_path, "--rebuild", status=2)
    assert "only tensorrt and tensorrt-rtx run engines" in error


@no_gpu
def test_rebuild_without_a_gpu(tmp_path):
    pytest.importorskip("tensorrt_rtx_libs", reason="tensorrt-rtx is not installed: extra 'dev'")
    error = track(tmp_path, "--rebuild", "--backend", RTX)
    assert "no GPU with a working driver" in error
    assert not (tmp_path / "run").exists()


@no_gpu
def test_an_engine_backend_without_a_gpu_is_an_error(tmp_path):
    error = track(tmp_path, "--backend", RTX)
    assert "--backend cpu" in error or "tensorrt-rtx is not installed" in error
    assert not (tmp_path / "run").exists()


def test_what_is_missing_or_stale_is_built_and_nothing_else(tmp_path, monkeypatch):
    pytest.importorskip("tensorrt_rtx_libs", reason="tensorrt-rtx is not installed: extra 'dev'")
    bundle = write_tiny_bundle(tmp_path / "tiny")
    gpu = GpuInfo("some GPU", "sm86", 8000, "13.0")
    monkeypatch.setattr(cuda, "find_gpu", lambda: gpu)
    monkeypatch.setattr("unitrack_edge.export.tensorrt.writer.find_gpu", lambda: gpu)
    rebuild_engines(bundle.path, RTX)
    built = Bundle.load(bundle.path).spec.engines
    assert [(e.graph, e.target, e.gpu) for e in built] == [
        ("mix", "sm86", "some GPU"),
        ("pick", "sm86", "some GPU"),
    ]
    file = bundle.path / built[1].file
    file.write_bytes(b"cut short")
    before = (bundle.path / built[0].file).stat().st_mtime_ns
    rebuild_engines(bundle.path, RTX)
    assert file.stat().st_size == built[1].size_bytes
    assert (bundle.path / built[0].file).stat().st_mtime_ns == before


def test_an_unknown_variant(tmp_path):
    with pytest.raises(BackendError, match="unknown backend"):
        rebuild_engines(write_tiny_bundle(tmp_path / "tiny").path, "openvino")
