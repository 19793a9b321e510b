"""Builds the engines of a bundle and writes them into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ...errors import BuildError
from ...runtime.bundle.bundle import SPEC_FILE, Bundle, sha256_of
from ...runtime.bundle.spec import BundleSpec, EngineSpec, GraphSpec
from ...runtime.inference.tensorrt.compatibility import PORTABLE, platform_name
from ...runtime.inference.tensorrt.cuda import GpuInfo, find_gpu
from ...runtime.inference.tensorrt.library import TensorrtLibrary, load_library
from ...runtime.writers.base import write_atomic, write_json_atomic
from ..graphs.profiles import Range, dimension_ranges, profiled
from .builder import CURRENT, BuildOptions, BuiltEngine, build_engine

ENGINES = "engines"
_CACHE = "timing.cache"


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What the user asked for.

    Attributes:
        variant: `tensorrt` or `tensorrt-rtx`.
        targets: `current`, `portable`, `sm86` …; empty: the GPU in this machine, or, where there
            is none, whatever the variant can build without one.
        sizes_hw: Image sizes (height, width) that the engines serve; empty: the bundle's.
        workspace_mib: Most memory that a layer may use for itself; None: the library's default.
        graphs: Which graphs; empty: all.
        force: Whether engines that fit are built again.
    """

    variant: str
    targets: tuple[str, ...] = ()
    sizes_hw: tuple[tuple[int, int], ...] = ()
    workspace_mib: int | None = None
    graphs: tuple[str, ...] = ()
    force: bool = False


Progress = Callable[[str, int, int, str], None]
"""Called with `graph target`, how many engines are done, how many there are, and the phase."""


def build_engines(
    bundle: Bundle,
    request: EngineRequest,
    progress: Progress = lambda *_: None,
    warn: Callable[[str], None] = lambda _: None,
) -> tuple[EngineSpec, ...]:
    """Build what is missing or stale; every finished engine is in the bundle at once.

    Args:
        bundle: Checked when it was loaded; its ONNX files are never touched.
        request: What to build.
        progress: Called at each step.
        warn: Called with what was not as asked for, a line each.

    Returns:
        All engines that were asked for, those that were there already included.

    Raises:
        BackendError: The variant is not installed.
        BuildError: A request that cannot be met, a graph that cannot be parsed, a broken
            promise of precision, or no memory.  The bundle keeps what it had.
        OutputError: The bundle cannot be written.
    """
    if bundle.spec.of_cpus:
        raise BuildError(
            f"bundle {bundle.path} is int8 for CPUs, and TensorRT takes symmetric int8 alone: make "
            "one with `cli calibrate --target gpu` of its float bundle"
        )
    library = load_library(request.variant)
    gpu = find_gpu()
    targets = tuple(_resolve(library, t, gpu) for t in request.targets or (_default(library, gpu),))
    graphs = _chosen(bundle, request.graphs)
    ranges = dimension_ranges(_sizes(bundle, request.sizes_hw), bundle.spec.stride)
    jobs = [(target, graph) for target in dict.fromkeys(targets) for graph in graphs]
    spec, results = bundle.spec, []
    for done, (target, graph) in enumerate(jobs):
        label = f"{graph.name} {target}"
        progress(label, done, len(jobs), "")
        found = _up_to_date(bundle, spec, library, target, graph, ranges)
        if found is None or request.force:
            made = build_engine(
                library,
                bundle.path / graph.file,
                graph,
                spec.precision,
                ranges,
                BuildOptions(target, request.workspace_mib),
                _read(_folder(bundle, library, target) / _CACHE),
                partial(progress, label, done, len(jobs)),
            )
            for line in made.warnings:
                warn(line)
            found, spec = _add(bundle, spec, library, target, graph, made, gpu)
        results.append(found)
    return tuple(results)


def _default(library: TensorrtLibrary, gpu: GpuInfo | None) -> str:
    return CURRENT if gpu is not None or not library.row.builds_elsewhere else PORTABLE


def _resolve(library: TensorrtLibrary, target: str, gpu: GpuInfo | None) -> str:
    if target == CURRENT or not library.row.builds_elsewhere:
        here = None if gpu is None else gpu.target
        if here is None:
            raise BuildError(
                f"{library.variant} builds for the GPU in this machine, and no GPU with a working "
                "driver was found (see `cli doctor`)"
                + ("; --target sm86 … needs none" if library.row.builds_elsewhere else "")
            )
        if library.row.builds_elsewhere and here.upper() not in _capabilities(library):
            raise BuildError(
                f"the GPU in this machine, {gpu.name if gpu else ''} ({here}), is none that "
                f"{library.variant} {library.version} builds for "
                f"({', '.join(sorted(name.lower() for name in _capabilities(library)))}): use "
                "--engine tensorrt, or --backend cuda without engines"
            )
        if target not in (CURRENT, here):
            raise BuildError(
                f"--target {target}: {library.variant} builds for the GPU in this machine only, "
                f"which is {here}; run `cli build` on the other machine, or use "
                "--engine tensorrt-rtx"
            )
        return here
    return target


def _capabilities(library: TensorrtLibrary) -> list[str]:
    """The GPUs that a variant builds for, such as `SM86`."""
    members = library.trt.ComputeCapability.__members__
    return [name for name in members if name.startswith("SM")]


def _chosen(bundle: Bundle, names: tuple[str, ...]) -> list[GraphSpec]:
    unknown = [name for name in names if name not in bundle.spec.graphs]
    if unknown:
        raise BuildError(
            f"bundle {bundle.path} has no graph {unknown[0]}: it has "
            f"{', '.join(bundle.spec.graphs)}"
        )
    return [graph for name, graph in bundle.spec.graphs.items() if not names or name in names]


def _sizes(bundle: Bundle, sizes_hw: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    own = bundle.spec.sizes_hw
    for height, width in sizes_hw:
        if own and (height, width) not in own:
            known = ", ".join(f"{h}x{w}" for h, w in own)
            raise BuildError(
                f"--size {height}x{width}: bundle {bundle.path} was exported for {known}; export "
                "it again with that --size, or without any"
            )
    return sizes_hw or own


def _up_to_date(
    bundle: Bundle,
    spec: BundleSpec,
    library: TensorrtLibrary,
    target: str,
    graph: GraphSpec,
    ranges: dict[str, Range],
) -> EngineSpec | None:
    inputs = tuple(profiled(tensor, ranges) for tensor in graph.inputs)
    for engine in spec.engines:
        fits = _key(engine) == (graph.name, library.variant, library.version, target)
        if fits and engine.onnx_sha256 == graph.sha256 and engine.inputs == inputs:
            path = bundle.path / engine.file
            return engine if path.is_file() and sha256_of(path) == engine.sha256 else None
    return None


def _key(engine: EngineSpec) -> tuple[str, str, str, str]:
    return engine.graph, engine.variant, engine.version, engine.target


def _folder(bundle: Bundle, library: TensorrtLibrary, target: str) -> Path:
    return bundle.path / ENGINES / f"{library.variant}-{library.version}-{target}"


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _add(
    bundle: Bundle,
    spec: BundleSpec,
    library: TensorrtLibrary,
    target: str,
    graph: GraphSpec,
    made: BuiltEngine,
    gpu: GpuInfo | None,
) -> tuple[EngineSpec, BundleSpec]:
    folder = _folder(bundle, library, target)
    path = folder / f"{graph.name}.engine"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(
            f"cannot write into bundle {bundle.path}: {error.strerror}; copy it to a folder that "
            "you may write to"
        ) from error
    write_atomic(path, made.plan)
    if made.timing_cache:
        write_atomic(folder / _CACHE, made.timing_cache)
    engine = EngineSpec(
        graph=graph.name,
        file=path.relative_to(bundle.path).as_posix(),
        sha256=sha256_of(path),
        size_bytes=len(made.plan),
        onnx_sha256=graph.sha256,
        variant=library.variant,
        version=library.version,
        target=target,
        platform=platform_name(),
        build_s=round(made.build_s, 3),
        inputs=made.inputs,
        products=made.products,
        gpu=None if gpu is None else gpu.name,
        driver=None if gpu is None else gpu.driver,
    )
    others = tuple(e for e in spec.engines if _key(e) != _key(engine))
    spec = replace(spec, engines=(*others, engine))
    # Last, so that bundle.json never names an engine that is not there.
    write_json_atomic(bundle.path / SPEC_FILE, spec.to_json())
    return engine, spec
