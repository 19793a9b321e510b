"""The architecture: who may use whom, what is installed, and what a command costs."""

from __future__ import annotations

import ast
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import zipfile
from dataclasses import fields
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
import unitrack_edge
from click.testing import CliRunner
from unitrack_edge.cli import COMMANDS, main
from unitrack_edge.export.backbones.table import BACKBONES
from unitrack_edge.tracking.registry import TASKS

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = None

ROOT = Path(unitrack_edge.__file__).parent
NOT_INSTALLED = {"tests", "benchmarks", "build", "dist"}
PACKAGE_DATA = ("py.typed", "runtime/server/page.html")
MOST_MODULES = 11
LIGHT_HELP_S = 0.3

# Who may use whom, besides itself; everybody may use `errors`, `records` and the version.
BASE = {"errors", "records", "version"}
MAY_USE = {
    "__init__": BASE | {"api"},
    "version": set(),
    "api": BASE | {"runtime", "heads", "tracking", "evaluation", "export"},
    "errors": set(),
    "records": {"errors"},
    "runtime": BASE,
    "heads": BASE | {"runtime"},
    "export": BASE | {"runtime"},
    "calibration": BASE | {"runtime"},
    "tracking": BASE | {"runtime", "heads"},
    "evaluation": BASE | {"runtime", "heads", "tracking"},
    "commands": BASE | {"runtime", "heads", "tracking", "evaluation", "export", "calibration"},
    "cli": BASE | {"commands"},
}
# Comparing with PyTorch needs what was exported from.
MAY_ALSO_USE = {"evaluation.parity.torch": {"export"}}
MAY_USE_TORCH = ("export.", "calibration.", "evaluation.parity.")


def package_files():
    """Text of every Python file of the package by its path, as git would hand it over."""
    tops = [p for p in ROOT.iterdir() if p.stem not in NOT_INSTALLED]
    found = [p for p in tops if p.suffix == ".py"]
    for top in tops:
        if (top / "__init__.py").is_file():
            found += top.rglob("*.py")
    assert len(found) > 40
    return {p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8") for p in sorted(found)}


def module_of(path):
    """`runtime/boxes.py` is `runtime.boxes`, `runtime/__init__.py` is `runtime`."""
    parts = path.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports_of(path, text, modules):
    """Modules of this package that a file imports, delayed imports included, and other packages.

    Yields:
        A module's name and whether it belongs to this package.
    """
    package = path.split("/")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0], False
        elif isinstance(node, ast.ImportFrom):
            up = node.level - 1
            assert up <= len(package), f"{path} reaches out of the package"
            base = package[: len(package) - up] + (node.module or "").split(".")
            name = ".".join(part for part in base if part)
            for alias in node.names:
                inner = f"{name}.{alias.name}".strip(".")
                yield (inner if inner in modules else name or "__init__"), True


def wrong_imports(path, text, modules=frozenset()):
    module = module_of(path)
    top = module.split(".")[0]
    allowed = MAY_USE[top] | MAY_ALSO_USE.get(module, set()) | {top}
    for target, own in imports_of(path, text, modules):
        if own and target.split(".")[0] not in allowed:
            yield f"{path} uses {target}"
        elif target == "unitrack_edge":
            yield f"{path} names the package: imports inside it are relative"
        elif target in ("torch", "torchvision") and not module.startswith(MAY_USE_TORCH):
            yield f"{path} imports {target}"


@pytest.fixture(scope="module")
def graph():
    """Which modules each module imports."""
    files = package_files()
    modules = {module_of(path) for path in files}
    return {
        module_of(path): {t for t, own in imports_of(path, text, modules) if own and t in modules}
        for path, text in files.items()
    }


def test_dependence_points_one_way_and_torch_stays_where_it_belongs():
    files = package_files()
    modules = {module_of(path) for path in files}
    wrong = [line for path, text in files.items() for line in wrong_imports(path, text, modules)]
    assert wrong == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("runtime/a.py", "from ..heads.mot import MotHead"),
        ("runtime/a.py", "def f():\n    from .. import cli"),
        ("runtime/sources/a.py", "from ...tracking.session import track"),
        ("records.py", "from .runtime import boxes"),
        ("errors.py", "from .records import Frame"),
        ("heads/a.py", "if True:\n    import torch.nn"),
        ("heads/a.py", "from torch import nn"),
        ("heads/a.py", "from unitrack_edge.runtime import pipeline"),
        ("export/a.py", "from ..heads.config import MotConfig"),
        ("tracking/session.py", "from ..commands.track import command"),
        ("evaluation/metrics/a.py", "from ...export.backbones.resnet import ResNet"),
        ("cli.py", "from .tracking.session import track"),
    ],
)
def test_a_wrong_import_is_noticed(path, text):
    assert len(list(wrong_imports(path, text, frozenset({"cli", "runtime.boxes"})))) == 1


def circles(graph):
    """Groups of modules that import one another, by removing what nobody of the rest imports."""
    left = {module: set(targets) for module, targets in graph.items()}
    while True:
        done = {m for m, targets in left.items() if not targets & left.keys()}
        done |= {m for m in left if not any(m in targets for targets in left.values())}
        if not done:
            return sorted(left)
        for module in done:
            del left[module]


def test_no_import_circle_not_even_a_delayed_one(graph):
    assert circles(graph) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]


def test_every_module_is_reached(graph):
    entries = {"cli", "__init__", "api"} | {
        m for m in graph if m.count(".") == 1 and m.startswith("commands.")
    }
    reached, waiting = set(), list(entries)
    while waiting:
        module = waiting.pop()
        if module in graph and module not in reached:
            reached.add(module)
            waiting += graph[module]
    packages = {m for m in graph if any(other.startswith(f"{m}.") for other in graph)}
    assert set(graph) - reached - packages == set()


def test_no_folder_holds_more_modules_than_one_can_read():
    count = {}
    for path in package_files():
        folder, _, name = path.rpartition("/")
        if name != "__init__.py":
            count[folder] = count.get(folder, 0) + 1
    assert {folder: n for folder, n in count.items() if n > MOST_MODULES} == {}


def test_every_part_has_a_rule():
    names = {module.split(".")[0] for module in map(module_of, package_files())}
    assert names == set(MAY_USE), "a part without a rule: see MAY_USE"


def test_types_are_checked_of_all_parts_and_of_the_benchmarks():
    (parts,) = re.findall(r"^PARTS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    folders = {path.split("/")[0] for path in package_files() if "/" in path}
    assert set(parts.split()) == {"$(wildcard", "*.py)", "benchmarks", *folders}


def test_no_root_module_hides_one_of_the_standard_library():
    names = {module.split(".")[0] for module in map(module_of, package_files())}
    assert names & set(sys.stdlib_module_names) == set()


# The wheel.


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Names and contents of the wheel, built from a copy of what git would hand over."""
    backend = pytest.importorskip("setuptools.build_meta", reason="no setuptools here")
    del backend
    copy = tmp_path_factory.mktemp("wheel") / "repo"
    copy.mkdir()
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    for folder in {path.split("/")[0] for path in package_files() if "/" in path} | {
        "tests",
        "benchmarks",
    }:
        if (ROOT / folder).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    # A stray file of data must not be taken along either.
    (copy / "heads" / "weights.bin").write_bytes(b"x")
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import setuptools.build_meta as b; b.build_wheel('dist')",
        ],
        cwd=copy,
        check=True,
        capture_output=True,
    )
    (path,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    info = f"unitrack_edge-{unitrack_edge.__version__}.dist-info/"
    expected = {f"unitrack_edge/{name}" for name in (*package_files(), *PACKAGE_DATA)}
    assert {name for name in wheel if not name.startswith(info)} == expected


def test_the_wheel_says_what_it_is(wheel):
    info = {name.split("/", 1)[1]: data for name, data in wheel.items() if ".dist-info/" in name}
    metadata = info["METADATA"].decode()
    assert f"\nVersion: {unitrack_edge.__version__}\n" in metadata
    assert "\nRequires-Python: >=3.10\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Dist: prometheus-client" in metadata
    extras = "cpu gpu tensorrt tensorrt-rtx export calibrate eval bench peers ray serve dev"
    for extra in extras.split():
        assert f"\nProvides-Extra: {extra}\n" in metadata
    assert b"Apache License" in info["licenses/LICENSE"]
    entries = info["entry_points.txt"].decode()
    assert "cli = unitrack_edge.cli:main" in entries
    assert "unitrack-edge = unitrack_edge.cli:main" in entries


def test_tests_run_in_a_checkout_of_any_name(tmp_path):
    """`git clone` calls the folder unitrack-edge, which is no name of Python's."""
    checkout = tmp_path / "unitrack-edge"
    checkout.symlink_to(ROOT)
    test = checkout / "tests" / "runtime" / "test_boxes.py"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(test), "-k", "tight"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
        check=False,
    )
    assert "1 passed" in ran.stdout, ran.stdout


# What a command costs.

HELP = "import sys; sys.argv = ['cli', '--help']; from unitrack_edge.cli import main; main()"
MODULES = """
import json, sys
from unitrack_edge.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    print(json.dumps([ended.code or 0, sorted(sys.modules)]))
"""


def cpu_seconds(code):
    """Processor time of a Python process, the interpreter's own start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def modules_after(*arguments, cwd=None):
    """The modules that a command imported, and the folder it ran in stays as it was."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", MODULES, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        check=False,
    )
    assert ran.stderr == ""
    status, modules = json.loads(ran.stdout.splitlines()[-1])
    assert status == 0, ran.stdout
    return set(modules)


def test_help_answers_at_once():
    # Processor time, and the best of several: the machine has other things to do.
    times = []
    while len(times) < 6 and min(times, default=1.0) >= LIGHT_HELP_S:
        times.append(cpu_seconds(HELP))
    assert min(times) < LIGHT_HELP_S, times


def test_help_and_version_import_nothing_heavy():
    for flag in ("--help", "--version"):
        loaded = modules_after(flag)
        assert not loaded & {"numpy", "cv2", "torch", "onnxruntime", "rich", "scipy", "matplotlib"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    from unitrack_edge.evaluation.synthetic.files import write_scene
    from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig

    config = SceneConfig(frames=4, height=64, width=96, objects=2)
    return write_scene(Scene(config), tmp_path_factory.mktemp("architecture") / "clip")


SIZE = ("--mot-height", "64", "--mot-width", "96")
NEVER_IN_TRACK = {"torch", "onnx", "onnxscript", "matplotlib", "trackeval", "pandas", "scipy"}


def test_track_mot_does_not_import_what_it_does_not_need(clip, quick_bundle, tmp_path):
    loaded = modules_after(
        *("track", clip.source, "--task", "mot", "--bundle", quick_bundle.path),
        *("--detections", clip.detections, "--output", tmp_path / "run", *SIZE, "--save-video"),
    )
    assert "onnxruntime" in loaded
    assert not loaded & NEVER_IN_TRACK


def test_track_vos_does_without_the_assignment_too(clip, quick_bundle, tmp_path):
    loaded = modules_after(
        *("track", clip.source, "--task", "vos", "--bundle", quick_bundle.path),
        *("--init", clip.init_mask, "--output", tmp_path / "run", "--save-video"),
    )
    assert not loaded & (NEVER_IN_TRACK | {"lap"})


def test_backbones_are_listed_without_torch():
    assert not modules_after("backbones") & (NEVER_IN_TRACK | {"numpy", "cv2", "av", "PIL"})


def test_images_are_tracked_without_a_video_decoder(clip, quick_bundle, tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((96, 160, 3), np.uint8))
    loaded = modules_after(
        *("track", tmp_path, "--task", "mot", "--bundle", quick_bundle.path, "--max-frames", "1"),
        *("--detections", clip.detections, "--output", tmp_path / "run", *SIZE),
    )
    assert "cv2" in loaded
    assert "av" not in loaded


# The words around it.


def commands():
    for name in COMMANDS:
        yield name, main.get_command(None, name)


def test_every_option_says_what_it_is_for():
    silent = [
        f"cli {name} {option.opts[0]}"
        for name, command in commands()
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden and not option.help
    ]
    assert silent == []


def test_every_command_is_listed_and_has_help():
    for name, command in commands():
        assert command.name == name
        # The list is written without importing the commands: both texts are to agree.
        assert command.help.split()[:2] == COMMANDS[name].split()[:2]


def test_every_parameter_of_every_head_is_an_option_of_track():
    command = dict(commands())["track"]
    options = {opt for parameter in command.params for opt in parameter.opts}
    shown = CliRunner().invoke(command, ["--help"], terminal_width=200).output
    for task, spec in TASKS.items():
        config = spec.config
        assert fields(config)
        for parameter in fields(config):
            flag = f"--{task}-{parameter.name.replace('_', '-')}"
            assert flag in options
            assert flag in shown
            assert parameter.metadata["help"].split()[0] in shown


def test_versions_agree():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == unitrack_edge.__version__
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for named in re.findall(r"unitrack[-_ ]edge[ =@v]+(\d+\.\d+\.\d+)", readme, re.IGNORECASE):
        assert named == unitrack_edge.__version__


def test_the_words_count_the_backbones_rightly():
    for name in ("README.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        counts = {int(number) for number in re.findall(r"(\d+) backbones", text)}
        assert counts <= {len(BACKBONES)}, name


@pytest.mark.skipif(tomllib is None, reason="tomllib comes with Python 3.11")
def test_pyproject_takes_its_version_from_the_package_and_lists_every_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    setuptools = project["tool"]["setuptools"]
    assert project["project"]["dynamic"] == ["version"]
    assert setuptools["dynamic"]["version"] == {"attr": "unitrack_edge.version.__version__"}
    inits = {p.rpartition("/")[0] for p in package_files() if p.endswith("__init__.py")}
    names = {f"unitrack_edge/{folder}".strip("/").replace("/", ".") for folder in inits}
    assert set(setuptools["packages"]) == names
    scripts = project["project"]["scripts"]
    assert scripts == dict.fromkeys(("cli", "unitrack-edge"), "unitrack_edge.cli:main")


def test_the_readme_names_commands_and_options_that_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    known = dict(commands())
    examples = re.findall(r"\bcli (\w+) ([^`#\n]*)", readme)
    assert {name for name, _ in examples} >= {"export", "track"}
    for name, rest in examples:
        assert name in known, name
        options = {opt for parameter in known[name].params for opt in parameter.opts} | {"--help"}
        assert set(re.findall(r"--[a-z][a-z-]+", rest)) <= options, (name, rest)
