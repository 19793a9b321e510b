"""TensorRT's variants: what is found, what absence says, and that no call exists in one only."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import unitrack_edge
from unitrack_edge.errors import BackendError
from unitrack_edge.runtime.inference.tensorrt import library as tensorrt_library
from unitrack_edge.runtime.inference.tensorrt.library import VARIANT_TABLE, VARIANTS, TensorrtLog

from ....support.gpu.tensorrt_types import CORRECTED

ROOT = Path(unitrack_edge.__file__).parent
CALLERS = [*ROOT.glob("runtime/inference/tensorrt/*.py"), *ROOT.glob("export/**/*.py")]

# What only one variant has, used only where the table says that it is there.
OF_RTX = {
    "ComputeCapability",
    "ComputeCapability.__members__",
    "CudaGraphStrategy",
    "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE",
    "DynamicShapesKernelSpecializationStrategy",
}


@pytest.fixture
def fresh():
    """`load_library` that has loaded nothing yet."""
    tensorrt_library.load_library.cache_clear()
    yield tensorrt_library.load_library
    tensorrt_library.load_library.cache_clear()


def rtx():
    pytest.importorskip("tensorrt_rtx_libs", reason="no tensorrt-rtx: extra 'tensorrt-rtx'")
    return tensorrt_library.load_library("tensorrt-rtx")


def test_rtx_is_found_once_a_process():
    library = rtx()
    assert library.variant == "tensorrt-rtx"
    assert library.version == library.trt.__version__
    assert library.row.builds_elsewhere
    assert tensorrt_library.load_library("tensorrt-rtx") is library


def test_errors_of_tensorrt_are_kept_and_not_printed(capfd):
    library = rtx()
    trt = library.trt
    assert isinstance(library.logger, trt.ILogger)
    library.logger.take_errors()
    network = trt.Builder(library.logger).create_network(0)
    assert not trt.OnnxParser(network, library.logger).parse(b"no model at all")
    said = library.logger.take_errors()
    assert said
    assert "\n" not in said
    assert library.logger.take_errors() == ""
    assert capfd.readouterr() == ("", "")


def test_only_errors_are_kept_each_once_and_in_order():
    log = TensorrtLog(frozenset({0, 1}))
    for severity, text in ((1, "one\n  line"), (3, "chatter"), (0, "two"), (1, "one line")):
        log.log(severity, text)
    assert log.take_errors() == "one line; two"
    for number in range(1000):
        log.log(1, str(number))
    assert log.take_errors().startswith("980; ")


def refusal(load, variant):
    with pytest.raises(BackendError) as caught:
        load(variant)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_unknown_flavour_names_those_there_are(fresh):
    assert "choose one of tensorrt, tensorrt-rtx" in refusal(fresh, "tensorrt-lite")


@pytest.mark.parametrize("variant", VARIANTS)
def test_absence_says_what_to_install(fresh, monkeypatch, variant):
    for name in VARIANT_TABLE[variant].modules:
        monkeypatch.setitem(sys.modules, name, None)
    said = refusal(fresh, variant)
    assert said.startswith(f"{variant} is not installed: pip install 'unitrack-edge[{variant}]'")
    assert ("JetPack" in said) == (variant == "tensorrt")


def test_type_stubs_are_not_the_library(fresh, monkeypatch):
    """Their package leaves a folder of the same name, which imports as an empty module."""
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    assert refusal(fresh, "tensorrt").startswith("tensorrt is not installed")


def test_a_library_that_is_too_old(fresh, monkeypatch):
    old = ModuleType("tensorrt")
    old.Runtime, old.__version__ = object, "8.6.1.6"
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    assert "tensorrt 8.6.1.6 is too old, expected 10.3 or newer" in refusal(fresh, "tensorrt")


def test_a_library_that_does_not_load(fresh, monkeypatch):
    def fail(name):
        raise ImportError(f"libnvinfer.so.10: cannot open shared object file\n{name}")

    monkeypatch.setattr(tensorrt_library.importlib, "import_module", fail)
    assert "cannot be loaded (libnvinfer.so.10: cannot open" in refusal(fresh, "tensorrt")


# --- both variants have what is called


def names_used(text):
    """`A` and `A.B` of every `trt.A`, `library.trt.A.B` … in a file."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Attribute):
            continue
        chain, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            chain, inner = [inner.attr, *chain], inner.value
        chain = [inner.id, *chain] if isinstance(inner, ast.Name) else chain
        if "trt" in chain[:-1]:
            yield ".".join(chain[chain.index("trt") + 1 :][:2])


def all_names_used():
    used = {name for path in CALLERS for name in names_used(path.read_text(encoding="utf-8"))}
    assert {"Runtime", "TensorLocation.HOST", "ILogger.ERROR"} <= used
    return used


def test_rtx_has_every_name_that_is_used():
    trt = rtx().trt
    missing = []
    for name in all_names_used():
        owner, _, member = name.partition(".")
        if not hasattr(trt, owner) or (member and not hasattr(getattr(trt, owner), member)):
            missing.append(name)
    assert missing == []


def test_the_classic_library_has_every_name_that_is_used():
    """Of 10.13, the version of the type stubs."""
    spec = importlib.util.find_spec("tensorrt_bindings")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("no tensorrt-stubs: extra 'dev'")
    text = (Path(next(iter(spec.submodule_search_locations))) / "tensorrt.pyi").read_text()
    for pattern, instead in CORRECTED[:2]:
        text = pattern.sub(instead, text)
    known = {"__version__"}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            known.add(node.name)
            members = [m for m in node.body if isinstance(m, (ast.AnnAssign, ast.FunctionDef))]
            known |= {f"{node.name}.{_name(member)}" for member in members}
        elif isinstance(node, ast.AnnAssign):
            known.add(node.target.id)
    assert len(known) > 1000
    assert all_names_used() - known - {f"{c}.__init__" for c in known} <= OF_RTX


def _name(member):
    return member.name if isinstance(member, ast.FunctionDef) else member.target.id
