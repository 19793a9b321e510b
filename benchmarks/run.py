"""Runs a benchmark, or `cli`, from a checkout that is not installed.

For example: python benchmarks/run.py gpu --quick
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Run the module that the first argument names with the others."""
    root = Path(__file__).resolve().parents[1]
    if not arguments:
        names = sorted(path.stem for path in (root / "benchmarks").glob("[a-z]*.py"))
        print(f"which one? cli, {', '.join(names)}", file=sys.stderr)
        return 2
    if "unitrack_edge" not in sys.modules:
        # The root of the checkout is the package, whatever its folder is called.
        spec = spec_from_file_location(
            "unitrack_edge", root / "__init__.py", submodule_search_locations=[str(root)]
        )
        assert spec is not None
        assert spec.loader is not None
        package = module_from_spec(spec)
        sys.modules["unitrack_edge"] = package
        spec.loader.exec_module(package)
    name, *rest = arguments
    inner = "cli" if name == "cli" else f"benchmarks.{name}"
    module = import_module(f"unitrack_edge.{inner}")
    sys.argv = [f"{Path(__file__).name} {name}", *rest]
    return int(module.main() or 0)


if __name__ == "__main__":
    # Its own folder would hide modules of the same names, such as `timing`.
    sys.path.pop(0)
    sys.exit(main(sys.argv[1:]))
