"""Checks the types of everything that calls TensorRT against both variants: `make types` runs it.

Once against the type stubs of the classic library (pip's tensorrt-stubs, 10.13), once against stubs
made from the tensorrt-rtx that is installed, so that no call exists in one variant only.  Stubs of
either kind have a few lines that are no Python; those are mended in a copy.

    python tests/support/gpu/tensorrt_types.py BUILD_FOLDER
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MODULES = (
    "runtime.inference.tensorrt.engine",
    "runtime.inference.tensorrt.library",
    "export.tensorrt.builder",
    "export.tensorrt.network",
)

CORRECTED = (
    # A parameter named by a keyword, and one without a default after others with.
    (re.compile(r"\bin: "), "in_: "),
    (re.compile(r"channel_axis: ([\w.]+)\) ->"), r"channel_axis: \1 = ...) ->"),
    # A module-level `bool` that hides Python's own, in which most results are given.
    (re.compile(r"^bool: .*$", re.MULTILINE), ""),
    (re.compile(r"^(import|from) tensorrt_libs.*$", re.MULTILINE), ""),
)

CONFIG = """
[mypy]
strict = true
python_version = 3.10
explicit_package_bases = true
[mypy-cuda.*,lap,onnxruntime.*,supervision.*]
ignore_missing_imports = true
[mypy-tensorrt.*,tensorrt_bindings.*,tensorrt_rtx_bindings.*]
ignore_errors = true
"""


def correct_stubs(folder: Path) -> None:
    """Correct every stub below a folder."""
    for path in folder.rglob("*.pyi"):
        text = path.read_text(encoding="utf-8")
        for pattern, instead in CORRECTED:
            text = pattern.sub(instead, text)
        path.write_text(text, encoding="utf-8")


def installed(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{name} is not installed: pip install '.[dev,tensorrt-rtx]'")
    return Path(next(iter(spec.submodule_search_locations)))


def classic_stubs(folder: Path) -> None:
    """Stubs of `tensorrt`."""
    for name in ("tensorrt", "tensorrt_bindings"):
        shutil.copytree(
            installed(name), folder / name, ignore=shutil.ignore_patterns("*.so", "*.py")
        )


def rtx_stubs(folder: Path) -> None:
    """Stubs of `tensorrt-rtx`, under the name that annotations use."""
    inner = "tensorrt_rtx_bindings.tensorrt_rtx"
    stubgen = "import sys; from mypy.stubgen import main; main(sys.argv[1:])"
    options = ["--quiet", "--inspect-mode", "-m", inner, "-o", str(folder)]
    subprocess.run([sys.executable, "-c", stubgen, *options], check=True)
    (folder / "tensorrt").mkdir()
    (folder / "tensorrt" / "__init__.pyi").write_text(f"from {inner} import *\n", encoding="utf-8")


def check(make: Callable[[Path], None], folder: Path) -> int:
    """mypy's exit status with the stubs that `make` writes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make(folder)
    correct_stubs(folder)
    (folder / "unitrack_edge").symlink_to(ROOT)
    (folder / "mypy.ini").write_text(CONFIG, encoding="utf-8")
    modules = [word for name in MODULES for word in ("-m", f"unitrack_edge.{name}")]
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", *modules]
    environment = {"MYPYPATH": str(folder), "PATH": ""}
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


def main() -> int:
    """Both checks; 0 where both pass."""
    folder = Path(sys.argv[1]).resolve()
    failed = 0
    for make in (classic_stubs, rtx_stubs):
        print(f"against the {make.__doc__[0].lower()}{make.__doc__[1:-1]}:", flush=True)
        failed |= check(make, folder / make.__name__)
    return failed


if __name__ == "__main__":
    sys.exit(main())
