"""What is run where there is a GPU for a quarter of an hour: its steps, on a stand-in for one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import unitrack_edge
from unitrack_edge.benchmarks.gpu.device import check_feeds
from unitrack_edge.runtime.inference.tensorrt.memory import DeviceMemory

from ..support.gpu.fake_cuda import FakeCuda

BENCHMARKS = Path(unitrack_edge.__file__).parent / "benchmarks"


class Adder:
    """2a + b on host bytes.

    Args:
        memory: Where arrays live.
        bent: What is added to that.
    """

    def __init__(self, memory, bent=0):
        self.cuda, self.bent = memory.cuda, bent

    def queue(self, a, b, out):
        # Work does not keep the arrays: a device knows nothing but addresses.
        parts = [(array.address, array.nbytes) for array in (a, b, out)]

        def work():
            one, other, result = (self.cuda.view(*part).view(np.float32) for part in parts)
            result[:] = 2 * one + other + self.bent

        self.cuda.calls.append("execute")
        self.cuda.queue(work)


def test_what_is_fed_is_sent_once_a_frame_or_read_where_it_is():
    cuda = FakeCuda()
    memory = DeviceMemory(cuda)
    assert check_feeds(memory, Adder(memory)) >= 2
    assert cuda.mapped
    assert cuda.calls.count("copy_in") == cuda.calls.count("copy_out") == 60
    assert cuda.calls.count("launch") > 90


def test_a_wrong_result_is_noticed():
    memory = DeviceMemory(FakeCuda())
    with pytest.raises(AssertionError):
        check_feeds(memory, Adder(memory, bent=1))


def test_every_step_of_the_session_is_one_that_the_script_runs():
    session = (BENCHMARKS / "gpu" / "session.sh").read_text(encoding="utf-8")
    steps = set(re.findall(r"step \S+ \d+ (\S+)", session))
    assert {"cli", "gpu", "gpu.device"} <= steps
    said = subprocess.run(
        [sys.executable, BENCHMARKS / "run.py", "none"], capture_output=True, text=True, check=False
    ).stderr
    assert steps <= set(re.split(r"[ ,?\n]+", said))
