"""Ctrl-C and SIGTERM to commands other than `cli track`: one line, a status, nothing half done."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from unitrack_edge.cli import COMMANDS, main
from unitrack_edge.commands.console.steps import interruptible
from unitrack_edge.evaluation.parity import report as parity
from unitrack_edge.evaluation.runner.executors import run_processes

from ..support.eval_workers import sleep_long

SIGNALS = {
    signal.SIGINT: (130, "interrupted"),
    signal.SIGTERM: (143, "stopped by SIGTERM"),
    signal.SIGHUP: (129, "stopped by SIGHUP"),
}


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """Also where the tests run in the background of a shell, which makes processes deaf to it."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def stopped_by(number):
    def stop(*_args, **_values):
        signal.raise_signal(number)
        raise AssertionError("the signal was lost")

    return stop


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_in_one_line_that_it_was_stopped(name, number, monkeypatch):
    monkeypatch.setattr(main.get_command(None, name), "make_context", stopped_by(number))
    before = signal.getsignal(number)
    ran = CliRunner().invoke(main, [name], prog_name="cli")
    status, said = SIGNALS[number]
    assert ran.exit_code == status
    assert ran.stdout == ""
    assert ran.stderr == f"cli {name}: {said}; nothing half written was left\n"
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("repeats", [0, 1])
def test_a_command_cleans_up_and_says_in_one_line_what_is_left(repeats, monkeypatch):
    """`timeout` sends a signal twice: to the process, and to its group."""
    done = []

    def work(*_args, **_values):
        with interruptible(lambda: "nothing was written"):
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                for _ in range(repeats):
                    signal.raise_signal(signal.SIGTERM)
                done.append(True)

    monkeypatch.setattr(main.get_command(None, "models"), "invoke", work)
    ran = CliRunner().invoke(main, ["models"], prog_name="cli")
    assert (ran.exit_code, done) == (143, [True])
    assert ran.stderr == "cli models: stopped by SIGTERM; nothing was written\n"


def test_what_nohup_made_deaf_stays_so(monkeypatch):
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        heard = []
        monkeypatch.setattr(
            main.get_command(None, "models"),
            "invoke",
            lambda _context: heard.append(signal.raise_signal(signal.SIGHUP)),
        )
        assert CliRunner().invoke(main, ["models"]).exit_code == 0
        assert heard == [None]
    finally:
        signal.signal(signal.SIGHUP, former)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("before", [None, "{}\n"])
def test_parity_leaves_its_file_as_it_was(number, before, quick_bundle, tmp_path, monkeypatch):
    bundle = shutil.copytree(quick_bundle.path, tmp_path / "bundle")
    file = bundle / "parity.json"
    file.unlink(missing_ok=True)
    if before is not None:
        file.write_text(before)
    monkeypatch.setattr(parity, "compare", stopped_by(number))
    options = ["--against", str(quick_bundle.path), "--graphs-only", "--count", "2"]
    ran = CliRunner().invoke(main, ["parity", str(bundle), *options], prog_name="cli")
    status, said = SIGNALS[number]
    assert ran.exit_code == status, ran.output
    left = "was not written" if before is None else "is as it was before"
    assert ran.stderr == f"cli parity: {said}; {file} {left}\n"
    assert (file.read_text() if file.exists() else None) == before


def test_a_process_that_is_told_to_end(quick_bundle, tmp_path):
    """Whatever it is doing: loading libraries, or comparing where that takes less time."""
    bundle = shutil.copytree(quick_bundle.path, tmp_path / "bundle")
    names = sorted(path.name for path in bundle.iterdir())
    # The clock starts when there is a command to be ended.
    code = (
        "import os, signal, threading; from unitrack_edge.cli import main; "
        "end = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGTERM)); end.daemon = True; "
        "end.start(); main(prog_name='cli')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "parity", str(bundle), "--against", str(quick_bundle.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        said, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 143
    assert said == b""
    assert errors.startswith(b"cli parity: stopped by SIGTERM; ")
    assert errors.count(b"\n") == 1
    assert sorted(path.name for path in bundle.iterdir()) == names


@pytest.mark.parametrize("stop", [KeyboardInterrupt, GeneratorExit])
def test_workers_end_with_the_command(stop):
    """A pool waits for its jobs: SIGTERM to the command alone would take as long as they do."""
    results = run_processes(sleep_long, [0.0, 600.0], 2, 1)
    assert next(results) == (0, 0.0)
    start = time.monotonic()
    if stop is GeneratorExit:
        results.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            results.throw(KeyboardInterrupt)
    assert time.monotonic() - start < 30
