"""No packet leaves the process: what commands ask of the system, seen by strace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

CALLS = "socket,connect,bind,sendto,sendmsg,sendmmsg"
INTERNET = re.compile(r"\bAF_INET6?\b|\bAF_PACKET\b|\bAF_NETLINK\b")


def calls_of(*words, folder):
    """The lines of strace on sockets of the internet, of a command and all that it starts."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("no strace here")
    trace = folder / "trace"
    command = (sys.executable, "-m", "unitrack_edge.cli", *map(str, words))
    # Threads of their own, caches that are empty, and no switch that this test would owe it to.
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment["XDG_CACHE_HOME"] = str(folder / "cache")
    ran = subprocess.run(
        [program, "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(trace), *command],
        capture_output=True, text=True, cwd=folder, env=environment, check=False,
    )  # fmt: skip
    if "ptrace" in ran.stderr or "PTRACE" in ran.stderr:
        pytest.skip("processes may not be traced here")
    assert ran.returncode == 0, ran.stderr
    return [line for line in trace.read_text().splitlines() if INTERNET.search(line)]


def test_the_net_is_noticed(tmp_path):
    """What is looked for is what a connection looks like."""
    program = shutil.which("strace") or pytest.skip("no strace here")
    code = (
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))"
    )
    trace = tmp_path / "trace"
    command = [program, "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(trace), sys.executable, "-c"]
    if subprocess.run([*command, code], capture_output=True, check=False).returncode:
        pytest.skip("processes may not be traced here")
    assert len(INTERNET.findall(trace.read_text())) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["doctor", "track", "bench", "export"])
def test_a_command_opens_no_connection(name, quick_bundle, tmp_path):
    for number in range(4):
        image = np.full((64, 96, 3), 40 * number, np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    (tmp_path / "det.txt").write_text("".join(f"{n},-1,9,9,20,25,0.9\n" for n in range(1, 5)))
    bundle = ("--bundle", quick_bundle.path)
    words = {
        "doctor": ("doctor", quick_bundle.path),
        "track": ("track", "*.png", "--task", "mot", "--detections", "det.txt", *bundle),
        "bench": ("bench", quick_bundle.path, "--task", "mot", "--size", "64x96", "--rounds", "2"),
        "export": ("export", "--backbone", "random-r18", "--output", "new"),
    }
    assert calls_of(*words[name], folder=tmp_path) == []
