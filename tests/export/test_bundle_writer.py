"""Exporting a bundle: what is in it, and that it is there whole or not at all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from unitrack_edge.cli import main
from unitrack_edge.errors import BackendError, ExportError
from unitrack_edge.heads.vos import VosHead
from unitrack_edge.runtime.bundle.bundle import SPEC_FILE, Bundle, sha256_of
from unitrack_edge.runtime.bundle.spec import GraphSpec
from unitrack_edge.runtime.inference.base import to_host
from unitrack_edge.runtime.inference.runner import GraphRunner

torch = pytest.importorskip("torch", reason="exporting needs PyTorch: extra 'export'")
onnx = pytest.importorskip("onnx", reason="exporting needs onnx: extra 'export'")

from unitrack_edge.export import bundle_writer, onnx_export  # noqa: E402
from unitrack_edge.export.backbones.resnet import ResNet  # noqa: E402
from unitrack_edge.export.backbones.weights import WeightsInfo, build_backbone  # noqa: E402
from unitrack_edge.export.bundle_writer import ExportRequest, write_bundle  # noqa: E402
from unitrack_edge.export.graphs.appearance import BackboneGraph  # noqa: E402
from unitrack_edge.export.graphs.table import backbone_graph  # noqa: E402

SIZES = ((96, 160), (64, 96))
TOP_K = 5


def run_cli(*arguments, status=0):
    """Output of a command; its error must be one line."""
    ran = CliRunner().invoke(main, [str(a) for a in arguments])
    assert ran.exit_code == status, ran.output
    if status:
        assert ran.stderr.startswith("Error: ")
        assert ran.stderr.count("\n") == 1
        assert "Traceback" not in ran.output
        return ran.stderr
    return ran.stdout


# What is in a bundle.


def test_the_folder_holds_what_the_description_lists(lite_bundle):
    spec = lite_bundle.spec
    data = json.loads((lite_bundle.path / SPEC_FILE).read_text(encoding="utf-8"))
    assert data["format_version"] == 1
    files = {graph.file for graph in spec.graphs.values()}
    assert {path.name for path in lite_bundle.path.iterdir()} == files | {SPEC_FILE}
    for name, graph in spec.graphs.items():
        path = lite_bundle.path / graph.file
        assert graph.name == name == path.stem
        assert (graph.size_bytes, graph.sha256) == (path.stat().st_size, sha256_of(path))
        assert 0 <= graph.max_abs_error < 1e-3
        assert onnx.load(path, load_external_data=False).opset_import[0].version == spec.opset
    assert {"backbone", "box_features", "point_features", "rsm"} <= set(spec.graphs)
    arch = "efficientnet-lite0", 112, 8, "layer3"
    assert (spec.arch, spec.channels, spec.stride, spec.layer) == arch
    assert (spec.precision, spec.sizes_hw, spec.parameters["top_k"]) == ("fp32", (), 10)
    assert spec.preprocessing["color"] == "rgb"
    assert len(spec.preprocessing["mean"]) == len(spec.preprocessing["std"]) == 3
    assert set(spec.versions) == {"unitrack_edge", "torch", "onnx", "onnxruntime", "python"}
    assert spec.weights["licence"]


def test_profiles_are_ordered_and_agree_with_the_shapes(lite_bundle):
    for graph in lite_bundle.spec.graphs.values():
        sizes = {}
        for tensor in graph.inputs:
            if not tensor.is_dynamic:
                assert tensor.min_shape is tensor.opt_shape is tensor.max_shape is None
                continue
            shapes = zip(tensor.shape, tensor.min_shape, tensor.opt_shape, tensor.max_shape)  # noqa: B905
            for size, low, middle, high in shapes:
                assert 0 < low <= middle <= high
                if isinstance(size, str):
                    # Equal names are equal sizes, in profiles too.
                    assert sizes.setdefault(size, (low, middle, high)) == (low, middle, high)
                else:
                    assert low == high == size


def test_the_default_bundle_names_its_weights_and_no_folder(lite_bundle):
    spec = lite_bundle.spec
    assert (spec.channels, spec.stride, spec.arch) == (112, 8, "efficientnet-lite0")
    assert spec.weights["licence"] == "Apache-2.0"
    assert spec.weights["sha256"].startswith("57934424")
    text = (lite_bundle.path / SPEC_FILE).read_text(encoding="utf-8")
    assert str(Path.home()) not in text
    assert "site-packages" not in text


@pytest.fixture(scope="module")
def half_bundle(tmp_path_factory):
    """Everything that is not the default, in one export, with the graphs of one task."""
    request = ExportRequest(
        "random-r18", layer="layer4", sizes_hw=SIZES, precision="fp16", top_k=TOP_K
    )
    used = {*VosHead.graphs_used}
    real = bundle_writer.head_graphs
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            bundle_writer, "head_graphs", lambda s: {n: g for n, g in real(s).items() if n in used}
        )
        bundle = write_bundle(request, tmp_path_factory.mktemp("half") / "r18", steps.append)
    assert steps == ["weights", *bundle.spec.graphs]
    assert set(steps) == {"weights", "backbone", *used}
    return bundle


def test_half_precision_layer4_two_sizes_and_fewer_keys(half_bundle):
    spec = half_bundle.spec
    assert (spec.precision, spec.layer, spec.channels) == ("fp16", "layer4", 512)
    assert (spec.sizes_hw, spec.parameters["top_k"]) == (SIZES, TOP_K)
    backbone = spec.graphs["backbone"]
    assert backbone.inputs[0].dtype == "uint8"
    assert backbone.inputs[0].min_shape == (1, 64, 96, 3)
    assert backbone.inputs[0].max_shape[1:] == (96, 160, 3)
    assert backbone.outputs[0].dtype == "float16"
    best = {t.name: t for t in spec.graphs["propagate_global"].inputs}["best"]
    assert best.shape[1] == TOP_K


def test_costs_are_float32_in_half_precision_too(half_lite):
    """The softmax overflows in half precision."""
    rsm = half_lite.spec.graphs["rsm"]
    assert [tensor.dtype for tensor in rsm.inputs[::2]] == ["float16", "float16", "float32"]
    assert rsm.outputs[0].dtype == "float32"


def test_half_precision_is_really_in_the_graph(half_bundle):
    model = onnx.load(half_bundle.path / "backbone.onnx")
    weights = [t for t in model.graph.initializer if np.prod(t.dims) >= 64]
    assert len(weights) > 15
    assert {t.data_type for t in weights} == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("size_hw", SIZES)
def test_half_precision_is_near_full_precision(half_bundle, size_hw):
    network, _ = build_backbone("random-r18", "layer4")
    row = bundle_writer.find_backbone("random-r18")
    full = BackboneGraph(network, row.mean, row.std).eval()
    frames = np.random.default_rng(0).integers(0, 256, (1, *size_hw, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = full(torch.from_numpy(frames)).numpy()
    with GraphRunner(half_bundle, threads=2) as graphs:
        got = to_host(graphs.run("backbone", frames)[0]).astype(np.float32)
    assert got.shape == expected.shape
    # Points have length 1: their product is the cosine.
    assert (got * expected).sum(axis=-1).min() > 0.999


def test_half_precision_tracks_like_full_precision_and_at_its_own_sizes(
    half_bundle, tmp_path, clip
):
    run_cli(
        *("track", clip.source, "--task", "vos", "--bundle", half_bundle.path),
        *("--init", clip.init_mask, "--vos-top-k", TOP_K, "--output", tmp_path / "run"),
    )
    report = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (report["frames"], report["bundle"]["precision"]) == (len_of(clip), "fp16")
    assert report["identities"] >= 2


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    from unitrack_edge.evaluation.synthetic.files import write_scene
    from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig

    config = SceneConfig(frames=6, height=96, width=160, objects=3)
    return write_scene(Scene(config), tmp_path_factory.mktemp("export") / "clip")


def len_of(clip):
    return len(list(clip.masks.iterdir()))


# One size, and how the command tells of it; networks and graphs small enough to be quick.


def small_network(_name, _layer="layer3", _weights=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torch.nn.Conv2d(3, 8, 8, stride=8)
    return network.eval(), WeightsInfo(None, None, None, "none needed")


@pytest.fixture
def small(monkeypatch):
    """One convolution as the network, and `select` as the only graph beside the backbone."""
    real = bundle_writer.head_graphs
    monkeypatch.setattr(bundle_writer, "build_backbone", small_network)
    monkeypatch.setattr(bundle_writer, "head_graphs", lambda s: {"select": real(s)["select"]})


@pytest.mark.usefixtures("small")
def test_one_size_is_fixed_in_the_graph_and_the_command_shows_the_errors(tmp_path):
    out = tmp_path / "deep" / "bundle"
    said = run_cli("export", "--backbone", "random-r18", "--size", "96x160", "--output", out)
    rows = [line.split() for line in said.splitlines()]
    assert [row[0] for row in rows if row][:3] == ["graph", "backbone", "select"]
    assert all(float(row[-1]) < 1e-3 for row in rows[1:3])
    assert str(out) in said.replace("\n", "")
    bundle = Bundle.load(out)
    assert bundle.spec.sizes_hw == ((96, 160),)
    backbone = bundle.spec.graphs["backbone"]
    assert backbone.inputs[0].shape == ("batch", 96, 160, 3)
    assert backbone.outputs[0].shape == ("batch", 12, 20, 8)
    model = onnx.load(out / "backbone.onnx")
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["batch", 96, 160, 3]
    with GraphRunner(bundle) as graphs:
        graphs.run("backbone", np.zeros((1, 96, 160, 3), np.uint8))
        with pytest.raises(BackendError, match=r"expected uint8 \(batch, 96, 160, 3\)"):
            graphs.run("backbone", np.zeros((1, 96, 168, 3), np.uint8))
    assert oct(out.stat().st_mode & 0o777) == "0o755"


@pytest.mark.usefixtures("small")
def test_a_graph_that_disagrees_with_pytorch_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setitem(onnx_export.TOLERANCE, "fp32", -1.0)
    said = run_cli("export", "--backbone", "random-r18", "--output", tmp_path / "b", status=1)
    assert "graph backbone: ONNX Runtime and PyTorch differ by" in said
    assert list(tmp_path.iterdir()) == []


def test_operators_are_read_once_for_all_graphs(monkeypatch):
    tables = pytest.importorskip("torch.onnx._internal.exporter._registration").ONNXRegistry
    own = tables.__dict__["from_torchlib"]
    found = []
    for _ in range(2):
        with onnx_export._one_operator_table():
            found.append(tables().from_torchlib(opset_version=onnx_export.OPSET))
        assert tables.__dict__["from_torchlib"] is own
    assert found[0] is found[1]
    # A PyTorch that keeps them elsewhere reads them as often as it likes.
    monkeypatch.delattr(tables, "from_torchlib")
    with onnx_export._one_operator_table():
        assert not hasattr(tables, "from_torchlib")


def test_backbone_of_several_sizes_leaves_the_size_open():
    sizes = bundle_writer.Sizes(8, 8, SIZES, 10, "float32")
    graph = backbone_graph(torch.nn.Identity(), sizes)
    assert graph.inputs[0].shape == ("batch", "height", "width", 3)
    assert sizes.ranges()["height"] == (64, 96, 96)


# Whole or not at all. The graphs are bytes here; what matters is what becomes of the folder.


def byte_graph(name, definition, _ranges, folder, *, precision, traces):
    del traces
    path = folder / f"{name}.onnx"
    path.write_bytes(name.encode() * 100 + precision.encode())
    size = path.stat().st_size
    tensors = definition.inputs, definition.outputs
    return GraphSpec(name, path.name, sha256_of(path), size, *tensors, 0.0)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(bundle_writer, "build_backbone", small_network)
    monkeypatch.setattr(bundle_writer, "export_graph", byte_graph)


REQUEST = ExportRequest("random-r18")
AGAIN = ExportRequest("random-r18", top_k=7, force=True)


@pytest.mark.usefixtures("quick")
def test_an_existing_folder_is_refused_and_replaced_with_force(tmp_path):
    out = tmp_path / "b"
    write_bundle(REQUEST, out)
    with pytest.raises(ExportError, match="already exists: add --force to replace it"):
        write_bundle(REQUEST, out)
    assert Bundle.load(out).spec.parameters == {"top_k": 10}
    (out / "left-over.onnx").write_bytes(b"of an older toolkit")
    write_bundle(AGAIN, out)
    assert Bundle.load(out).spec.parameters == {"top_k": 7}
    assert not (out / "left-over.onnx").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.usefixtures("quick")
def test_force_replaces_bundles_only(tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    (photographs / "1.jpg").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for name in ("photographs", "file"):
        with pytest.raises(ExportError, match=r"is not a bundle .* is not replaced"):
            write_bundle(AGAIN, tmp_path / name)
    assert (photographs / "1.jpg").read_bytes() == b"x"
    assert write_bundle(AGAIN, tmp_path / "empty").spec.parameters == {"top_k": 7}


def interrupted_at(step):
    def progress(now):
        if now == step:
            raise KeyboardInterrupt

    return progress


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("step", ["weights", "backbone", "rsm", "propagate_labels"])
@pytest.mark.parametrize("before", [False, True], ids=["first", "replacing"])
def test_an_interruption_leaves_things_as_they_were(tmp_path, step, before):
    out = tmp_path / "b"
    if before:
        write_bundle(REQUEST, out)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(AGAIN, out, interrupted_at(step))
    assert [path.name for path in tmp_path.iterdir()] == (["b"] if before else [])
    if before:
        assert Bundle.load(out).spec.parameters == {"top_k": 10}
    assert write_bundle(AGAIN, out).spec.parameters == {"top_k": 7}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("moment", ["description", "first rename", "second rename"])
def test_a_failure_in_the_last_moments_keeps_the_old_bundle(tmp_path, monkeypatch, failure, moment):
    out = tmp_path / "b"
    write_bundle(REQUEST, out)
    renames = []
    real_rename, real_write = Path.rename, Path.write_text

    def rename(self, target):
        renames.append(target)
        if len(renames) == {"first rename": 1, "second rename": 2}[moment]:
            raise failure
        return real_rename(self, target)

    def write_text(self, *_text, **_options):
        real_write(self, "{", encoding="utf-8")
        raise failure

    if moment == "description":
        monkeypatch.setattr(Path, "write_text", write_text)
    if moment.endswith("rename"):
        monkeypatch.setattr(Path, "rename", rename)
    expected = ExportError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        write_bundle(AGAIN, out)
    monkeypatch.undo()
    if expected is ExportError:
        assert "No space left on device; nothing was kept" in str(caught.value)
    assert Bundle.load(out).spec.parameters == {"top_k": 10}
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


KILLED = """
import sys, time
from pathlib import Path
from unitrack_edge.export import bundle_writer

def export_graph(name, definition, ranges, folder, *, precision, traces):
    (folder / f"{name}.onnx").write_bytes(b"half of it")
    print("writing", flush=True)
    time.sleep(60)

bundle_writer.export_graph = export_graph
bundle_writer.write_bundle(bundle_writer.ExportRequest("random-r18"), Path(sys.argv[1]))
"""


@pytest.mark.usefixtures("quick")
def test_a_killed_export_leaves_nothing_that_looks_whole(tmp_path):
    out = tmp_path / "b"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(out)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".b.partial-")
    assert not (left / SPEC_FILE).exists()
    # The next one succeeds, and tidies up.
    write_bundle(REQUEST, out)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.usefixtures("quick")
def test_the_folder_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExportError, match=r"cannot write next to .*; choose another --output"):
        write_bundle(REQUEST, tmp_path / "file" / "b")


# What the command refuses.


def refused(tmp_path, *arguments, status=1):
    said = run_cli("export", *arguments, "--output", tmp_path / "out" / "b", status=status)
    assert not (tmp_path / "out" / "b").exists()
    return said


def test_weights_that_a_person_must_fetch(tmp_path):
    said = refused(tmp_path, "--backbone", "crw-r18")
    assert "https://drive.google.com/" in said
    assert "--weights PATH" in said


def test_an_unknown_backbone_suggests_near_names(tmp_path):
    said = refused(tmp_path, "--backbone", "imgnet-r18", status=2)
    assert "did you mean imagenet-r18" in said
    assert "`cli backbones`" in said


def test_a_checkpoint_of_another_architecture(tmp_path):
    torch.save(ResNet("resnet18", "layer3").state_dict(), tmp_path / "r18.pth")
    said = refused(tmp_path, "--backbone", "imagenet-r50", "--weights", tmp_path / "r18.pth")
    assert "the weights are of resnet18" in said
    assert "imagenet-r50 is resnet50" in said
    said = refused(
        tmp_path, "--backbone", "imagenet-r18", "--weights", tmp_path / "r18.pth", "--layer=layer4"
    )
    assert "--layer layer3" in said


def test_weights_that_cannot_be_read(tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"not a checkpoint")
    for name in ("none.pth", "bad.pth"):
        said = refused(tmp_path, "--backbone", "imagenet-r18", "--weights", tmp_path / name)
        assert name in said
        assert "--weights" in said


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--size", "608"], 2, "'608': expected HEIGHTxWIDTH such as 608x1088"),
        (["--size", "8x8"], 2, "--size 8x8: expected 32 to 8192 pixels a side"),
        (["--top-k", "0"], 2, "'--top-k': 0 is not in the range 1<=x<=256"),
        (["--precision", "int8"], 2, "'--precision'"),
        (["--layer", "layer2"], 2, "'--layer'"),
        (["--backbone", "efficientnet-lite0", "--layer", "layer4"], 2, "use --layer layer3"),
    ],
)
def test_options_out_of_range(tmp_path, arguments, status, message):
    assert message in refused(tmp_path, "--backbone", "random-r18", *arguments, status=status)


@pytest.mark.parametrize("package", ["torch", "onnx", "onnxscript"])
def test_a_missing_package_is_named(tmp_path, package):
    code = (
        f"import sys; sys.modules[{package!r}] = None; from unitrack_edge.cli import main; "
        f"main(['export', '--backbone', 'random-r18', '--output', {str(tmp_path / 'b')!r}])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"Error: exporting needs {package}, which is not installed: pip")
    assert ran.stderr.count("\n") == 1
