"""Bundles: what loading checks, and every way in which one can be bad."""

import copy
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unitrack_edge.errors import BundleError, UnitrackError
from unitrack_edge.runtime.bundle.bundle import SPEC_FILE, Bundle, sha256_of
from unitrack_edge.runtime.bundle.spec import FORMAT_VERSION, BundleSpec, TensorSpec
from unitrack_edge.runtime.inference.runner import GraphRunner

from ...support.models.tiny_bundle import mix, mix_error, mix_feeds, write_tiny_bundle
from ...support.tolerance import assert_within


@pytest.fixture
def bundle(tmp_path):
    return write_tiny_bundle(tmp_path / "tiny")


def refusal(folder):
    """What loading says; one line always."""
    with pytest.raises(BundleError) as caught:
        Bundle.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def change(bundle, **fields):
    path = bundle.path / SPEC_FILE
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, **fields}))


def change_graph(bundle, **fields):
    graphs = bundle.spec.to_json()["graphs"]
    change(bundle, graphs={**graphs, "mix": {**graphs["mix"], **fields}})


def test_a_bundle_reads_back_what_was_written(bundle):
    assert Bundle.load(bundle.path) == bundle
    assert BundleSpec.from_json(json.loads(json.dumps(bundle.spec.to_json())), "x") == bundle.spec
    with GraphRunner(Bundle.load(bundle.path), threads=1) as graphs:
        mixed, _ = graphs.run("mix", *mix_feeds())
        assert_within(mixed, mix(*mix_feeds())[0], mix_error(*mix_feeds())[0])


def test_tensor_shapes_tell_fixed_from_dynamic():
    dynamic = TensorSpec("a", "float32", ("rows", 3))
    assert dynamic.is_dynamic
    assert dynamic.describe() == "float32 (rows, 3)"
    assert not TensorSpec("a", "float32", (2, 3)).is_dynamic


def test_missing_bundle_names_the_command(tmp_path):
    said = refusal(tmp_path / "none")
    assert "does not exist" in said
    assert f"cli export --backbone NAME --output {tmp_path / 'none'}" in said


def test_folder_without_a_description(tmp_path):
    assert f"holds no {SPEC_FILE}" in refusal(tmp_path)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    assert f"holds no {SPEC_FILE}" in refusal(tmp_path / "file")


def test_a_graph_cut_short(bundle):
    path = bundle.path / "mix.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    said = refusal(bundle.path)
    assert f"mix.onnx has {len(whole) - 10} bytes, expected {len(whole)}" in said
    assert "cli export --force" in said


def test_one_changed_byte_is_found(bundle):
    path = bundle.path / "pick.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    said = refusal(bundle.path)
    assert f"pick.onnx has sha256 {sha256_of(path)[:12]}" in said
    assert f"expected {bundle.spec.graphs['pick'].sha256[:12]}" in said


def test_a_graph_that_is_gone_or_a_folder(bundle):
    (bundle.path / "mix.onnx").unlink()
    assert "mix.onnx is missing or unreadable (No such file or directory)" in refusal(bundle.path)
    (bundle.path / "mix.onnx").mkdir()
    assert "mix.onnx" in refusal(bundle.path)


@pytest.mark.parametrize("version", [0, FORMAT_VERSION + 1, "1", None, "9\n9", [1] * 100])
def test_another_version_of_the_format(bundle, version):
    change(bundle, format_version=version)
    said = refusal(bundle.path)
    assert f"has format version {version!r:.40}, this toolkit reads {FORMAT_VERSION}" in said
    assert "cli export --force" in said


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"text"', "{}", "\ufeff{}", "[" * 100_000, '{"a": ' + "9" * 5000 + "}"],
    ids=["empty", "cut off", "list", "null", "text", "no fields", "BOM", "deep", "long number"],
)
def test_a_description_that_is_none(bundle, text):
    (bundle.path / SPEC_FILE).write_text(text, encoding="utf-8")
    refusal(bundle.path)


def test_a_description_that_is_not_text(bundle):
    (bundle.path / SPEC_FILE).write_bytes(b"\xff\xfe\x00{")
    assert "cannot be read" in refusal(bundle.path)


# What bundles of an earlier day do not have, and most bundles have nothing in.
OPTIONAL = {"quantization", "engines", "detector"}


@pytest.mark.parametrize("field", [f for f in BundleSpec.__dataclass_fields__ if f not in OPTIONAL])
def test_every_field_is_needed(bundle, field):
    data = json.loads((bundle.path / SPEC_FILE).read_text())
    del data[field]
    (bundle.path / SPEC_FILE).write_text(json.dumps(data))
    said = refusal(bundle.path)
    assert ("format version None" if field == "format_version" else field) in said


@pytest.mark.parametrize(
    "elsewhere", ["../mix.onnx", "a/mix.onnx", "{outside}", "", ".", "..", "\0"]
)
def test_a_graph_outside_the_folder_is_not_read(bundle, tmp_path, elsewhere, monkeypatch):
    outside = tmp_path / "mix.onnx"
    outside.write_bytes((bundle.path / "mix.onnx").read_bytes())
    change_graph(bundle, file=elsewhere.format(outside=outside))
    monkeypatch.setattr(
        "unitrack_edge.runtime.bundle.bundle.sha256_of", lambda _path: pytest.fail("read")
    )
    refusal(bundle.path)


@pytest.mark.parametrize(
    "fields",
    [
        {"stride": 0},
        {"channels": -1},
        {"stride": float("inf")},
        {"stride": float("nan")},
        {"sizes_hw": [[0, 64]]},
        {"sizes_hw": [64]},
        {"parameters": {}},
        {"parameters": {"top_k": 0}},
        {"graphs": []},
        {"graphs": {"mix": None}},
    ],
    ids=repr,
)
def test_impossible_values(bundle, fields):
    change(bundle, **fields)
    assert "bundle.json is damaged" in refusal(bundle.path)


@pytest.mark.parametrize(
    "fields", [{"stride": 1_000_000}, {"channels": 1 << 30}, {"sizes_hw": [[64, 1 << 20]]}]
)
def test_sizes_that_would_take_all_memory(bundle, fields):
    change(bundle, **fields)
    assert "must not be above" in refusal(bundle.path)


@pytest.mark.parametrize("field", ["backbone", "arch", "layer"])
@pytest.mark.parametrize("name", ["\x1b[2J", "a\x07b", "\u202egnp", "\x9b31m"])
def test_names_that_a_terminal_would_obey(bundle, field, name):
    change(bundle, **{field: name})
    assert "control characters" in refusal(bundle.path)


def test_weights_in_another_file_are_refused(bundle):
    onnx = pytest.importorskip("onnx", reason="the graph is written with onnx: extra 'export'")
    name = next(iter(bundle.spec.graphs))
    graph = bundle.spec.graphs[name]
    path = bundle.path / graph.file
    model = onnx.load(path)
    weights = np.ones((64, 64), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "unused"))
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    content = path.read_bytes()
    change_graph(bundle, size_bytes=len(content), sha256=sha256_of(path))
    assert "keeps weights in another file" in refusal(bundle.path)


@pytest.mark.parametrize("dtype", ["float3", "object", 5, None])
def test_unknown_types_of_tensors(bundle, dtype):
    inputs = bundle.spec.to_json()["graphs"]["mix"]["inputs"]
    change_graph(bundle, inputs=[{**inputs[0], "dtype": dtype}, *inputs[1:]])
    assert "dtype" in refusal(bundle.path)


def test_unknown_graph(bundle):
    with pytest.raises(BundleError, match=r"has no graph backbone \(it has mix, pick\).*tiny"):
        bundle.graph("backbone")


def _places(data, place=()):
    yield place
    items = ()
    if isinstance(data, dict):
        items = data.items()
    elif isinstance(data, list):
        items = enumerate(data)
    for key, value in items:
        yield from _places(value, (*place, key))


def _put(data, place, value):
    if not place:
        return value
    data = copy.deepcopy(data)
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return data


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def shared_bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("fuzz") / "tiny")


def load_text(bundle, text):
    """Load the bundle with another description; only errors of the project may come out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for graph in bundle.spec.graphs.values():
            (folder / graph.file).symlink_to(bundle.path / graph.file)
        (folder / SPEC_FILE).write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            loaded = Bundle.load(folder)
        except UnitrackError:
            return None
        return loaded


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_value_anywhere_ends_in_a_bundle_or_an_error(shared_bundle, data):
    whole = json.loads((shared_bundle.path / SPEC_FILE).read_text())
    place = data.draw(st.sampled_from(list(_places(whole))))
    load_text(shared_bundle, json.dumps(_put(whole, place, data.draw(JSON_VALUES))))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_damage_to_the_text_ends_in_a_bundle_or_an_error(shared_bundle, data):
    text = (shared_bundle.path / SPEC_FILE).read_text()
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 30)))
    load_text(shared_bundle, text[:start] + data.draw(st.text(max_size=6)) + text[stop:])


def test_the_fuzzed_bundle_loads_when_left_alone(shared_bundle):
    text = (shared_bundle.path / SPEC_FILE).read_text()
    assert load_text(shared_bundle, text).spec == shared_bundle.spec
