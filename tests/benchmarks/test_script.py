"""The scripts of `benchmarks/` end as `cli` does: one line on what is wrong, and a status."""

from __future__ import annotations

import json
import socket
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import unitrack_edge
from unitrack_edge.errors import CalibrationError

pytest.importorskip("torch", reason="benchmarks compare with PyTorch: extra 'export'")
pytest.importorskip("onnx", reason="benchmarks export bundles: extra 'export'")

from unitrack_edge.benchmarks import timing
from unitrack_edge.benchmarks.script import Result, Script

FOLDER = Path(unitrack_edge.__file__).parent / "benchmarks"
KINDS = ("accuracy", "endurance", "speed")
SCRIPTS = sorted(
    f"{kind}.{path.stem}" for kind in KINDS for path in (FOLDER / kind).glob("[a-z]*.py")
)

# What each is given that is not there; `host` and `rsm` take neither files nor bundles.
MISSING = {
    "accuracy.appearance": [["--bundle", "none", "--data", "."], ["--bundle", "B", "--data", "no"]],
    "accuracy.association": [
        ["--bundle", "none", "--data", "."],
        ["--bundle", "B", "--data", "no"],
        ["--bundle", "B", "--data", ".", "--task", "posetrack"],
    ],
    "accuracy.camera_motion": [
        ["--bundle", "none", "--data", ".", "--format", "mot"],
        ["--bundle", "B", "--data", "none", "--format", "otb"],
        ["--bundle", "B", "--data", ".", "--format", "davis"],
    ],
    "accuracy.focus": [["--bundle", "none"], ["--bundle", "B", "--data", "none"]],
    "accuracy.int8_backbone": [["none", "none", "--frames", "none"], ["B", "B", "--frames", "no"]],
    "accuracy.sot": [["--bundle", "none"], ["--bundle", "B", "--data", "none"]],
    "accuracy.tradeoff": [["none.json", "--output", "a.png"], ["list.json", "--output", "a.png"]],
    "endurance.flood": [["--bundle", "none"], []],
    "endurance.soak": [["--bundle", "none"], []],
    "endurance.viewers": [["--bundle", "none"], []],
    "speed.crowd": [["--bundle", "none"], []],
    "speed.mot": [["--weights", "none"]],
    "speed.sot": [["--weights", "none"]],
    "speed.vos": [
        ["--weights", "none"],
        ["--frames", "."],
        ["--backbone", "random-r18", "--frames", "none", "--mask", "none"],
    ],
}


def module_of(name):
    return import_module(f"unitrack_edge.benchmarks.{name}")


def ended(main, arguments, capsys):
    """Exit status and what was written to the standard error."""
    try:
        status = main(arguments)
    except SystemExit as ending:
        status = ending.code
    return status, capsys.readouterr().err


def test_every_script_is_looked_at():
    assert set(SCRIPTS) - set(MISSING) == {"speed.host", "speed.rsm"}


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, words) for name, several in MISSING.items() for words in several]
)
def test_what_is_missing_is_one_line(name, arguments, quick_bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("list.json").write_text("[]")
    given = [str(quick_bundle.path) if word == "B" else word for word in arguments]
    status, said = ended(module_of(name).main, given, capsys)
    assert status in (1, 2)
    assert said.startswith("Error: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", [*SCRIPTS, "gpu.compare"])
def test_numbers_out_of_range_are_refused(name, capsys):
    module = module_of(name)
    for action in module.script._actions:
        if action.type not in (None, Path):
            flag = (action.option_strings or [action.dest])[0]
            for value in ("-1", "many", "nan"):
                status, said = ended(module.main, [flag, value], capsys)
                assert status == 2
                assert f"argument {flag}: {value}: expected " in said
                assert said.count("\n") == 1


@pytest.mark.parametrize("port", ["0", "65536", "99999999"])
def test_a_port_that_none_can_have_is_refused(port, capsys):
    status, said = ended(module_of("endurance.flood").main, ["--attack", port], capsys)
    assert (status, said.count("\n")) == (2, 1)
    assert f"argument --attack: {port}: expected 1 to 65535" in said


@pytest.mark.parametrize("url", ["x", "", "ftp://box/", "http://", "http://[", "http://box:99999/"])
def test_an_address_that_is_none_is_refused(url, capsys):
    status, said = ended(module_of("endurance.soak").main, ["--view", url], capsys)
    assert (status, said.count("\n")) == (2, 1)
    assert f"argument --view: {url}: expected http://HOST:PORT/" in said


@pytest.mark.parametrize("end", ["", "/"])
def test_a_server_that_does_not_answer_is_one_line(end, capsys):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        status, said = ended(module_of("endurance.soak").main, ["--view", url + end], capsys)
    assert (status, said) == (1, f"Error: {url}/state: Connection refused\n")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("speed.host", ["--rounds", "0"]), ("accuracy.sot", ["--bundle", "b", "--frames", "0"])],
)
def test_none_of_them_is_not_all_of_them(name, arguments, capsys):
    status, said = ended(module_of(name).main, arguments, capsys)
    assert status == 2
    assert "0: expected " in said


def test_results_are_shown_and_kept_and_a_complaint_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(timing, "save", partial(timing.save, folder=tmp_path))
    script = Script("A script.", rounds=3, threads=1, saves=True)

    @script.does
    def main(options):
        complaint = "too slow" if options.rounds == 2 else ""
        return Result("test", ["a line"], {"rounds": options.rounds}, complaint)

    assert main(["--save"]) == 0
    assert capsys.readouterr() == ("a line\n", "")
    record = json.loads((tmp_path / "test.json").read_text())
    assert record["rounds"] == 3
    assert record["machine"]["cores_used"] == 1
    assert (tmp_path / "test.txt").read_text() == "a line\n"
    assert main(["--rounds", "2"]) == 1
    assert capsys.readouterr() == ("a line\n", "Error: too slow\n")


def test_errors_of_others_are_not_hidden():
    script = Script("A script.")

    @script.does
    def main(_options):
        raise ValueError("a mistake of the script's own")

    with pytest.raises(ValueError, match="own"):
        main([])


def test_an_error_of_the_project_is_one_line(capsys):
    script = Script("A script.")

    @script.does
    def main(_options):
        raise CalibrationError("two\nlines")

    assert main([]) == 1
    assert capsys.readouterr().err == "Error: two lines\n"
