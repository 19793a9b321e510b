"""What this machine has, and which bundles run on it: `cli doctor`."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..errors import BackendError, BundleError, UnitrackError
from .bundle.bundle import SPEC_FILE, Bundle
from .inference.onnxruntime import PROVIDERS
from .inference.registry import BACKENDS, BackendRow
from .inference.tensorrt.compatibility import unusable_engines
from .inference.tensorrt.cuda import find_gpu, probe_gpu
from .inference.tensorrt.library import VARIANTS, load_library

ORT_PACKAGES = ("onnxruntime", "onnxruntime-gpu")
_PROVIDERS = ("CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider")


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a report.

    Attributes:
        name: What was looked at.
        value: What was found.
        hint: How to fix it, where something is wrong or missing; empty otherwise.
    """

    name: str
    value: str
    hint: str = ""


def machine_facts(root: Path = Path("/")) -> list[Fact]:
    """Everything but the bundles.

    Args:
        root: Where the system's files are; another one in tests.
    """
    return [
        Fact("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        Fact("python", platform.python_version()),
        *_jetson(root),
        _onnxruntime(),
        *(_variant(name) for name in VARIANTS),
        _gpu(),
        _opencv(),
        _cameras(root),
        _display(),
    ]


def _jetson(root: Path) -> list[Fact]:
    model = _first_line(root / "proc/device-tree/model").rstrip("\0")
    release = _first_line(root / "etc/nv_tegra_release")
    if not release:
        return []
    found = re.search(r"R(\d+).*REVISION: ([\d.]+)", release)
    facts = [
        Fact("board", model or "unknown"),
        Fact("L4T", f"{found[1]}.{found[2]}" if found else release[:60]),
    ]
    jetpack = _output("dpkg-query", "-W", "-f", "${Version}", "nvidia-jetpack")
    if jetpack:
        facts.append(Fact("JetPack", jetpack))
    mode = re.search(r"NV Power Mode: (\S+)", _output("nvpmodel", "-q"))
    if mode:
        slow = not mode[1].startswith("MAXN")
        hint = "for full speed: `grep 'POWER_MODEL ID' /etc/nvpmodel.conf` shows NUMBER, then "
        hint += "`sudo nvpmodel -m NUMBER` and `sudo jetson_clocks`"
        facts.append(Fact("power mode", mode[1], hint if slow else ""))
    return facts


def _onnxruntime() -> Fact:
    packages = [f"{name} {version}" for name in ORT_PACKAGES if (version := _version(name))]
    try:
        ort = importlib.import_module("onnxruntime")
        providers = [name for name in _PROVIDERS if name in ort.get_available_providers()]
    except (ImportError, OSError, AttributeError) as error:
        hint = "pip install 'unitrack-edge[cpu]', or [gpu] for CUDA"
        absent = isinstance(error, ModuleNotFoundError) and not packages
        return Fact("onnxruntime", "not installed" if absent else f"broken: {error}", hint)
    cuda = _PROVIDERS[1] in providers
    # The two packages write into one folder: the one installed last is the one that runs.
    clash = len(packages) > 1
    hint = "" if cuda else "for CUDA: pip install 'unitrack-edge[gpu]' in place of [cpu]"
    if clash:
        hint = f"pip uninstall {' '.join(ORT_PACKAGES)}, then install one of them"
    short = ", ".join(name.removesuffix("ExecutionProvider") for name in providers)
    return Fact("onnxruntime", f"{' and '.join(packages) or ort.__version__}: {short}", hint)


def _variant(name: str) -> Fact:
    try:
        return Fact(name, load_library(name).version)
    except UnitrackError as error:
        what, _, hint = str(error).removeprefix(f"{name} ").partition(": ")
        return Fact(name, what.removeprefix("is "), hint)


def _gpu() -> Fact:
    gpu, reason = probe_gpu()
    if gpu is None:
        install = "pip install 'unitrack-edge[tensorrt-rtx]'" if "cuda-python" in reason else ""
        return Fact("GPU", f"none: {reason}", install)
    return Fact("GPU", f"{gpu.name} ({gpu.target}), {gpu.memory_mib} MiB, driver CUDA {gpu.driver}")


def _opencv() -> Fact:
    import cv2

    built = cv2.getBuildInformation()
    gstreamer = re.search(r"GStreamer:\s+YES", built) is not None
    hint = "" if gstreamer else "sources csi0 and gst: need an OpenCV with GStreamer (JetPack's)"
    return Fact("opencv", f"{cv2.__version__}, GStreamer {'yes' if gstreamer else 'no'}", hint)


def _cameras(root: Path) -> Fact:
    devices = sorted((root / "dev").glob("video[0-9]*"), key=lambda p: (len(p.name), p.name))
    unreadable = [d.name for d in devices if not os.access(d, os.R_OK | os.W_OK)]
    hint = f"no access to {', '.join(unreadable)}: sudo usermod -aG video $USER" * bool(unreadable)
    names = (f"camera{d.name.removeprefix('video')} ({_camera_name(root, d)})" for d in devices)
    return Fact("cameras", ", ".join(names) or "none", hint)


def _camera_name(root: Path, device: Path) -> str:
    return _first_line(root / "sys/class/video4linux" / device.name / "name") or device.name


def _display() -> Fact:
    if platform.system() in ("Windows", "Darwin"):
        return Fact("display", "yes")
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return Fact("display", shown or "none", "" if shown else "--show and --init select need one")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return lines[0].strip() if lines else ""


def _output(*command: str) -> str:
    """What a program prints; empty where it is absent, fails or takes longer than it may."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""


def find_bundles(folder: Path) -> list[Path]:
    """Bundles directly inside a folder, by name, then those of detectors in `detectors`."""
    own, detectors = (folder.glob(f"{place}*/{SPEC_FILE}") for place in ("", "detectors/"))
    return [path.parent for paths in (own, detectors) for path in sorted(paths)]


def bundle_facts(path: Path) -> list[Fact]:
    """One line on the bundle, and one for each backend."""
    try:
        bundle = Bundle.load(path)
    except BundleError as error:
        return [Fact(str(path), "unusable", str(error))]
    spec = bundle.spec
    sizes = ", ".join(f"{h}x{w}" for h, w in spec.sizes_hw) or "any size"
    what = (
        f"{spec.backbone} {spec.layer}"
        if spec.kind == "backbone"
        else f"{spec.kind} {spec.backbone}"
    )
    first = Fact(str(path), f"{what} {spec.precision}, {sizes}")
    return [first, *(_backend(bundle, row) for row in BACKENDS.values())]


def _backend(bundle: Bundle, row: BackendRow) -> Fact:
    name = f"  {row.name}"
    if bundle.spec.of_cpus and row.name != "cpu":
        return Fact(name, "no", "the bundle is int8 for CPUs")
    reason = _no_engines(bundle, row.variant) if row.variant else _no_provider(row.name)
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


def _no_engines(bundle: Bundle, variant: str) -> str:
    try:
        library = load_library(variant)
    except BackendError as error:
        # How to install it stands with the machine's own lines.
        return str(error).partition(": ")[0]
    gpu = find_gpu()
    if gpu is None:
        return "no GPU with a working driver"
    return next(iter(unusable_engines(bundle, library, gpu.target).values()), "")
