"""ResNet as a tracker wants it: total stride 8, cut after layer3 or layer4, torchvision's names.

Total stride 8 comes from taking the stride out of `layer3` and `layer4` and leaving everything
else alone, dilation included: the weights stay what they were, the grid becomes finer.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import ExportError

Layer = Literal["layer3", "layer4"]
ResNetArch = Literal["resnet18", "resnet34", "resnet50", "resnet101"]

# Blocks in layer1 … layer4, and whether they are bottlenecks.
DEPTHS: dict[str, tuple[tuple[int, int, int, int], bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
}

_WIDTHS = (64, 128, 256, 512)
_STRIDES = (1, 2, 1, 1)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut (ResNet-18 and -34)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, width, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + shortcut)


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 (which carries the stride), 1 × 1 and a shortcut (ResNet-50 and -101)."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = _conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, 4 width, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + shortcut)


class ResNet(nn.Module):
    """ResNet up to one layer, total stride 8.

    Attributes:
        arch: Which ResNet.
        layer: The last layer computed, and the last one whose weights are needed.
        channels: C of the output.
        stride: 8.
    """

    stride = 8

    def __init__(self, arch: ResNetArch, layer: Layer = "layer3") -> None:
        super().__init__()
        depths, bottleneck = DEPTHS[arch]
        block: type[BasicBlock] | type[Bottleneck] = Bottleneck if bottleneck else BasicBlock
        self.arch = arch
        self.layer = layer
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for index in range(int(layer[-1])):
            blocks: list[nn.Module] = []
            for number in range(depths[index]):
                stride = _STRIDES[index] if number == 0 else 1
                blocks.append(block(inputs, _WIDTHS[index], stride))
                inputs = _WIDTHS[index] * block.expansion
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        self.channels = inputs
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Features of an image.

        Args:
            x: (N, 3, H, W) float, normalised.

        Returns:
            (N, C, ceil(H / 8), ceil(W / 8)), after the last block's ReLU, not normalised. The
            receptive field of cell (r, c) is centred on pixel (8 r, 8 c).
        """
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        for index in range(int(self.layer[-1])):
            x = self.get_submodule(f"layer{index + 1}")(x)
        return x


def init_random(model: nn.Module, seed: int) -> None:
    """Fills a model with the weights that training would start from.

    Convolutions are drawn from He's normal distribution over the fan-out, batch norms are
    identities.

    Args:
        model: Changed in place.
        seed: The same seed gives the same weights; the global generator is not touched.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def fold_batch_norms(model: nn.Module) -> nn.Module:
    """Puts every batch norm into the convolution in front of it, as weights and a bias.

    `bn(W * x) = (g / s) W * x + (b - m g / s)` with `s = sqrt(var + eps)`, computed in float64.
    The models of this folder register each batch norm right behind its convolution, which is how
    the pairs are found.

    Args:
        model: In eval mode; changed in place, its batch norms become identities.

    Returns:
        The same model.

    Raises:
        ExportError: a batch norm without a convolution of its width in front of it.
    """
    previous: nn.Module | None = None
    for name, module in list(model.named_modules()):
        if next(module.children(), None) is not None:
            continue
        if isinstance(module, nn.BatchNorm2d):
            if not isinstance(previous, nn.Conv2d) or previous.out_channels != module.num_features:
                raise ExportError(f"batch norm {name} follows no convolution and cannot be folded")
            _fold(previous, module)
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, nn.Identity())
        previous = module
    return model


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, var = cast(Tensor, norm.running_mean).double(), cast(Tensor, norm.running_var).double()
    gain = norm.weight.double() / torch.sqrt(var + norm.eps)
    bias = norm.bias.double() - mean * gain
    if conv.bias is not None:
        bias += conv.bias.double() * gain
    dtype = conv.weight.dtype
    conv.weight = nn.Parameter((conv.weight.double() * gain[:, None, None, None]).to(dtype))
    conv.bias = nn.Parameter(bias.to(dtype))
