"""Triton repositories, read back by the format's grammar, and by Triton's protobuf if it is here.

What must fit is what Triton's server checks as it loads ("Model Configuration", "Ensemble Models"):
names of folders, types, ranks without the batch where a model batches, and tensors of an ensemble
that are given once and are alike wherever they go.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import pytest
from unitrack_edge.errors import ExportError
from unitrack_edge.export.triton import ENSEMBLES, MOST_AT_ONCE, TYPES, write_repository
from unitrack_edge.runtime.bundle.bundle import Bundle
from unitrack_edge.runtime.bundle.spec import GraphSpec, TensorSpec

from ..support.command_line import run_cli
from ..support.models.tiny_bundle import write_tiny_bundle

TOKEN = re.compile(r'"([^"]*)"|([A-Za-z_]\w*)|(-?\d+)|([{}\[\]:,])|\s+')


def read_pbtxt(text):
    """A message of protobuf's text format: a list of (field, value), messages nested."""
    found = list(TOKEN.finditer(text))
    assert "".join(m[0] for m in found) == text, "something is no token"
    tokens = [m for m in found if not m[0].isspace()]

    def value():
        token = tokens.pop(0)
        if token[0] == "[":
            items = []
            while tokens[0][0] != "]":
                items.append(value())
                if tokens[0][0] == ",":
                    tokens.pop(0)
            tokens.pop(0)
            return items
        return int(token[3]) if token[3] else token[1] if token[1] is not None else token[2]

    def message(end):
        fields = []
        while tokens and tokens[0][0] != end:
            name = tokens.pop(0)[2]
            if tokens[0][0] == ":":
                tokens.pop(0)
                fields.append((name, value()))
            else:
                assert tokens.pop(0)[0] == "{"
                fields.append((name, message("}")))
                assert tokens.pop(0)[0] == "}"
        return fields

    return message(None)


def all_of(fields, name):
    return [value for field, value in fields if field == name]


def tensors(config, side):
    return {dict(t)["name"]: (dict(t)["data_type"], dict(t)["dims"]) for t in all_of(config, side)}


def agrees(one, other):
    """Triton's `CompareDimsWithWildcard`."""
    return len(one) == len(other) and all(
        a == b or -1 in (a, b) for a, b in zip(one, other, strict=True)
    )


def configs(folder):
    return {
        path.parent.name: read_pbtxt(path.read_text()) for path in folder.glob("*/config.pbtxt")
    }


def spec_of(bundle):
    """The bundle with graphs as a backbone's are; their files stay those of the tiny one."""
    pytest.importorskip("torch")
    from unitrack_edge.export.graphs.table import Sizes, head_graphs

    sizes = Sizes(16, 8, (), 10, "float16")
    image = TensorSpec("frames", "uint8", ("batch", "height", "width", 3))
    features = TensorSpec("features", "float16", ("batch", "rows", "cols", 16))
    rows = {"backbone": ((image,), (features,))}
    rows |= {name: (row.inputs, row.outputs) for name, row in head_graphs(sizes).items()}
    graphs = {name: GraphSpec(name, "mix.onnx", "", 0, *sides) for name, sides in rows.items()}
    return Bundle(bundle.path, replace(bundle.spec, graphs=graphs, channels=16))


@pytest.fixture
def bundle(tmp_path):
    return spec_of(write_tiny_bundle(tmp_path / "my r18"))


@pytest.fixture
def repository(bundle, tmp_path):
    write_repository(bundle, tmp_path / "models")
    return tmp_path / "models"


def test_every_graph_is_a_model_with_its_tensors(bundle, repository):
    found = configs(repository)
    assert set(found) == {
        *(f"my_r18_{name}" for name in bundle.spec.graphs),
        *(f"my_r18_{row.name}" for row in ENSEMBLES),
    }
    for name, graph in bundle.spec.graphs.items():
        config = found[f"my_r18_{name}"]
        top = dict(config)
        assert (top["name"], top["backend"]) == (f"my_r18_{name}", "onnxruntime")
        batch = int(name == "backbone")
        assert top["max_batch_size"] == batch * MOST_AT_ONCE
        assert ("dynamic_batching" in top) == bool(batch)
        for side, specs in (("input", graph.inputs), ("output", graph.outputs)):
            dims = {
                t.name: (TYPES[t.dtype], [s if isinstance(s, int) else -1 for s in t.shape][batch:])
                for t in specs
            }
            assert tensors(config, side) == dims
        file = repository / f"my_r18_{name}" / "1" / "model.onnx"
        assert file.read_bytes() == (bundle.path / graph.file).read_bytes()


@pytest.mark.parametrize("row", ENSEMBLES, ids=lambda row: row.name)
def test_ensembles_hang_together(repository, row):
    found = configs(repository)
    config = found[f"my_r18_{row.name}"]
    top = dict(config)
    assert (top["platform"], top["max_batch_size"]) == ("ensemble", 0)
    assert list((repository / f"my_r18_{row.name}" / "1").iterdir()) == [], "no file, but a version"
    known = tensors(config, "input")
    steps = all_of(top["ensemble_scheduling"], "step")
    assert len(steps) == 2
    for step in steps:
        model = found[dict(step)["model_name"]]
        batched = dict(model)["max_batch_size"] > 0
        for side, name in (("input", "input_map"), ("output", "output_map")):
            sides = tensors(model, side)
            mapped = {dict(m)["key"]: dict(m)["value"] for m in all_of(step, name)}
            assert set(mapped) == set(sides), "every tensor of a step is mapped"
            for key, value in mapped.items():
                kind, dims = sides[key]
                dims = [-1, *dims] if batched else dims
                if side == "input":
                    assert value in known, f"{value} comes from nowhere"
                    assert known[value][0] == kind
                    assert agrees(known[value][1], dims)
                else:
                    assert value not in known, f"{value} is given twice"
                    known[value] = kind, dims
    for name, (kind, dims) in tensors(config, "output").items():
        assert known[name][0] == kind
        assert agrees(known[name][1], dims)


def test_tritons_own_protobuf_reads_them(repository):
    spec = importlib.util.find_spec("tritonclient")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("no tritonclient, whose protobuf reads the same files")
    text_format = pytest.importorskip("google.protobuf.text_format")
    path = Path(next(iter(spec.submodule_search_locations))) / "grpc" / "model_config_pb2.py"
    # Alone: the package around it wants gRPC.
    loader = importlib.util.spec_from_file_location("model_config_pb2", path)
    module = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(module)
    for file in repository.glob("*/config.pbtxt"):
        config = text_format.Parse(file.read_text(), module.ModelConfig())
        assert config.name == file.parent.name
        assert all(t.data_type for t in (*config.input, *config.output))
        assert config.HasField("ensemble_scheduling") == (config.platform == "ensemble")


def test_models_that_are_there_are_not_replaced_unasked(bundle, repository):
    (repository / "another").mkdir()
    before = (repository / "my_r18_rsm" / "config.pbtxt").read_bytes()
    with pytest.raises(ExportError, match="my_r18_backbone is there already: replace it with --fo"):
        write_repository(bundle, repository)
    write_repository(bundle, repository, force=True)
    assert (repository / "my_r18_rsm" / "config.pbtxt").read_bytes() == before
    assert (repository / "another").is_dir()


def test_a_type_that_triton_has_not(tmp_path):
    plain = write_tiny_bundle(tmp_path / "tiny")
    odd = replace(plain.spec.graphs["mix"], inputs=(TensorSpec("x", "complex64", (1,)),))
    spec = replace(plain.spec, graphs={"mix": odd})
    with pytest.raises(ExportError, match="tensor x is complex64"):
        write_repository(Bundle(plain.path, spec), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_the_command_writes_a_bundle_that_is_there(tmp_path):
    plain = write_tiny_bundle(tmp_path / "tiny")
    models = tmp_path / "models"
    said = run_cli("export", "--output", plain.path, "--triton", models)
    assert "tiny_mix" in said
    assert "tritonserver --model-repository" in said
    assert set(configs(models)) == {"tiny_mix", "tiny_pick"}
    assert "--force" in run_cli("export", "--output", plain.path, "--triton", models, status=1)
    assert "neither of --backbone" in run_cli("export", "--triton", models, status=2)
