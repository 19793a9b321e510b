"""Terminals that are closed, full, or speak ASCII, and names that are no text: no traceback."""

import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from unitrack_edge import cli
from unitrack_edge.errors import UnitrackError, printable

LIST = (sys.executable, "-m", "unitrack_edge.cli", "backbones")


def shell(text, **environment):
    """Run a line of the shell in which `$LIST` prints a table; its error output and status."""
    variables = {**os.environ, "LIST": " ".join(LIST), **environment}
    ran = subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, env=variables, check=False
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    assert "Exception ignored" not in ran.stderr, ran.stderr
    return ran


def test_a_full_output_is_one_line():
    ran = shell("$LIST > /dev/full")
    assert ran.stderr == "Error: cannot write to the standard output: No space left on device\n"
    assert ran.returncode == 1


def test_a_closed_output_is_nothing_to_worry_about():
    assert shell("$LIST >&- 2>&-").returncode == 0
    assert shell("exec <&- >&-; $LIST").returncode == 0


def test_a_terminal_of_ascii_gets_escapes():
    ran = shell("$LIST", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ran.returncode == 0
    assert ran.stdout.isascii()


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (MemoryError(), "out of memory"),
        (OSError(11, "Resource temporarily unavailable"), "out of memory or threads"),
        (ImportError("x.so: failed to map segment from shared object"), "out of memory"),
        (RuntimeError("can't start new thread"), "out of memory or threads"),
        (OSError(28, "No space left on device"), "cannot write to the standard output: No space"),
        (
            UnitrackError("bundle \x1b[31mred\x1b]0;owned\x07 \u202egnp"),
            r"bundle \x1b[31mred\x1b]0",
        ),
        (UnitrackError("file bad\udcff.mp4"), r"file bad\udcff.mp4"),
    ],
)
def test_what_a_command_ends_with_is_one_line(failure, said, monkeypatch):
    @click.command()
    def broken():
        raise failure

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: broken)
    ran = CliRunner().invoke(cli.main, ["backbones"])
    assert ran.exit_code == 1
    assert ran.stderr.startswith("Error: ")
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert ran.stderr[:-1].isprintable()


@pytest.mark.parametrize(
    "failure", [FileNotFoundError(2, "No such file", "x"), RuntimeError("x"), ImportError("y")]
)
def test_what_is_a_bug_shows_where(failure, monkeypatch):
    @click.command()
    def broken():
        raise failure

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: broken)
    assert CliRunner().invoke(cli.main, ["backbones"]).exception is failure


def test_what_can_be_shown_is_left_as_it_is():
    text = "bundles/größe – 人 é 100 % [red]"
    assert printable(text) == text
    assert printable("two\nlines") == "two lines"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trak", "No such command 'trak': did you mean 'track'?"),
        ("compare-tracker", "did you mean 'compare-trackers'?"),
        ("xyzzy", "No such command 'xyzzy': expected track, export, build"),
    ],
)
def test_a_command_that_does_not_exist_is_told_from_the_nearest(typed, said):
    ran = CliRunner().invoke(cli.main, [typed, "video.mp4"])
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "where"),
    [
        (["track", "x", "--fps"], "track"),
        (["track", "x", "--nothing"], "track"),
        (["bench"], "bench"),
        (["nothing"], ""),
    ],
)
def test_wrong_usage_names_the_help_of_its_command(typed, where):
    ran = CliRunner().invoke(cli.main, typed, prog_name="cli")
    assert ran.exit_code == 2
    assert ran.stderr.endswith(f"(see `{f'cli {where}'.strip()} --help`)\n")


def test_help_shows_defaults_and_choices():
    said = CliRunner().invoke(cli.main, ["track", "--help"]).output
    assert "(memory" not in said
    assert "[default: memory: 0.1]" in " ".join(said.split())
    assert "--mot-similarity [rsm|pooled|flattened]" in said
    assert "--sot-head [dcf|xcorr]" in said
