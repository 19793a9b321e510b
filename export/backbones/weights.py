"""From the name of a backbone to a network with its weights, ready to be traced."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from ...errors import RequestError
from .checkpoints import apply_weights, load_state_dict
from .download import file_sha256
from .efficientnet_lite import EfficientNetLite0
from .resnet import Layer, ResNet, fold_batch_norms, init_random
from .table import Backbone, find_backbone
from .weight_files import backbone_file


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """Where the weights of a network came from; plain values, for the bundle.

    Attributes:
        path: The file; None for random weights.
        url: Where it was fetched from; None if it was not.
        sha256: Full hex digest of the file; None for random weights.
        licence: As stated in the table of backbones; of a file given by the user, what the table
            says of the official one.
    """

    path: str | None
    url: str | None
    sha256: str | None
    licence: str


def build_backbone(
    name: str, layer: str = "layer3", weights: Path | None = None, seed: int = 0
) -> tuple[nn.Module, WeightsInfo]:
    """Builds a backbone of the table and fills it.

    Args:
        name: A name of `BACKBONES`.
        layer: Where the network is cut, `layer3` or `layer4`; `efficientnet-lite0` has one cut
            only (its block 10), called `layer3`.
        weights: Checkpoint to use in place of the official one.
        seed: For backbones without weights.

    Returns:
        The network, in eval mode, batch norms folded, no gradients, with attributes `channels`
        and `stride`: (N, 3, H, W) float, preprocessed as the table says ->
        (N, C, ceil(H / 8), ceil(W / 8)), not normalised; and where the weights came from.

    Raises:
        RequestError: Unknown name or layer.
        ExportError: Weights that cannot be had or do not fit.
    """
    backbone = find_backbone(name)
    if layer not in backbone.layers:
        raise RequestError(
            f"{name} cannot be cut at {layer!r}; use --layer {' or --layer '.join(backbone.layers)}"
        )
    path = backbone_file(backbone, weights)
    # The layers' own initialisation draws from the global generator; leave it as it was.
    with torch.random.fork_rng(devices=[]):
        model = _network(backbone, layer)
    if path is None:
        init_random(model, seed)
    else:
        apply_weights(model, load_state_dict(path, backbone), backbone)
    fold_batch_norms(model)
    model.requires_grad_(False)
    return model, WeightsInfo(
        path=None if path is None else str(path),
        url=backbone.url if weights is None else None,
        sha256=None if path is None else file_sha256(path),
        licence=backbone.licence,
    )


def _network(backbone: Backbone, layer: str) -> nn.Module:
    if backbone.arch == "efficientnet-lite0":
        return EfficientNetLite0()
    return ResNet(backbone.arch, cast(Layer, layer))
