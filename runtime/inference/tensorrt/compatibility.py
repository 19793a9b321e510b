"""Which of a bundle's TensorRT engines runs on this machine, and why the others do not.

An engine is bound to a library's version, a GPU and a platform.  TensorRT itself says so in ways
that explain nothing, so everything is compared here before it sees the file.
"""

from __future__ import annotations

import platform
from pathlib import Path

from ....errors import BackendError
from ...bundle.bundle import Bundle, sha256_of
from ...bundle.spec import EngineSpec, GraphSpec
from .library import TensorrtLibrary

PORTABLE = "portable"
"""Target of an engine for every GPU that a variant knows."""


def platform_name() -> str:
    """Operating system and machine, such as `linux-x86_64` or `linux-aarch64`."""
    return f"{platform.system().lower()}-{platform.machine()}"


def build_command(folder: Path, variant: str, *, force: bool = False) -> str:
    """What to type to build a bundle's engines on this machine."""
    return f"cli build {folder} --engine {variant}" + (" --force" if force else "")


def find_engine(bundle: Bundle, graph: str, library: TensorrtLibrary, target: str) -> EngineSpec:
    """The engine of a graph that runs here; one for this very GPU before a portable one.

    Args:
        bundle: Whose.
        graph: Its name.
        library: The variant in use.
        target: This machine's GPU, such as `sm86`.

    Raises:
        BackendError: There is none, or what is there was built for something else; one line that
            says what differs and which command builds it.
    """
    spec = bundle.spec.graphs[graph]
    own = [e for e in bundle.spec.engines if e.graph == graph and e.variant == library.variant]
    fitting = [engine for engine in own if not misfit(engine, spec, library, target)]
    if fitting:
        return min(fitting, key=lambda engine: engine.target == PORTABLE)
    command = build_command(bundle.path, library.variant)
    if not own:
        raise BackendError(
            f"bundle {bundle.path} has no {library.variant} engine of graph {graph}: run "
            f"`{command}`, or add --rebuild"
        )
    differs = min((misfit(engine, spec, library, target) for engine in own), key=len)
    raise BackendError(
        f"the {library.variant} engine of graph {graph} {differs}: run `{command}`, or add "
        "--rebuild"
    )


def misfit(engine: EngineSpec, graph: GraphSpec, library: TensorrtLibrary, target: str) -> str:
    """What an engine was built for that is not so here; empty where it fits."""
    pairs = (
        ("TensorRT", engine.version, library.version),
        ("GPU", target if engine.target == PORTABLE else engine.target, target),
        ("platform", engine.platform, platform_name()),
        ("ONNX file", engine.onnx_sha256[:12], graph.sha256[:12]),
    )
    return ", ".join(
        f"was built for {what} {built}, here is {here}"
        for what, built, here in pairs
        if built != here
    )


def unusable_engines(bundle: Bundle, library: TensorrtLibrary, target: str) -> dict[str, str]:
    """The graphs of a bundle that have no engine to run here, and why; empty: all have one.

    The files are compared with their sha256 as well, so this is what a rebuild goes by.
    """
    reasons = {}
    for graph in bundle.spec.graphs:
        try:
            read_plan(bundle, find_engine(bundle, graph, library, target))
        except BackendError as error:
            reasons[graph] = str(error)
    return reasons


def read_plan(bundle: Bundle, engine: EngineSpec) -> bytes:
    """An engine's bytes, compared with what `bundle.json` says about them.

    An engine is code: nothing is read that lies outside the bundle or is not the file that was
    built.

    Raises:
        BackendError: It is missing, unreadable or changed.
    """
    command = build_command(bundle.path, engine.variant, force=True)
    try:
        path = (bundle.path / engine.file).resolve()
        if not path.is_relative_to(bundle.path.resolve()):
            raise BackendError(
                f"bundle {bundle.path}: engine {engine.file!r} lies outside the bundle and is not "
                f"read: run `{command}`"
            )
        same = path.stat().st_size == engine.size_bytes and sha256_of(path) == engine.sha256
        plan = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BackendError(
            f"engine {engine.file!r} of {bundle.path} cannot be read ({reason}): run `{command}`"
        ) from error
    if not same:
        raise BackendError(
            f"engine {bundle.path / engine.file} has {len(plan)} bytes or a sha256 other than "
            f"recorded ({engine.size_bytes}, {engine.sha256[:12]}…); it was cut short or changed: "
            f"run `{command}`"
        )
    return plan
