"""The ways to run a frame that are compared, each with the reason where it is not there."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import BackendError
from ...evaluation.parity.torch import TorchGraphs
from ...heads.config import VosConfig
from ...heads.propagation.propagator import Propagator
from ...records import UInt8Array
from ...runtime.bundle.bundle import Bundle
from ...runtime.inference.base import to_host
from ...runtime.inference.runner import GraphRunner
from ..eager import EagerBackbone, EagerPropagator
from ..speed.mot import Side
from ..style import BLOCK, Function, Style
from .frames import VosParts, graph_mot, torch_mot
from .timing import DeviceStopwatch

REFERENCE = "eager"
"""The arm that all others are compared with."""

GRAPHS = (
    "backbone",
    "box_features",
    "rsm",
    "select",
    "propagate_global",
    "propagate_local",
    "propagate_recent",
    "propagate_labels",
)

_GPU_BLOCK = 2048
"""Queries at once on a GPU: 315 MB of float32 affinities at 480p."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What all arms have in common.

    Attributes:
        device: `cuda` or `cpu`.
        backbone: Name on the table of backbones.
        weights: Its checkpoint; None for random ones.
        bundle: The same network, exported.
        threads: Of the CPU.
        config: Of VOS.
    """

    device: str
    backbone: str
    weights: Path | None
    bundle: Bundle
    threads: int
    config: VosConfig

    @property
    def half(self) -> torch.dtype:
        """float16 on a GPU; on a CPU, where that is no gain, float32."""
        return torch.float16 if self.device == "cuda" else torch.float32


class Arm(ABC):
    """One way to run a frame.

    Attributes:
        title: For tables.
    """

    title: str

    @abstractmethod
    def on_device(self, image: UInt8Array) -> Callable[[], object]:
        """Runs the backbone on a network image that is on the device once and for all."""

    @abstractmethod
    def mot(self, watch: DeviceStopwatch, size_hw: tuple[int, int]) -> Side:
        """Frames of MOT."""

    @abstractmethod
    def vos(self) -> VosParts:
        """Frames of VOS."""

    @abstractmethod
    def graphs(self) -> GraphRunner:
        """Runs all graphs, for the tasks whose whole pipeline is measured.

        Raises:
            BackendError: Those tasks are not written in this arm's style.
        """

    def describe(self) -> str:
        """What really ran it."""
        return f"PyTorch {torch.__version__}"

    def close(self) -> None:
        """Release everything."""
        return


class TorchArm(Arm):
    """PyTorch in one style.

    Args:
        title: For tables.
        setup: What all have in common.
        style: How PyTorch runs.
    """

    def __init__(self, title: str, setup: Setup, style: Style) -> None:
        self.title = title
        self.backbone = EagerBackbone(setup.backbone, setup.weights, style)
        self._config = setup.config
        self._setup = setup
        self._plain = style.dtype is torch.float32 and not style.channels_last
        self._graphs: TorchGraphs | None = None

    def graphs(self) -> GraphRunner:
        """The modules that the bundle was exported from, one by one; plain PyTorch alone has it."""
        if not self._plain:
            raise BackendError("of this style only mot and vos are written")
        if self._graphs is None:
            setup = self._setup
            self._graphs = TorchGraphs(setup.bundle, setup.weights, setup.threads, setup.device)
        return self._graphs

    def on_device(self, image: UInt8Array) -> Callable[[], object]:
        """See `Arm`."""
        return partial(
            self.backbone.forward, torch.from_numpy(image).to(self.backbone.style.device)
        )

    def mot(self, watch: DeviceStopwatch, size_hw: tuple[int, int]) -> Side:
        """See `Arm`."""
        return torch_mot(self.backbone, watch, size_hw)

    def vos(self) -> VosParts:
        """See `Arm`."""
        return VosParts(
            self.backbone,
            lambda features: features.flatten(2)[0].t().float().cpu().numpy(),
            partial(EagerPropagator, **_numbers(self._config), style=self.backbone.style),
        )


class GraphArm(Arm):
    """The bundle's graphs on one backend.

    Args:
        title: For tables.
        setup: What all have in common.
        backend: A key of `BACKENDS`.

    Raises:
        UnitrackError: The backend or a graph of it is not there.
    """

    def __init__(self, title: str, setup: Setup, backend: str) -> None:
        self.title = f"{title} {setup.bundle.spec.precision.upper()}"
        self.runner = GraphRunner(setup.bundle, backend, setup.threads)
        self._config = setup.config
        # Bundles of before have no propagate_recent.
        for graph in setup.bundle.spec.graphs.keys() & set(GRAPHS):
            self.runner.engine(graph)

    def graphs(self) -> GraphRunner:
        """See `Arm`."""
        return self.runner

    def on_device(self, image: UInt8Array) -> Callable[[], object]:
        """See `Arm`."""
        return partial(self.runner.run, "backbone", self.runner.place(image[None]))

    def mot(self, watch: DeviceStopwatch, size_hw: tuple[int, int]) -> Side:
        """See `Arm`."""
        return graph_mot(self.runner, watch, size_hw)

    def vos(self) -> VosParts:
        """See `Arm`."""
        return VosParts(
            lambda image: self.runner.run("backbone", np.ascontiguousarray(image)[None])[0],
            lambda features: to_host(features).reshape(-1, features.shape[-1]),
            partial(Propagator, self.runner, **_numbers(self._config)),
        )

    def describe(self) -> str:
        """See `Arm`."""
        return ", ".join(sorted(set(self.runner.backends_in_use.values())))

    def close(self) -> None:
        """See `Arm`."""
        self.runner.close()


def _numbers(config: VosConfig) -> dict[str, Any]:
    return {
        "top_k": config.top_k,
        "temperature": config.temperature,
        "radius": config.radius,
        "memory": config.memory,
    }


def _eager(setup: Setup) -> Arm:
    return TorchArm("PyTorch eager FP32", setup, _style(setup, torch.float32))


def _half(setup: Setup) -> Arm:
    return TorchArm(f"PyTorch {_bits(setup)} channels-last", setup, _style(setup, setup.half, True))


def _compiled(setup: Setup) -> Arm:
    missing = "triton" if setup.device == "cuda" and find_spec("triton") is None else ""
    if setup.device == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        missing = "a C++ compiler"
    if missing:
        raise BackendError(f"torch.compile needs {missing}, which is not installed")
    # Each of the two image sizes gets kernels of its own.
    compiler = partial(torch.compile, dynamic=False)
    style = _style(setup, setup.half, True, compiler)
    return TorchArm(f"torch.compile {_bits(setup)} channels-last", setup, style)


def _bits(setup: Setup) -> str:
    return "FP16" if setup.half is torch.float16 else "FP32"


def _style(
    setup: Setup,
    dtype: torch.dtype,
    channels_last: bool = False,
    wrap: Callable[[Function], Function] | None = None,
) -> Style:
    block = _GPU_BLOCK if setup.device == "cuda" else BLOCK
    if wrap is None:
        return Style(setup.device, dtype, channels_last, block=block)
    return Style(setup.device, dtype, channels_last, wrap, block)


def _graphs(title: str, backend: str) -> Callable[[Setup], Arm]:
    return lambda setup: GraphArm(title, setup, backend)


@dataclass(frozen=True, slots=True)
class ArmRow:
    """A row of the table.

    Attributes:
        name: As `--arm` takes it.
        title: Where it is not there.
        devices: Where it belongs.
        open: Makes it; raises `UnitrackError` where that is not possible.
    """

    name: str
    title: str
    devices: tuple[str, ...]
    open: Callable[[Setup], Arm]


_BOTH = "cuda", "cpu"

ARMS = {
    row.name: row
    for row in (
        ArmRow(REFERENCE, "PyTorch eager FP32", _BOTH, _eager),
        ArmRow("half", "PyTorch FP16 channels-last", _BOTH, _half),
        ArmRow("compile", "torch.compile", _BOTH, _compiled),
        ArmRow("ort-cpu", "ONNX Runtime CPU", ("cpu",), _graphs("ONNX Runtime CPU", "cpu")),
        ArmRow("ort-cuda", "ONNX Runtime CUDA", ("cuda",), _graphs("ONNX Runtime CUDA", "cuda")),
        ArmRow("tensorrt", "TensorRT", ("cuda",), _graphs("TensorRT", "tensorrt")),
        ArmRow("tensorrt-rtx", "TensorRT-RTX", ("cuda",), _graphs("TensorRT-RTX", "tensorrt-rtx")),
    )
}
