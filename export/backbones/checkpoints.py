"""Reading published checkpoints: whatever their layout, the network's own names come out.

Files are read with `torch.load(weights_only=True)`, which builds tensors and plain containers and
runs no code of the file.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import ExportError
from ...runtime.paths import check_regular
from .resnet import DEPTHS
from .table import Backbone, Layout

# Training scripts leave options and best scores beside the tensors. These classes hold data only.
# numpy's module was renamed, and files know the name of their day.
_SCALAR = np.float64(0).__reduce__()[0]

_HARMLESS: list[Any] = [
    argparse.Namespace,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(code)) for code in ("f4", "f8", "i4", "i8")),
]

# What torch.load raises on damaged files, besides UnpicklingError.
_DAMAGE = (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError)

_RENAMES: dict[Layout, tuple[tuple[str, str], ...]] = {
    "plain": (),
    "time-axis": (),
    "wrapped-conv": ((r"(^|\.)conv(\d)\.1\.", r"\1conv\2."),),
    "conv-module": (
        (r"(^|\.)conv(\d)\.conv\.", r"\1conv\2."),
        (r"(^|\.)conv(\d)\.bn\.", r"\1bn\2."),
        (r"\.downsample\.conv\.", ".downsample.0."),
        (r"\.downsample\.bn\.", ".downsample.1."),
    ),
}


def load_state_dict(path: Path, backbone: Backbone) -> dict[str, Tensor]:
    """The tensors of a checkpoint, renamed to those of the network.

    Args:
        path: A file written by `torch.save`.
        backbone: Says how the file is laid out. A file that was converted to the network's names
            already is taken as it is.

    Returns:
        Name -> tensor on the CPU, among them such as the network does not need.

    Raises:
        ExportError: no such file, damaged, refused, or without tensors.
    """
    content = _load(path)
    if not isinstance(content, Mapping):
        raise ExportError(
            f"{path} holds a {type(content).__name__}, expected a state dict (name -> tensor); "
            "pass another file with --weights"
        )
    keys = [key for key in backbone.unwrap if isinstance(content.get(key), Mapping)]
    tensors = content[keys[0]] if keys else content
    tensors = {
        name: value
        for name, value in tensors.items()
        if isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided
    }
    if not tensors:
        raise ExportError(
            f"{path} holds no tensors where {backbone.name} keeps them (top level or "
            f"{', '.join(backbone.unwrap)}), only {_some(map(str, content))}; "
            "pass another file with --weights"
        )
    for prefix in backbone.prefixes:
        if any(name.startswith(prefix) for name in tensors):
            tensors = {
                name.removeprefix(prefix): value
                for name, value in tensors.items()
                if name.startswith(prefix)
            }
            break
    return _rename(tensors, backbone.layout)


def _load(path: Path) -> object:
    try:
        check_regular(path)
        with path.open("rb") as file:
            head = file.read(64).lstrip()
    except OSError as error:
        raise ExportError(
            f"cannot read weights {path}: {error.strerror or error}; pass a file with --weights"
        ) from error
    _check_size(path)
    if head.startswith(b"<"):
        raise ExportError(
            f"{path} is a web page, not a checkpoint: the link works in a browser only; "
            "get the file itself and pass it with --weights"
        )
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        asks = f" (it asks for {wanted.group(1)})" if wanted else ""
        raise ExportError(
            f"{path} is a pickle with other objects than tensors{asks}, and is never loaded; "
            "convert it to a plain state dict with torch.save and pass that with --weights"
        ) from error
    except _DAMAGE as error:
        first_line = (str(error).splitlines() or [""])[0][:80]
        raise ExportError(
            f"{path} is damaged or no PyTorch checkpoint ({type(error).__name__}: {first_line}); "
            "get it again and pass it with --weights"
        ) from error


_MOST_EXPANSION, _SMALL = 8, 64_000_000


def _check_size(path: Path) -> None:
    """Refuse an archive that would fill the memory; `torch.save` compresses nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            expanded = sum(part.file_size for part in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return  # of another layout, or damaged, which torch.load says better
    size = path.stat().st_size
    if expanded > _MOST_EXPANSION * size + _SMALL:
        raise ExportError(
            f"{path} has {size / 1e6:.0f} MB and would take {expanded / 1e6:.0f} MB of memory: it "
            "is not what torch.save writes; get it again and pass it with --weights"
        )


def _rename(tensors: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        for pattern, replacement in _RENAMES[layout]:
            name = re.sub(pattern, replacement, name)
        if layout == "time-axis" and value.ndim == 5 and value.shape[2] == 1:
            value = value.squeeze(2)
        renamed[name] = value
    return renamed


def apply_weights(model: nn.Module, state: Mapping[str, Tensor], backbone: Backbone) -> None:
    """Fills a network; every tensor it has must be there, what else there is does not matter.

    Args:
        model: Changed in place.
        state: From `load_state_dict`.
        backbone: For the messages, and for the architecture that is expected.

    Raises:
        ExportError: weights of another architecture, missing, of another shape, or not finite.
    """
    _check_architecture(state, backbone)
    own = model.state_dict()
    # A counter of training steps that nothing reads; older files do not have it.
    wanted = {name: t for name, t in own.items() if not name.endswith("num_batches_tracked")}
    _check_complete(wanted, state, backbone)
    _check_values({name: state[name] for name in wanted}, backbone)
    model.load_state_dict({**own, **{name: state[name] for name in wanted}})


def _check_architecture(state: Mapping[str, Tensor], backbone: Backbone) -> None:
    """Compares the block counts: a ResNet-18 would fit into the tensors of a ResNet-34."""
    seems = _architectures(state)
    if seems and backbone.arch not in seems:
        raise ExportError(
            f"the weights are of {' or '.join(seems)}, but {backbone.name} is {backbone.arch}; "
            "choose a backbone of that network (`cli backbones`) or another file with --weights"
        )


def _architectures(state: Mapping[str, Tensor]) -> list[str]:
    """What a file can be by its names: possible networks, or a description; empty if unknown."""
    if "_conv_stem.weight" in state:
        excites = any("._se_" in name for name in state)
        return ["an EfficientNet with squeeze-and-excite" if excites else "efficientnet-lite0"]
    blocks = [
        {name.split(".")[1] for name in state if name.startswith(f"layer{index}.")}
        for index in (1, 2, 3, 4)
    ]
    counts = tuple(len(numbers) for numbers in blocks if numbers)
    if not counts:
        return []
    bottleneck = any(re.match(r"layer\d\.\d+\.conv3\.", name) for name in state)
    fitting = [
        arch
        for arch, (depths, bottlenecks) in DEPTHS.items()
        if bottlenecks == bottleneck and depths[: len(counts)] == counts
    ]
    kind = "bottlenecks" if bottleneck else "basic blocks"
    return fitting or [f"a ResNet of {', '.join(map(str, counts))} {kind}"]


def _check_complete(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], backbone: Backbone
) -> None:
    missing = [name for name in wanted if name not in state]
    if missing:
        if all(name.startswith("layer4.") for name in missing):
            hint = "the file ends before layer4: use --layer layer3, or another file with --weights"
        else:
            hint = f"the file has {_some(state)}; pass another file with --weights"
        raise ExportError(
            f"{len(missing)} of the {len(wanted)} tensors of {backbone.name} are missing "
            f"({_some(missing)}); {hint}"
        )
    wrong = [
        f"{name} {tuple(state[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if state[name].shape != tensor.shape or not state[name].is_floating_point()
    ]
    if wrong:
        raise ExportError(
            f"{len(wrong)} of the {len(wanted)} tensors of {backbone.name} have another shape or "
            f"type ({_some(wrong)}); pass another file with --weights"
        )


def _check_values(state: Mapping[str, Tensor], backbone: Backbone) -> None:
    broken = [
        name
        for name, tensor in state.items()
        if not torch.isfinite(tensor.float()).all()
        or (name.endswith("running_var") and (tensor < 0).any())
    ]
    if broken:
        raise ExportError(
            f"{len(broken)} tensors of {backbone.name} hold NaN, infinite or impossible values "
            f"({_some(broken)}); get the file again and pass it with --weights"
        )


def _some(names: Any) -> str:
    """The first three of many, for a message."""
    listed = list(names)
    return ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "")
