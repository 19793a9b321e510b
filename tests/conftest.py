"""Fixtures of all tests: data beside the repository, and bundles exported once a session.

`UNITRACK_TEST_BUNDLES` names a folder where exported bundles stay from one session to the next;
whoever changes the export empties it.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

# Before NumPy and ONNX Runtime start their pools: two cores are what the project promises to use,
# and tests that run beside one another share them.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", os.environ["OMP_NUM_THREADS"])

import cv2
import numpy as np
import pytest
import unitrack_edge
from unitrack_edge.errors import UnitrackError
from unitrack_edge.runtime.bundle.bundle import SPEC_FILE, Bundle
from unitrack_edge.runtime.inference.runner import GraphRunner
from unitrack_edge.runtime.writers.base import write_json_atomic

THREADS = int(os.environ["OMP_NUM_THREADS"])
DATA = Path(os.environ.get("UNITRACK_DATA", Path(__file__).parents[2] / "shared" / "data"))

cv2.setNumThreads(THREADS)

# pytest imports the repository's root, a package too, by its folder's name, and as `__init__` where
# that is no name of Python's: `unitrack-edge`.
sys.modules.setdefault("__init__", unitrack_edge)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs):
    """Workers are given the environment of this process, and share its threads."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(max(1, int(os.environ[name]) // len(specs)))


def pytest_terminal_summary(terminalreporter):
    """Says what did not run: a line a reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")


def _once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first worker which asks for it makes, and all workers share.

    Args:
        factory: Knows the session's temporary folder.
        name: Of the folder.
        make: Writes the folder.
    """
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    shared = Path(os.environ.get("UNITRACK_TEST_BUNDLES", shared))
    shared.mkdir(parents=True, exist_ok=True)
    folder = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make(folder)
    return folder


def _export(
    name: str,
    factory: pytest.TempPathFactory,
    weights: Path | None = None,
    precision: str = "fp32",
    *,
    alone: bool = False,
) -> Bundle:
    """A bundle, or its backbone `alone`: the other graphs have no weights, and take longest."""
    torch = pytest.importorskip("torch", reason="bundles are exported with PyTorch: extra 'export'")
    torch.set_num_threads(THREADS)
    from unitrack_edge.export import bundle_writer

    write = partial(
        bundle_writer.write_bundle,
        bundle_writer.ExportRequest(name, weights=weights, precision=precision),
    )
    folder = f"{name}-{precision}{'-backbone' if alone else ''}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            if alone:
                patch.setattr(bundle_writer, "head_graphs", lambda _sizes: {})
            return Bundle.load(_once(factory, folder, write))
    except UnitrackError as error:
        if "not installed" not in str(error):
            raise
        pytest.skip(str(error))


def _folder(path: Path) -> Path:
    if not path.is_dir():
        pytest.skip(f"{path} is absent (UNITRACK_DATA names the folder of real sequences)")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real sequences with truth."""
    return _folder(DATA)


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """Checkpoints and detectors, beside the sequences."""
    return _folder(DATA.parent / "models")


@pytest.fixture(scope="session")
def golden():
    """Loads a file of golden numbers by name, such as `rsm`."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = _folder(DATA.parent / "golden") / f"{name}.npz"
        with np.load(path, allow_pickle=False) as file:
            return dict(file)

    return load


@pytest.fixture(scope="session")
def lite_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of the embedded default, whose weights come with a package; some 13 s."""
    return _export("efficientnet-lite0", tmp_path_factory)


@pytest.fixture(scope="session")
def half_lite(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """`lite_bundle` in float16."""
    return _export("efficientnet-lite0", tmp_path_factory, precision="fp16")


@pytest.fixture(scope="session")
def half_resnet(shared_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """`resnet_bundle` in float16."""
    weights = shared_models / "resnet18_imagenet_layer3.pth"
    return _export("imagenet-r18", tmp_path_factory, weights, "fp16")


@pytest.fixture(scope="session")
def half_resnet_backbone(shared_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The backbone of `half_resnet` alone; `half_lite` has the other graphs in float16."""
    weights = shared_models / "resnet18_imagenet_layer3.pth"
    return _export("imagenet-r18", tmp_path_factory, weights, "fp16", alone=True)


@pytest.fixture(scope="session")
def random_resnet(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The backbone of ResNet-18 with random weights alone."""
    return _export("random-r18", tmp_path_factory, alone=True)


@pytest.fixture(scope="session")
def resnet_bundle(shared_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of ResNet-18 with the weights of the reference results; some 13 s."""
    weights = shared_models / "resnet18_imagenet_layer3.pth"
    return _export("imagenet-r18", tmp_path_factory, weights)


@pytest.fixture(scope="session")
def quick_bundle(lite_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The graphs of `lite_bundle` behind a single convolution, many times as fast.

    For whatever is to be seen of commands, heads and files, and not of a network.
    """

    torch = pytest.importorskip("torch")
    from unitrack_edge.export.graphs.appearance import BackboneGraph
    from unitrack_edge.export.graphs.table import Sizes, backbone_graph
    from unitrack_edge.export.onnx_export import export_graph

    def make(folder: Path) -> None:
        spec = lite_bundle.spec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = torch.nn.Conv2d(3, spec.channels, 9, stride=8, padding=4)
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        graph = BackboneGraph(network.requires_grad_(False), mean, std)
        sizes = Sizes(spec.channels, spec.stride, (), spec.parameters["top_k"], "float32")
        shutil.copytree(lite_bundle.path, folder)
        row = backbone_graph(graph, sizes)
        written = export_graph("backbone", row, sizes.ranges(), folder, precision="fp32")
        changed = replace(
            spec,
            backbone="random-r18",
            weights={**spec.weights, "sha256": None},
            graphs={**spec.graphs, "backbone": written},
        )
        write_json_atomic(folder / SPEC_FILE, changed.to_json())

    return Bundle.load(_once(tmp_path_factory, "convolution", make))


@pytest.fixture(autouse=True)
def _own_threads():
    """A test that sets the number of threads of this process sets it for itself alone."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != THREADS:
        torch.set_num_threads(THREADS)
    if cv2.getNumThreads() != THREADS:
        cv2.setNumThreads(THREADS)


@pytest.fixture(scope="session", autouse=True)
def _shared_out(request: pytest.FixtureRequest) -> None:
    """Every worker exports its share of the bundles first, so that none waits for another's."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    own, workers = (int(os.environ[f"PYTEST_XDIST_WORKER{part}"].removeprefix("gw"))
                    for part in ("", "_COUNT"))  # fmt: skip
    used = {name for item in request.session.items for name in item.fixturenames}
    bundles = ("lite_bundle", "half_lite", "half_resnet_backbone", "resnet_bundle", "random_resnet")
    for name in [name for name in bundles if name in used][own::workers]:
        # Whoever needs it is told what went wrong.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            request.getfixturevalue(name)


@pytest.fixture(scope="session", autouse=True)
def _kept(_shared_out: None) -> None:
    """What was imported and exported until now is no garbage: nobody looks through it again."""
    gc.freeze()


def _runner(bundle: Bundle):
    with GraphRunner(bundle, "cpu", THREADS) as graphs:
        yield graphs


@pytest.fixture(scope="session")
def quick_runner(quick_bundle: Bundle):
    """The graphs of `quick_bundle` in ONNX Runtime."""
    yield from _runner(quick_bundle)


@pytest.fixture(scope="session")
def lite_runner(lite_bundle: Bundle):
    """The graphs of `lite_bundle` in ONNX Runtime."""
    yield from _runner(lite_bundle)


@pytest.fixture(scope="session")
def resnet_runner(resnet_bundle: Bundle):
    """The graphs of `resnet_bundle` in ONNX Runtime."""
    yield from _runner(resnet_bundle)


@pytest.fixture
def tiny():
    """The heads' graphs for 16 channels and top-k 10, run by PyTorch without any export."""
    pytest.importorskip("torch")
    from .reference.graphs_in_torch import TorchRunner

    return TorchRunner()


def _model_file(name: str) -> Path:
    pytest.importorskip("tflite", reason="tflite is not installed: extra 'export'")
    from unitrack_edge.export.detectors.model_files import model_file
    from unitrack_edge.export.detectors.table import find_model

    try:
        return model_file(find_model(name))
    except UnitrackError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def movenet_file() -> Path:
    """MoveNet MultiPose as published, from the cache or fetched."""
    return _model_file("movenet")


@pytest.fixture(scope="session")
def blazepose_file() -> Path:
    """BlazePose full as published, from the cache or fetched."""
    return _model_file("blazepose")
