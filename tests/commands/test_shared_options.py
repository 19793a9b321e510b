"""Options that several commands share mean the same everywhere, and the help groups commands."""

from __future__ import annotations

import json
import re

import click
import pytest
from click.testing import CliRunner
from unitrack_edge.cli import COMMANDS, GROUPS, main
from unitrack_edge.commands.bench import command as bench

from ..support.command_line import run_cli

REPORT_OPTIONS = ("--json", "--json-file", "--markdown", "--markdown-file")


def options_of(name):
    command = main.get_command(None, name)
    return {flag: option for option in command.params for flag in option.opts}


def test_the_help_groups_the_commands():
    text = CliRunner().invoke(main, ["--help"]).output
    listed = re.findall(r"^(\w[\w ]*):$|^  ([\w-]+) ", text[text.index("Track:") :], re.MULTILINE)
    found = {}
    for title, name in listed:
        if title:
            group = found.setdefault(title, [])
        else:
            group.append(name)
    assert found == {title: list(group) for title, group in GROUPS.items()}
    assert sorted(COMMANDS) == sorted(name for group in GROUPS.values() for name in group)


def test_a_flag_of_several_commands_has_one_definition():
    # `track` writes its report to a folder, and defines its own options.
    commands = {name: options_of(name) for name in COMMANDS if name != "track"}
    for flag in REPORT_OPTIONS:
        assert len({commands[name][flag].help for name in commands}) == 1, flag
        assert {commands[name][flag].is_flag for name in commands} == {"file" not in flag}
    for flag in ("--threads", "--jobs", "--executor", "--split", "--sequence", "--max-frames"):
        given = [options[flag] for options in commands.values() if flag in options]
        assert len(given) > 1
        assert len({(one.help, one.name, repr(one.type)) for one in given}) == 1, flag
    for name, options in commands.items():
        if "--output" in options:
            assert options["--output"].type.name == "directory", name


@pytest.mark.parametrize("flag", ["--json-file", "--markdown-file"])
def test_a_report_that_cannot_be_written_is_refused_before_the_work(flag, tmp_path, monkeypatch):
    monkeypatch.setattr("unitrack_edge.commands.models.MODELS", None)
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a", tmp_path / "file" / "b" / "a"):
        said = run_cli("models", flag, path, status=1)
        assert said == f"Error: cannot write {path}: {tmp_path / 'file'} is no folder to write to\n"


def test_a_report_makes_its_folder(tmp_path):
    run_cli(
        "backbones", "--json-file", tmp_path / "a/b/c.json", "--markdown-file", tmp_path / "d/e"
    )
    assert (tmp_path / "a/b/c.json").is_file()
    assert (tmp_path / "d/e").is_file()


def test_a_report_is_printed_or_written(tmp_path):
    table = run_cli("backbones")
    printed = run_cli("backbones", "--json")
    assert {row["name"] for row in json.loads(printed)} >= {"imagenet-r18", "efficientnet-lite0"}
    document = run_cli("backbones", "--markdown")
    assert document.startswith("| name | architecture |")
    files = ("--json-file", tmp_path / "a.json", "--markdown-file", tmp_path / "a.md")
    assert run_cli("backbones", *files) == table
    assert (tmp_path / "a.json").read_text() == printed
    assert (tmp_path / "a.md").read_text() == document
    assert "give one of them" in run_cli("backbones", "--json", "--markdown", status=2)


@pytest.mark.parametrize(
    ("arguments", "shown", "file"),
    [
        (["--json", "a.json", "mine"], False, "a.json"),
        (["mine", "--json=a"], False, "a"),
        (["--json", "mine"], True, None),
        (["mine", "--json", "--json-file", "a.txt"], True, "a.txt"),
    ],
)
def test_the_former_spelling_of_bench_is_accepted_with_a_note(arguments, shown, file, capsys):
    context = bench.make_context("bench", [*arguments, "--task", "mot"])
    assert str(context.params["bundle"]) == "mine"
    assert context.params["as_json"] is shown
    assert (context.params["json_file"] and str(context.params["json_file"])) == file
    note = f"note: write --json-file {file}: --json prints\n"
    assert capsys.readouterr().err == ("" if shown else note)


def test_the_former_spelling_of_markdown_too(capsys):
    context = bench.make_context("bench", ["mine", "--task", "mot", "--markdown", "a.md"])
    assert str(context.params["markdown_file"]) == "a.md"
    assert "--markdown-file a.md" in capsys.readouterr().err
    with pytest.raises(click.UsageError, match=r"unexpected extra argument"):
        bench.make_context("bench", ["mine", "--task", "mot", "--markdown", "notes"])
