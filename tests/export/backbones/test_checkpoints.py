"""Every published layout: a random network is disguised in it, saved, and read back."""

from __future__ import annotations

import argparse
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from unitrack_edge.errors import ExportError
from unitrack_edge.export.backbones.table import BACKBONES

torch = pytest.importorskip("torch")
from unitrack_edge.export.backbones import resnet  # noqa: E402
from unitrack_edge.export.backbones.checkpoints import apply_weights, load_state_dict  # noqa: E402
from unitrack_edge.export.backbones.efficientnet_lite import EfficientNetLite0  # noqa: E402
from unitrack_edge.export.backbones.resnet import ResNet, init_random  # noqa: E402
from unitrack_edge.export.backbones.weights import build_backbone  # noqa: E402

DATA = Path(os.environ.get("UNITRACK_DATA", Path(__file__).parents[4] / "shared" / "data"))
LAYER3_FILE = DATA.parent / "models" / "resnet18_imagenet_layer3.pth"


def network(arch, layer="layer3", seed=7):
    model = EfficientNetLite0() if arch == "efficientnet-lite0" else ResNet(arch, layer)
    init_random(model, seed)
    return model


WIDTHS = resnet._WIDTHS


@pytest.fixture(scope="module", autouse=True)
def thin():
    """Networks with the same tensors as those published, and fewer channels."""
    with pytest.MonkeyPatch.context() as patch:
        # Narrower from layer to layer, so that every shortcut that has a convolution keeps it.
        patch.setattr(resnet, "_WIDTHS", (64, 32, 16, 8))
        yield


@pytest.fixture
def as_wide_as_published(thin, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr(resnet, "_WIDTHS", WIDTHS)


@pytest.fixture(scope="module")
def plain():
    """State dicts to disguise, by architecture."""
    return {a: dict(network(a).state_dict()) for a in {r.arch for r in BACKBONES.values()}}


def prefixed(state, prefix, **others):
    return {prefix + name: tensor for name, tensor in state.items()} | others


def conv_module(state):
    """The names that a ConvModule gives: `conv1.conv.weight`, `conv1.bn.weight`."""
    renamed = {}
    for name, tensor in state.items():
        name = name.replace("downsample.0.", "downsample.conv.")
        name = name.replace("downsample.1.", "downsample.bn.")
        name = re.sub(r"\bbn(\d)\.", r"conv\1.bn.", name)
        name = re.sub(r"\bconv(\d)\.weight", r"conv\1.conv.weight", name)
        renamed[name] = tensor
    return renamed


def wrapped(state):
    """3 × 3 and 7 × 7 convolutions behind a padding layer; the head is another network's."""
    return {
        re.sub(r"\bconv(\d)\.weight", r"conv\1.1.weight", name) if t.shape[-1:] > (1,) else name: t
        for name, t in state.items()
    }


def inflated(state):
    return {n: t.unsqueeze(2) if t.ndim == 4 else t for n, t in state.items()}


JUNK = torch.zeros(3)


def walk(state):
    return {"model": prefixed(wrapped(state), "encoder.model.", **{"head.0.weight": JUNK})}


def momentum(state):
    other = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    return {
        "epoch": 200,
        "arch": "resnet50",
        "state_dict": prefixed(other, "module.encoder_k.")
        | prefixed(state, "module.encoder_q.", **{"module.queue": JUNK}),
    }


def contrast(state):
    return {
        "opt": argparse.Namespace(method="PIRL", lr=0.03),
        "model": prefixed(state, "module.encoder.", **{"module.head_jig.fc1.weight": JUNK}),
    }


def clusters(state):
    return prefixed(state, "module.", **{"module.prototypes.weight": JUNK})


DISGUISES = {
    "imagenet": lambda s: s | {"fc.weight": JUNK},
    "vfs": lambda s: {
        "meta": {"epoch": 100},
        "state_dict": prefixed(conv_module(s), "backbone.", **{"img_head.fc.weight": JUNK}),
    },
    "crw": walk,
    "colorization-mem": walk,
    "uvc": lambda s: {
        "best_loss": np.float64(0.5),
        "state_dict": prefixed(s, "module.gray_encoder.", **{"module.nlm.weight": JUNK}),
    },
    "timecycle": lambda s: {
        "state_dict": prefixed(inflated(s), "module.encoderVideo.", **{"module.afterconv1": JUNK})
    },
    "moco-v1": momentum,
    "moco-v2": momentum,
    "pcl-v1": momentum,
    "pcl-v2": momentum,
    "insdis": contrast,
    "pirl": contrast,
    "infomin": contrast,
    "swav": clusters,
    "deepcluster-v2": lambda s: {"state_dict": clusters(s)},
    "sela-v2": clusters,
    "barlowtwins": lambda s: s,
    "simclr-v1": lambda s: {"state_dict": s},
    "simclr-v2": lambda s: {"resnet": s},
    "byol": lambda s: s,
    "pixpro": contrast,
    "detco": momentum,
    "random": lambda s: s,
    "efficientnet-lite0": lambda s: s | {"_fc.weight": JUNK},
}


def disguise(name, state):
    return DISGUISES[re.sub(r"-r\d+$", "", name)](state)


@pytest.fixture(scope="module")
def models():
    """Networks to fill again and again."""
    return {a: network(a, seed=8) for a in {r.arch for r in BACKBONES.values()}}


@pytest.mark.parametrize("name", [n for n in BACKBONES if n != "imagenet-r101"])
def test_every_layout_comes_back(name, plain, models, tmp_path):
    row = BACKBONES[name]
    state = plain[row.arch]
    file = tmp_path / "weights.pth"
    disguised = disguise(name, state)
    torch.save(disguised, file)
    loaded = load_state_dict(file, row)
    for key, tensor in state.items():
        assert torch.equal(loaded[key], tensor), key
    model = models[row.arch]
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.zero_()
    apply_weights(model, loaded, row)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[key]), key


@pytest.mark.parametrize("name", ["vfs-r18", "crw-r18", "timecycle-r50", "moco-v1-r50"])
def test_converted_file_is_taken_as_it_is(name, plain, tmp_path):
    row = BACKBONES[name]
    torch.save(plain[row.arch], tmp_path / "converted.pth")
    loaded = load_state_dict(tmp_path / "converted.pth", row)
    assert set(loaded) == set(plain[row.arch])


def test_files_of_before_the_zip_format(plain, tmp_path):
    file = tmp_path / "old.pth.tar"
    torch.save(walk(plain["resnet18"]), file, _use_new_zipfile_serialization=False)
    loaded = load_state_dict(file, BACKBONES["crw-r18"])
    assert torch.equal(loaded["conv1.weight"], plain["resnet18"]["conv1.weight"])


def test_half_precision_and_missing_counters(plain):
    state = {
        n: t.half() if t.is_floating_point() else t
        for n, t in plain["resnet18"].items()
        if not n.endswith("num_batches_tracked")
    }
    row = BACKBONES["imagenet-r18"]
    model = network("resnet18", seed=8)
    apply_weights(model, state, row)
    assert model.conv1.weight.dtype == torch.float32
    assert torch.allclose(model.conv1.weight, plain["resnet18"]["conv1.weight"], atol=1e-3, rtol=0)


# --- files that cannot be used


class Payload:
    """Would write a file if it were unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    target = tmp_path / "owned"
    torch.save({"state_dict": {}, "x": Payload(target)}, tmp_path / "evil.pth")
    with pytest.raises(ExportError, match="is never loaded; convert it") as caught:
        load_state_dict(tmp_path / "evil.pth", BACKBONES["byol-r50"])
    assert not target.exists()
    assert "\n" not in str(caught.value)


def test_numpy_pickle_is_refused(tmp_path):
    torch.save({"w": np.ones(3)}, tmp_path / "arrays.pkl")
    with pytest.raises(ExportError, match=r"asks for numpy\S+\), and is never loaded"):
        load_state_dict(tmp_path / "arrays.pkl", BACKBONES["byol-r50"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged or no PyTorch checkpoint"),
        (b"some text that is no checkpoint", "damaged or no PyTorch checkpoint"),
        (b"PK\x03\x04 and then nothing", "damaged or no PyTorch checkpoint"),
        (b"\n<!DOCTYPE html><html>Google Drive", "is a web page"),
    ],
)
def test_not_a_checkpoint(content, message, tmp_path):
    file = tmp_path / "file.pth"
    file.write_bytes(content)
    with pytest.raises(ExportError, match=message) as caught:
        load_state_dict(file, BACKBONES["crw-r18"])
    assert "--weights" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.01, 0.5, 0.999])
def test_truncated_checkpoint(kept, zipped, plain, tmp_path):
    file = tmp_path / "file.pth"
    small = {n: t for n, t in plain["resnet18"].items() if n.startswith("layer1.0")}
    torch.save(small, file, _use_new_zipfile_serialization=zipped)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ExportError, match="damaged"):
        load_state_dict(file, BACKBONES["imagenet-r18"])


def test_an_archive_that_would_fill_the_memory_is_not_opened(tmp_path, monkeypatch):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data/0", bytes(100_000_000))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was opened"))
    with pytest.raises(ExportError, match="would take 100 MB of memory"):
        load_state_dict(path, BACKBONES["vfs-r18"])


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(ExportError, match=r"cannot read weights .*--weights"):
            load_state_dict(path, BACKBONES["imagenet-r18"])


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"a": 1}}, {"epoch": 3, 4: JUNK}])
def test_no_tensors(content, tmp_path):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(ExportError, match=r"holds a list|holds no tensors"):
        load_state_dict(tmp_path / "file.pth", BACKBONES["imagenet-r18"])


# --- weights that do not fit


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("imagenet-r18", "resnet50"),
        ("imagenet-r18", "resnet34"),  # has every tensor of a ResNet-18, in its shape
        ("imagenet-r34", "resnet18"),
        ("imagenet-r50", "resnet34"),
        ("imagenet-r50", "resnet101"),  # likewise
        ("efficientnet-lite0", "resnet18"),
        ("imagenet-r18", "efficientnet-lite0"),
    ],
)
def test_another_architecture_is_recognised(name, arch, plain, models):
    message = f"the weights are of {arch}, but {name} is {BACKBONES[name].arch};"
    with pytest.raises(ExportError, match=message):
        apply_weights(models[BACKBONES[name].arch], plain[arch], BACKBONES[name])


def test_resnet152_is_not_taken_for_a_resnet50(plain):
    state = dict(plain["resnet50"])
    for number in range(6, 36):
        state[f"layer3.{number}.conv1.weight"] = JUNK
    with pytest.raises(ExportError, match="a ResNet of 3, 4, 36 bottlenecks"):
        apply_weights(network("resnet50"), state, BACKBONES["imagenet-r50"])


def test_squeeze_and_excite_is_not_taken_for_lite0(plain):
    state = plain["efficientnet-lite0"] | {"_blocks.0._se_reduce.weight": JUNK}
    with pytest.raises(ExportError, match="squeeze-and-excite"):
        apply_weights(network("efficientnet-lite0"), state, BACKBONES["efficientnet-lite0"])


def test_missing_tensors_are_named_and_counted(plain):
    gone = ["bn1.weight", "layer1.0.conv2.weight", "layer2.1.bn2.bias", "layer3.1.bn1.running_var"]
    state = {n: t for n, t in plain["resnet18"].items() if n not in gone}
    with pytest.raises(ExportError) as caught:
        apply_weights(network("resnet18"), state, BACKBONES["imagenet-r18"])
    assert str(caught.value).startswith("4 of the 75 tensors of imagenet-r18 are missing")
    assert ", ".join(gone[:3]) + ", …" in str(caught.value)


def test_wrong_shape_is_named(plain):
    state = plain["resnet18"] | {"conv1.weight": torch.zeros(64, 1, 7, 7)}
    with pytest.raises(ExportError, match=r"conv1.weight \(64, 1, 7, 7\) for \(64, 3, 7, 7\)"):
        apply_weights(network("resnet18"), state, BACKBONES["imagenet-r18"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layer2.0.conv1.weight", float("nan")),
        ("bn1.bias", float("inf")),
        ("bn1.running_var", -1.0),
    ],
)
def test_impossible_values(key, value, plain):
    broken = plain["resnet18"][key].clone()
    broken.view(-1)[1] = value
    with pytest.raises(ExportError, match=f"1 tensors .*{key}"):
        apply_weights(
            network("resnet18"), plain["resnet18"] | {key: broken}, BACKBONES["imagenet-r18"]
        )


def test_refused_weights_leave_the_network_alone(plain):
    model = network("resnet18", seed=8)
    before = model.conv1.weight.clone()
    state = {n: t for n, t in plain["resnet18"].items() if n != "layer3.1.bn2.bias"}
    with pytest.raises(ExportError):
        apply_weights(model, state, BACKBONES["imagenet-r18"])
    assert torch.equal(model.conv1.weight, before)


# --- through the front door


@pytest.mark.usefixtures("as_wide_as_published")
def test_weights_option_overrides_the_source(tmp_path):
    file = tmp_path / "mine.pth"
    torch.save(network("resnet18").state_dict(), file)
    with torch.no_grad():
        model, info = build_backbone("vfs-r18", weights=file)
        assert model(torch.zeros(1, 3, 16, 24)).shape == (1, 256, 2, 3)
    assert info.path == str(file)
    assert info.url is None
    assert len(info.sha256) == 64
    with pytest.raises(ExportError, match="the file ends before layer4: use --layer layer3"):
        build_backbone("vfs-r18", "layer4", weights=file)


@pytest.mark.usefixtures("as_wide_as_published")
@pytest.mark.skipif(not LAYER3_FILE.is_file(), reason=f"no {LAYER3_FILE.name} beside the data")
def test_real_resnet18_checkpoint():
    with torch.no_grad():
        model, info = build_backbone("imagenet-r18", weights=LAYER3_FILE)
        assert info.sha256.startswith("9ffeee24")
        assert model(torch.zeros(1, 3, 32, 48)).shape == (1, 256, 4, 6)
    with pytest.raises(ExportError, match="use --layer layer3"):
        build_backbone("imagenet-r18", "layer4", weights=LAYER3_FILE)
    with pytest.raises(ExportError, match="are of resnet18, but imagenet-r50 is resnet50"):
        build_backbone("imagenet-r50", weights=LAYER3_FILE)
