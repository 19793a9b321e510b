"""The way from a command to its first row of results stays short."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from .support.eval_data import write_small_data

WALK = """
import json, sys
from pathlib import Path
from unitrack_edge.benchmarks.walk import walk_eval, walk_track
bundle, output, data = sys.argv[1:]
walk = walk_eval(Path(bundle), Path(data), Path(output)) if data else walk_track(
    Path(bundle), Path(output)
)
print(json.dumps([walk.files, walk.frame_files, walk.frame_switches]))
"""


def walked(bundle, output, data=""):
    """The walk of a command in a process of its own, in which nothing is imported yet."""
    done = subprocess.run(
        [sys.executable, "-c", WALK, str(bundle), str(output), str(data)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_way_of_track(quick_bundle, tmp_path):
    files, frame_files, switches = walked(quick_bundle.path, tmp_path / "run")
    assert {"cli.py", "heads/mot.py", "runtime/formats/mot.py"} <= set(files)
    assert "heads/association/fused_matching.py" in frame_files
    assert "heads/association/matching.py" not in files
    assert len(files) <= 45, files
    assert len(frame_files) <= 18, frame_files
    assert switches <= 45, switches


def test_the_way_of_eval(quick_bundle, tmp_path):
    pytest.importorskip("trackeval", reason="scoring is TrackEval's: extra 'eval'")
    write_small_data(tmp_path / "data")
    files, _, _ = walked(quick_bundle.path, tmp_path / "run", tmp_path / "data" / "mot")
    assert len(files) <= 62, files
