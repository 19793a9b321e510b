"""Values of options that cannot be: status 2, one line with the option, and nothing written."""

from __future__ import annotations

import click
import pytest
from unitrack_edge.cli import COMMANDS, main

from ..support.command_line import run_cli

FIRST = ("track", "clip.mp4", "--task", "mot")

WRONG = {
    "fps of nothing": ((*FIRST, "--fps", "0"), "--fps 0: expected a number above 0"),
    "fps below nothing": ((*FIRST, "--fps", "-25"), "--fps -25: expected a number above 0"),
    "fps without end": ((*FIRST, "--fps", "1e30"), "--fps 1e+30: expected a number above 0, at"),
    "fps of a camera": (
        ("track", "camera0", "--task", "mot", "--fps", "25"),
        "camera0 is live and runs at its own rate: leave out --fps 25",
    ),
    "range of one number": ((*FIRST, "--range", "7"), "--range 7: expected LOW,HIGH"),
    "range upside down": ((*FIRST, "--range", "9,7"), "--range 9,7: expected LOW,HIGH"),
    "range of a camera": (
        ("track", "camera0", "--task", "mot", "--range", "7,9"),
        "camera0 is live: --range belongs to files",
    ),
    "longer than a thread can wait": (
        ("track", "camera0", "--task", "mot", "--give-up", "1e30"),
        "--give-up 1e+30: expected 0 to 31536000 seconds",
    ),
    "reconnected after ages": (
        ("track", "camera0", "--task", "mot", "--reconnect-after", "1e30"),
        "--reconnect-after 1e+30: expected seconds above 0, at most 31536000",
    ),
    "more threads than there can be": (
        (*FIRST, "--threads", "99999999999999999999"),
        "Invalid value for '--threads': 99999999999999999999 is not in the range 0<=x<=1024",
    ),
    "radius that focus would cut": (
        ("track", "c.mp4", "--task", "vos", "--init", "m.png", "--vos-radius", "100"),
        "--vos-radius 100: --vos-focus auto takes 9 at most",
    ),
    "box of three numbers": (
        ("track", "{clip}", "--task", "sot", "--init", "1,2,3", "--bundle", "{bundle}"),
        "--init 1,2,3: got 3 numbers, expected four, X,Y,W,H",
    ),
    "folder for a box": (
        ("track", "{clip}", "--task", "sot", "--init", "{folder}", "--bundle", "{bundle}"),
        ": a folder; expected a box X,Y,W,H, or a file",
    ),
    "folder for keypoints": (
        ("track", "{clip}", "--task", "pose", "--init", "{folder}", "--bundle", "{bundle}"),
        ": a folder; expected PoseTrack18 JSON",
    ),
    "class that was not set": (
        ("track", "{clip}", "--task", "sot", "--init", "detect:", "--bundle", "{bundle}"),
        "--init detect:: expected detect, or detect:CLASS with a class",
    ),
    "unknown detector": (
        ("track", "{clip}", "--task", "mot", "--detector", "nobody", "--bundle", "{bundle}"),
        "--detector: no model is called 'nobody'",
    ),
    "unknown backbone": (
        ("track", "{clip}", "--task", "mot", "--detector", "motion", "--backbone", "resnet9"),
        "--backbone: no backbone is called 'resnet9'",
    ),
    "nothing but a file's name": (
        ("track", "{clip}", "--task", "mot", "--detector", "a.txt", "--bundle", "{bundle}"),
        "--detector a.txt: expected 'motion'",
    ),
    "folder without a detector": (
        ("track", "{clip}", "--task", "mot", "--detector", "{folder}", "--bundle", "{bundle}"),
        "/clip: a folder without bundle.json; expected a name that",
    ),
    "folder without a pose model": (
        (
            *("track", "{clip}", "--task", "posetrack", "--detector", "motion"),
            *("--pose-model", "{folder}", "--bundle", "{bundle}"),
        ),
        "/clip: a folder without bundle.json; expected a name that",
    ),
    "more keys than the bundle keeps": (
        (
            *("track", "{clip}", "--task", "vos", "--init", "1,1,9,9", "--bundle", "{bundle}"),
            *("--vos-top-k", "11"),
        ),
        "--vos-top-k 11: more than the bundle keeps (10)",
    ),
    "export of an unknown backbone": (
        ("export", "--backbone", "resnet9"),
        "--backbone: no backbone is called 'resnet9'",
    ),
    "export of an unknown detector": (
        ("export", "--detector", "nobody"),
        "--detector: no model is called 'nobody'",
    ),
    "export with too many keys": (
        ("export", "--backbone", "random-r18", "--top-k", "257"),
        "Invalid value for '--top-k': 257 is not in the range 1<=x<=256",
    ),
    "export of tiny images": (
        ("export", "--backbone", "random-r18", "--size", "8x8"),
        "--size 8x8: expected 32 to 8192 pixels a side",
    ),
    "more jobs than there can be": (
        ("eval", "--task", "mot", "--data", "none", "--jobs", "99999999"),
        "Invalid value for '--jobs': 99999999 is not in the range 1<=x<=1024",
    ),
    "part of a data set that no folder is": (
        ("eval", "--task", "mot", "--data", "none", "--split", "x" * 256),
        "Invalid value for '--split'",
    ),
    "part of a data set without a name": (
        ("eval", "--task", "mot", "--data", "none", "--split", ""),
        "Invalid value for '--split': '': expected a name such as train",
    ),
    "layout of no detector": (
        ("export", "--backbone", "random-r18", "--detector-layout", ""),
        "--detector-names, -layout and -normalise belong to --detector",
    ),
    "name in a value, longer than names are": (
        ("compare", "--backbone", "{bundle}", "--data", "x" * 5000),
        "…': File name too long, expected a path",
    ),
    "compared with nothing": (
        ("bench", "{bundle}", "--task", "mot", "--against", ""),
        "--against: got an empty value, expected pytorch or a bundle",
    ),
    "rounds without end": (
        ("bench", "{bundle}", "--task", "mot", "--rounds", "99999999999999999999"),
        "Invalid value for '--rounds': 99999999999999999999 is not in the range 2<=x<=10000",
    ),
    "frames without end": (
        ("parity", "{bundle}", "--count", "99999999999999999999"),
        "Invalid value for '--count'",
    ),
    "tuned to no number": (
        ("tune", "bundle", "--task", "mot", "--source", "clip.mp4", "--fps", "nan"),
        "Invalid value for '--fps': nan is not a finite number",
    ),
    "demo of no frame": (
        ("demo", "--frames", "0"),
        "Invalid value for '--frames': 0 is not in the range x>=1",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_it_is_refused_in_one_line_that_names_the_option(what, here, clip, quick_bundle):
    words, message = WRONG[what]
    places = {"clip": clip.source, "bundle": quick_bundle.path, "folder": clip.source.parent}
    assert message in run_cli(*(word.format(**places) for word in words), status=2)
    assert list(here.iterdir()) == []


def paths():
    """Every option and argument of every command that is a path."""
    for name in COMMANDS:
        command = main.get_command(None, name)
        for parameter in command.params:
            if isinstance(parameter.type, click.Path):
                yield pytest.param(command, parameter, id=f"{name} {max(parameter.opts, key=len)}")


@pytest.mark.parametrize(("command", "parameter"), list(paths()))
def test_no_path_is_empty_or_longer_than_paths_are(command, parameter, tmp_path):
    """An empty one is a variable that is not set: `Path("")` would be the current folder."""
    taken = parameter.type
    context = click.Context(command)
    for text, why in (("", "empty value"), ("x" * 5000, "File name too long"), ("a\0", "null")):
        with pytest.raises(click.BadParameter, match=why):
            taken.convert(text, parameter, context)
    (tmp_path / "file").touch()
    if not taken.file_okay:
        with pytest.raises(click.BadParameter, match="is a file"):
            taken.convert(str(tmp_path / "file"), parameter, context)
    if not taken.dir_okay:
        with pytest.raises(click.BadParameter, match="is a directory"):
            taken.convert(str(tmp_path), parameter, context)
    assert taken.convert(str(tmp_path / "new"), parameter, context) in (
        tmp_path / "new",
        str(tmp_path / "new"),
    )


@pytest.mark.parametrize(
    ("flag", "kind"),
    [
        *(("--bundle", "folder"), ("--output", "folder"), ("--jsonl", "file")),
        *(("--detector-names", "file"), ("--serve-cert", "file"), ("--serve-key", "file")),
        ("--config", "file"),
    ],
)
def test_a_folder_where_a_file_belongs_and_the_other_way_round(flag, kind, here):
    (here / "file").write_text("mine")
    (here / "folder").mkdir()
    wrong = {"folder": "file", "file": "folder"}[kind]
    said = run_cli("track", "clip.mp4", "--task", "mot", flag, wrong, status=2)
    assert f"Invalid value for '{flag}'" in said
    assert sorted(path.name for path in here.iterdir()) == ["file", "folder"]
    assert (here / "file").read_text() == "mine"


@pytest.mark.parametrize("option", ["output", "bundle", "jsonl"])
def test_a_path_that_a_file_of_options_gives_as_a_number(option, here, clip):
    file = here / "run.yaml"
    words = f"sources: [{clip.source}]\ntasks: {{mot: {{}}}}\ndetector: {{detector: motion}}\n"
    file.write_text(f"{words}run: {{{option}: 5}}\n")
    (here / "5").write_text("mine")
    if option == "jsonl":
        (here / "5").unlink()
        (here / "5").mkdir()
    said = run_cli("track", "--config", file, status=2)
    assert f"Invalid value for '--{option}'" in said
    assert "'5'" in said
