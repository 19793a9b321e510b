"""Runs a benchmark, or `cli`, from a checkout that is not installed.

For example: python benchmarks/run.py gpu --quick, python benchmarks/run.py speed.vos
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory


def main(arguments: list[str]) -> int:
    """Run the module that the first argument names with the others."""
    root = Path(__file__).resolve().parents[1]
    folder = root / "benchmarks"
    kinds = ("accuracy", "endurance", "speed")
    files = sorted(
        (kind, path.stem) for kind in kinds for path in (folder / kind).glob("[a-z]*.py")
    )
    names = ["cli", "gpu", "gpu.device", *(f"{kind}.{name}" for kind, name in files)]
    if not arguments or arguments[0] not in names:
        print(f"which one? {', '.join(names)}", file=sys.stderr)
        return 2
    name, *rest = arguments
    with TemporaryDirectory() as place:
        # The root of the checkout is the package, whatever its folder is called; processes that
        # this one starts find it by the variable.
        (Path(place) / "unitrack_edge").symlink_to(root, target_is_directory=True)
        sys.path.insert(0, place)
        former = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([place, *([former] if former else [])])
        sys.argv = [f"{Path(__file__).name} {name}", *rest]
        inner = {"cli": "cli", "gpu": "benchmarks.gpu.compare"}.get(name, f"benchmarks.{name}")
        return int(import_module(f"unitrack_edge.{inner}").main() or 0)


if __name__ == "__main__":
    # Its own folder would hide modules of the same names, such as `timing`.
    sys.path.pop(0)
    sys.exit(main(sys.argv[1:]))
