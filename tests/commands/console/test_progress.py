"""What the summary of a run says of frames that overlap."""

from __future__ import annotations

from pathlib import Path

import pytest
from unitrack_edge.commands import demo
from unitrack_edge.commands.console.progress import pipelined, show_run
from unitrack_edge.tracking.session import RunReport, SourceReport


def report(fps, latency_ms, name=None):
    """Of one source, or of one that has a name among several."""
    latency = {"p50": latency_ms, "p95": latency_ms, "p99": latency_ms}
    data = {
        **{"task": "mot", "frames": 100, "identities": 4, "fps": fps, "interrupted": False},
        **{"predicted_frames": 0, "peak_memory_mb": 200.0, "bundle": {"backbone": "lite0"}},
        "backend": {"in_use": {"backbone": "CPU"}, "asked": "cpu"},
        "stages_ms": {"read": latency, "latency": latency},
        "source": {"ended_early": None},
        **{"dropped": 0, "outages": 0},
    }
    single = SourceReport(Path("out"), data, ())
    if name is None:
        return RunReport(Path("out"), data, {"clip": single})
    together = {"sources": {name: data}, "fps": fps, "frames": 100, "interrupted": False}
    return RunReport(Path("out"), together, {name: single})


# 48 frames a second and 72 ms each: 3.5 frames are in work at the same time.
SAID = (
    "pipelined: frames overlap, so one is done every 21 ms, and each takes 72 ms from its arrival "
    "to its result (latency)"
)


@pytest.mark.parametrize(
    ("fps", "latency_ms", "said"), [(48.0, 72.0, SAID), (13.0, 72.0, None), (0.0, 0.0, None)]
)
def test_frames_faster_than_their_latency_are_explained(fps, latency_ms, said, capsys):
    for name in (None, "clip"):
        one = report(fps, latency_ms, name)
        assert pipelined(next(iter(one.sources.values())).data) == said
        show_run(one)
        lines = capsys.readouterr().out.splitlines()
        shown = [line for line in lines if "pipelined" in line]
        assert shown == ([] if said is None else [f"{name}: {said}" if name else said])
    summary = demo._summary([report(fps, latency_ms)], [{}])
    assert summary.notes == ([] if said is None else [f"mot: {said}"])
