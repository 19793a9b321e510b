"""Executors: every job done, its result given once, errors and killed workers survived."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from unitrack_edge.errors import DetectionError, UnitrackError
from unitrack_edge.evaluation.runner.executors import EXECUTORS

from ...support import eval_workers

RAY = pytest.param(
    "ray",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="Ray is not installed: extra 'ray'"
    ),
)


@pytest.fixture(autouse=True)
def _found_by_workers(monkeypatch):
    """New processes find this folder's modules, which pytest has under names of its own."""
    tests = str(Path(eval_workers.__file__).parent)
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", tests if not path else f"{tests}{os.pathsep}{path}")
    monkeypatch.syspath_prepend(tests)


@pytest.fixture(scope="module")
def cluster():
    """Two workers on this machine, for all tests that need Ray."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = pytest.importorskip("ray", reason="Ray is not installed: extra 'ray'")
    tests = str(Path(eval_workers.__file__).parent)
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR", runtime_env={"env_vars": {"PYTHONPATH": tests}},
    )  # fmt: skip
    yield ray
    ray.shutdown()


def work(name):
    import eval_workers as found_by_name

    return getattr(found_by_name, name)


def run(executor, name, folder, request, count=6):
    if executor == "ray":
        request.getfixturevalue("cluster")
    jobs = [(number, str(folder)) for number in range(count)]
    return list(EXECUTORS[executor](work(name), jobs, 2, 1))


def attempts(folder):
    return {int(p.stem): len(p.read_text().split()) for p in folder.glob("*.attempts")}


@pytest.mark.parametrize("executor", ["serial", "processes", RAY])
def test_every_job_once(executor, tmp_path, request):
    found = run(executor, "square", tmp_path, request)
    assert sorted(found) == [(n, n * n) for n in range(6)]
    assert attempts(tmp_path) == dict.fromkeys(range(6), 1)


@pytest.mark.parametrize("executor", ["serial", "processes", RAY])
def test_an_error_belongs_to_its_job(executor, tmp_path, request):
    found = dict(run(executor, "square_or_refuse", tmp_path, request, count=4))
    assert isinstance(found.pop(2), DetectionError)
    assert found == {0: 0, 1: 1, 3: 9}


@pytest.mark.parametrize("executor", ["processes", RAY])
def test_the_jobs_of_a_killed_worker_are_done_again_and_counted_once(executor, tmp_path, request):
    found = run(executor, "square_and_die_once", tmp_path, request)
    assert (tmp_path / "died").exists()
    assert sorted(found) == [(n, n * n) for n in range(6)]
    assert attempts(tmp_path)[3] == 2


def test_processes_that_are_always_killed(tmp_path, request):
    with pytest.raises(UnitrackError, match=r"killed 4 times with 2 sequences to go.*--jobs"):
        run("processes", "die", tmp_path, request, count=2)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_ray_workers_that_are_always_killed(tmp_path, request):
    ((number, error),) = run("ray", "die", tmp_path, request, count=1)
    assert number == 0
    assert "killed 4 times" in str(error)


def test_no_job_is_no_work(tmp_path, request):
    for executor in ("serial", "processes"):
        assert run(executor, "square", tmp_path, request, count=0) == []


JOBS = """
import sys, eval_workers
from unitrack_edge.evaluation.runner.executors import run_processes
if __name__ == "__main__":
    list(run_processes(eval_workers.wait_for_ever, [(0, sys.argv[1])], 1, 1))
"""
BENCH = """
import sys, eval_workers
from unitrack_edge.evaluation.benchmark import isolated
if __name__ == "__main__":
    isolated.work_alone = eval_workers.wait_alone
    isolated.measure_alone((0, sys.argv[1]), None)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("program", [JOBS, BENCH])
def test_workers_end_with_the_command_however_that_ends(program, number, tmp_path):
    (tmp_path / "program.py").write_text(program)
    started = subprocess.Popen([sys.executable, str(tmp_path / "program.py"), str(tmp_path)])
    trace = tmp_path / "0.attempts"
    try:
        assert soon(lambda: trace.exists() and trace.read_text().strip())
    finally:
        started.send_signal(number)
        started.wait()
    worker = int(trace.read_text())
    assert soon(lambda: not is_alive(worker))


def soon(condition):
    """Whether it comes true within half a minute."""
    for _ in range(600):
        if condition():
            return True
        time.sleep(0.05)
    return False


def is_alive(process):
    try:
        # One that has ended and was not asked for yet is no work.
        return ") Z" not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnitrackError, match=r"pip install 'unitrack-edge\[ray\]'"):
        list(EXECUTORS["ray"](eval_workers.square, [(1, str(tmp_path))], 1, 1))
