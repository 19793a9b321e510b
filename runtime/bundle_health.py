"""Which bundles can be used on this machine, with which backends, and why not with the others."""

from __future__ import annotations

from pathlib import Path

from ..errors import BackendError, BundleError
from .backends import BACKENDS, BackendRow
from .bundle import SPEC_FILE, Bundle
from .device import find_gpu
from .engine_choice import unusable_engines
from .machine import Fact
from .onnxruntime_engine import PROVIDERS
from .tensorrt_library import load_library


def find_bundles(folder: Path) -> list[Path]:
    """Bundles directly inside a folder, by name."""
    return sorted(path.parent for path in folder.glob(f"*/{SPEC_FILE}"))


def bundle_facts(path: Path) -> list[Fact]:
    """One line on the bundle, and one for each backend."""
    try:
        bundle = Bundle.load(path)
    except BundleError as error:
        return [Fact(str(path), "unusable", str(error))]
    spec = bundle.spec
    sizes = ", ".join(f"{h}x{w}" for h, w in spec.sizes_hw) or "any size"
    first = Fact(str(path), f"{spec.backbone} {spec.layer} {spec.precision}, {sizes}")
    return [first, *(_backend(bundle, row) for row in BACKENDS.values())]


def _backend(bundle: Bundle, row: BackendRow) -> Fact:
    name = f"  {row.name}"
    reason = _no_engines(bundle, row.flavour) if row.flavour else _no_provider(row.name)
    return Fact(name, "no", reason) if reason else Fact(name, "usable")


def _no_provider(name: str) -> str:
    try:
        import onnxruntime
    except ImportError:
        return "onnxruntime is not installed"
    provider = PROVIDERS[name]
    if provider in onnxruntime.get_available_providers():
        gpu_missing = name != "cpu" and find_gpu() is None
        return "no GPU with a working driver" if gpu_missing else ""
    return f"onnxruntime here has no {provider}"


def _no_engines(bundle: Bundle, flavour: str) -> str:
    try:
        library = load_library(flavour)
    except BackendError as error:
        # How to install it stands with the machine's own lines.
        return str(error).partition(": ")[0]
    gpu = find_gpu()
    if gpu is None:
        return "no GPU with a working driver"
    return next(iter(unusable_engines(bundle, library, gpu.target).values()), "")
