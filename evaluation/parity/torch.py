"""A bundle's graphs run by PyTorch eager, from the weights that the bundle was exported from.

A bundle holds no PyTorch weights.  It names the file and its sha256, and nothing but that very file
will do: otherwise two networks would be compared, not two ways to compute one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...errors import BackendError, BundleError, ExportError
from ...export.backbones.table import find_backbone
from ...export.backbones.weights import build_backbone
from ...export.graphs.appearance import BackboneGraph
from ...export.graphs.profiles import Sizes
from ...export.graphs.table import GraphDefinition, backbone_graph, head_graphs
from ...runtime.bundle.bundle import Bundle
from ...runtime.bundle.spec import GraphSpec
from ...runtime.inference.base import Array, Engine
from ...runtime.inference.onnxruntime import available_cores
from ...runtime.inference.runner import GraphRunner


@dataclass(frozen=True, slots=True)
class TorchArray:
    """A tensor that stays on its device; a `runtime.inference.base.DeviceArray`."""

    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        return np.dtype(str(self.tensor.dtype).removeprefix("torch."))

    def to_host(self) -> npt.NDArray[Any]:
        """Copy to host memory; waits for the device."""
        host: npt.NDArray[Any] = self.tensor.cpu().numpy()
        return host

    def rows(self) -> list[TorchArray]:
        """See `DeviceArray`."""
        return [TorchArray(self.tensor[row : row + 1]) for row in range(len(self.tensor))]

    def reshape(self, shape: tuple[int, ...], /) -> TorchArray:
        """See `DeviceArray`."""
        return TorchArray(self.tensor.reshape(shape))


class TorchEngine(Engine):
    """One graph as the PyTorch module that it was exported from.

    Args:
        spec: What it takes and gives.
        module: Computes it.
        device: As PyTorch names it; arrays stay there, and on the CPU are plain NumPy arrays.
    """

    def __init__(self, spec: GraphSpec, module: nn.Module, device: str = "cpu") -> None:
        self.spec = spec
        self.backend = f"PyTorch {torch.__version__} eager on {device}"
        self._module = module.to(device).eval()
        self._device = device

    @torch.inference_mode()
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine`."""
        inputs = [self._tensor(feeds[tensor.name]) for tensor in self.spec.inputs]
        try:
            result = self._module(*inputs)
        except RuntimeError as error:
            text = " ".join(str(error).split())[:300]
            raise BackendError(f"graph {self.spec.name}, PyTorch: {text}") from error
        outputs = result if isinstance(result, tuple) else (result,)
        return {
            spec.name: output.numpy() if self._device == "cpu" else TorchArray(output)
            for spec, output in zip(self.spec.outputs, outputs, strict=True)
        }

    def _tensor(self, array: Array) -> Tensor:
        return _placed(array, self._device)

    def close(self) -> None:
        """Nothing is open."""


class TorchBackend:
    """The modules that graphs were exported from; a `runtime.inference.registry.Backend`.

    Args:
        modules: By the graph's name.
        specs: What they take and give in float32.
        device: As PyTorch names it.
    """

    name = "torch"

    def __init__(
        self, modules: Mapping[str, nn.Module], specs: Mapping[str, GraphSpec], device: str
    ) -> None:
        self._modules, self._specs, self._device = modules, specs, device

    def open(self, bundle: Bundle, graph: str) -> Engine:
        """One graph; raises `BundleError` where the bundle has none of that name."""
        spec = self._specs[bundle.graph(graph).name]
        return TorchEngine(spec, self._modules[graph], self._device)

    def place(self, array: Array) -> Array:
        """The array on the device; on the CPU the array itself."""
        return array if self._device == "cpu" else TorchArray(_placed(array, self._device))

    def send_with(self, graph: str) -> None:
        """Nothing: every run sends what it is fed."""

    def close(self) -> None:
        """Nothing is open."""


class TorchGraphs(GraphRunner):
    """All graphs of a bundle in PyTorch eager, in float32.

    The bundle's precision is what is to be judged, so that the judge has the full one; its feeds
    and features are float32 whatever the bundle's are.

    Args:
        bundle: Whose graphs.
        weights: The checkpoint that it was exported from; None: where its record says.
        threads: Of the CPU; 0 takes all that this process may use.
        device: As PyTorch names it.

    Attributes:
        weights_bytes: Size of the backbone's parameters in memory.

    Raises:
        BundleError: The bundle has graphs that this toolkit does not know.
        ExportError: The weights cannot be found, or are not those of the bundle.
        BackendError: PyTorch has no such device.
    """

    def __init__(
        self,
        bundle: Bundle,
        weights: Path | None = None,
        threads: int = 0,
        device: str = "cpu",
    ) -> None:
        if device != "cpu" and not torch.cuda.is_available():
            raise BackendError(
                f"PyTorch {torch.__version__} here has no device {device}: install its CUDA build, "
                "or compare backends of the CPU"
            )
        torch.set_num_threads(threads or available_cores())
        network = load_network(bundle, weights)
        spec = bundle.spec
        row = find_backbone(spec.backbone)
        sizes = Sizes(
            spec.channels, spec.stride, spec.sizes_hw, spec.parameters["top_k"], "float32"
        )
        backbone = BackboneGraph(network, row.mean, row.std, color=row.color).to(device).eval()
        table = {"backbone": backbone_graph(backbone, sizes), **head_graphs(sizes)}
        unknown = sorted(set(spec.graphs) - set(table))
        if unknown:
            raise BundleError(
                f"bundle {bundle.path} has graphs that PyTorch has no module for "
                f"({', '.join(unknown)}): write it again with `cli export --force`"
            )
        graphs = {name: _float_spec(graph, table[name]) for name, graph in spec.graphs.items()}
        modules = {name: table[name].module for name in graphs}
        super().__init__(bundle, TorchBackend(modules, graphs, device))
        self.spec = replace(spec, precision="fp32", graphs=graphs)
        self.weights_bytes = sum(p.numel() * p.element_size() for p in network.parameters())
        self._backbone, self._device = backbone, device

    @property
    def on_device(self) -> bool:
        """On the CPU images and label maps are made by OpenCV, as for every backend there."""
        return self._device != "cpu"

    def rounded(
        self, images: npt.NDArray[Any], dtype: torch.dtype = torch.float16
    ) -> npt.NDArray[Any]:
        """Features as exact sums would give them, if every layer's result were rounded.

        Args:
            images: (B, H, W, 3) uint8.
            dtype: What weights and results of layers are rounded to.

        Returns:
            (B, h, w, C) float32, themselves not rounded.
        """
        backbone = copy.deepcopy(self._backbone)
        for module in backbone.network.modules():
            if next(module.children(), None) is None:
                for weight in module.parameters():
                    weight.data = weight.data.to(dtype).float()
                module.register_forward_hook(lambda _module, _given, out: out.to(dtype).float())
        with torch.inference_mode():
            features: npt.NDArray[Any] = backbone(_placed(images, self._device)).cpu().numpy()
        return features


def load_network(bundle: Bundle, weights: Path | None = None) -> nn.Module:
    """The network of a bundle's backbone, with its weights.

    Args:
        bundle: Its record says which file the weights came from.
        weights: That file; None: from the cache, the network or the package that brings it.

    Raises:
        ExportError: It cannot be found, or is another file.
    """
    spec = bundle.spec
    row = find_backbone(spec.backbone)
    name, wanted = spec.weights.get("file"), spec.weights.get("sha256")
    has_source = spec.weights.get("url") is not None or row.source in ("package", "random")
    if weights is None and wanted is not None and not has_source:
        raise ExportError(
            f"bundle {bundle.path} was exported from the file {name} (sha256 "
            f"{str(wanted)[:12]}…), which it does not hold: give that file with --weights FILE"
        )
    if weights is not None and not weights.is_file():
        raise ExportError(f"--weights {weights}: there is no such file")
    network, info = build_backbone(spec.backbone, spec.layer, weights)
    if info.sha256 != wanted:
        raise ExportError(
            f"the weights {info.path or 'drawn at random'} have sha256 {str(info.sha256)[:12]}…, "
            f"the bundle was exported from {name} with {str(wanted)[:12]}…: give that file with "
            "--weights FILE"
        )
    return network


def _float_spec(graph: GraphSpec, row: GraphDefinition) -> GraphSpec:
    names = [[tensor.name for tensor in side] for side in (graph.inputs, row.inputs)]
    if names[0] != names[1]:
        raise BundleError(
            f"graph {graph.name} takes {names[0]}, this toolkit's takes {names[1]}: write the "
            "bundle again with `cli export --force`"
        )
    return replace(graph, inputs=row.inputs, outputs=row.outputs)


def _placed(array: Array, device: str) -> Tensor:
    if isinstance(array, TorchArray):
        return array.tensor
    host = array if isinstance(array, np.ndarray) else array.to_host()
    # PyTorch warns of arrays that it must not write to, though it only reads here.
    return torch.from_numpy(host if host.flags.writeable else host.copy()).to(device)
