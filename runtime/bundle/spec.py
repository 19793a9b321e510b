"""The content of `bundle.json`: tensors, graphs, engines, the backbone and its preprocessing.

Exporter, optimisation profiles, runtime and error messages all read these records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...errors import BundleError, printable

FORMAT_VERSION = 1
MOST_STRIDE = 1024
MOST_PIXELS = 65_536
"""No network is near to these; beyond them shapes would take all memory."""

DETECTOR_GRAPH = "detector"
"""The only graph of a detector's bundle."""

POSE_GRAPH, MASK_GRAPH = "pose", "mask"
"""Graphs of the bundle of a model that looks at crops of persons: one of them, or both."""

INT8_GRAPHS = ("backbone", DETECTOR_GRAPH)
"""The graph of a bundle that `cli calibrate` makes int8; all others stay float."""

PRECISIONS = ("fp32", "fp16", "int8")

DTYPES = ("float32", "float16", "float64", "uint8", "int32", "int64", "bool")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a graph.

    Attributes:
        name: Its name in the ONNX graph.
        dtype: NumPy's name of the element type (`float32`, `float16`, `uint8`, `int64`).
        shape: Fixed dimensions as numbers, dynamic ones by name; equal names are equal sizes.
        min_shape: Smallest shape of an optimisation profile; None where all dimensions are fixed.
        opt_shape: The shape that is expected most often.
        max_shape: The largest shape that an engine built from the profile takes.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    min_shape: tuple[int, ...] | None = None
    opt_shape: tuple[int, ...] | None = None
    max_shape: tuple[int, ...] | None = None

    @property
    def is_dynamic(self) -> bool:
        """Whether any dimension is left open."""
        return any(isinstance(size, str) for size in self.shape)

    def describe(self) -> str:
        """Short text for messages, such as `float32 (points, 256)`."""
        return f"{self.dtype} ({', '.join(str(size) for size in self.shape)})"

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> TensorSpec:
        """Read back what `dataclasses.asdict` wrote."""
        if data["dtype"] not in DTYPES:
            raise ValueError(f"dtype {data['dtype']!r:.40}, expected one of {', '.join(DTYPES)}")
        return TensorSpec(
            name=str(data["name"]),
            dtype=data["dtype"],
            shape=tuple(s if isinstance(s, str) else int(s) for s in data["shape"]),
            min_shape=_sizes(data["min_shape"]),
            opt_shape=_sizes(data["opt_shape"]),
            max_shape=_sizes(data["max_shape"]),
        )


def _sizes(value: Any) -> tuple[int, ...] | None:
    return None if value is None else tuple(int(size) for size in value)


@dataclass(frozen=True, slots=True)
class GraphSpec:
    """One graph: its file, its tensors and how well it agreed with PyTorch when it was written.

    Attributes:
        name: `backbone`, `box_features`, `point_features`, `rsm`, `propagate`, …
        file: File name inside the bundle.
        sha256: Of the file, lower-case hexadecimal.
        size_bytes: Of the file.
        inputs: In the graph's order.
        outputs: In the graph's order.
        max_abs_error: Largest absolute difference to PyTorch over the export check's inputs.
        fp32_nodes: Convolutions and matrix products that compute in float32 on purpose although
            the bundle's precision is a lower one: affinities, norms, interpolation.
    """

    name: str
    file: str
    sha256: str
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_abs_error: float | None = None
    fp32_nodes: tuple[str, ...] = ()

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> GraphSpec:
        """Read back what `dataclasses.asdict` wrote."""
        return GraphSpec(
            name=str(data["name"]),
            file=str(data["file"]),
            sha256=str(data["sha256"]),
            size_bytes=int(data["size_bytes"]),
            inputs=tuple(TensorSpec.from_json(t) for t in data["inputs"]),
            outputs=tuple(TensorSpec.from_json(t) for t in data["outputs"]),
            max_abs_error=None if data["max_abs_error"] is None else float(data["max_abs_error"]),
            fp32_nodes=tuple(str(name) for name in data.get("fp32_nodes", ())),
        )


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """A TensorRT engine that was built from one of the bundle's graphs.

    Attributes:
        graph: Name of the graph.
        file: Path inside the bundle, `engines/FOLDER/GRAPH.engine`.
        sha256: Of the file, lower-case hexadecimal.
        size_bytes: Of the file.
        onnx_sha256: Of the ONNX file that it was built from.
        variant: `tensorrt` or `tensorrt-rtx`.
        version: Of that library, such as `1.7.1.116`.
        target: What it runs on: `sm86` …, or `portable` for any GPU of the variant's list.
        platform: Operating system and machine, such as `linux-x86_64`.
        build_s: Seconds that building took.
        inputs: The graph's inputs with the profile that was built: min, opt and max shape.
        products: How many convolutions and matrix products take which element type.
        gpu: Name of the GPU that it was built on, None where there was none.
        driver: CUDA driver's version, None where there was none.
    """

    graph: str
    file: str
    sha256: str
    size_bytes: int
    onnx_sha256: str
    variant: str
    version: str
    target: str
    platform: str
    build_s: float
    inputs: tuple[TensorSpec, ...]
    products: Mapping[str, int]
    gpu: str | None = None
    driver: str | None = None

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> EngineSpec:
        """Read back what `dataclasses.asdict` wrote."""
        return EngineSpec(
            graph=str(data["graph"]),
            file=str(data["file"]),
            sha256=str(data["sha256"]),
            size_bytes=int(data["size_bytes"]),
            onnx_sha256=str(data["onnx_sha256"]),
            variant=str(data["variant"]),
            version=str(data["version"]),
            target=str(data["target"]),
            platform=str(data["platform"]),
            build_s=float(data["build_s"]),
            inputs=tuple(TensorSpec.from_json(t) for t in data["inputs"]),
            products={str(k): int(v) for k, v in data["products"].items()},
            gpu=None if data["gpu"] is None else str(data["gpu"]),
            driver=None if data["driver"] is None else str(data["driver"]),
        )


@dataclass(frozen=True, slots=True)
class BundleSpec:
    """The contents of `bundle.json`.

    Attributes:
        backbone: Name on the table of backbones, such as `imagenet-r18`; of another model's bundle,
            that model's.
        arch: Architecture, such as `resnet18`; of another model, the layout of its file.
        layer: Where the network was cut (`layer3`, `layer4`); empty for another model.
        stride: Source pixels of the network image per feature cell; of a detector, what its
            image's sides are multiples of.
        channels: C of the feature map; 0 for another model.
        precision: `fp32`, `fp16` or `int8`.
        opset: Of the ONNX graphs.
        sizes_hw: Image sizes that the backbone takes; empty: any.
        preprocessing: What the backbone graph does to a uint8 BGR frame, for people to read.
        weights: Where the weights came from: source, sha256, licence.
        graphs: By graph name.
        versions: Of the toolkit, torch, onnx, onnxruntime and Python at export.
        parameters: Sizes baked into graphs (`top_k` of `propagate`, …).
        quantization: How the bundle was made int8 (target, method, frames, layers left in float,
            drift); empty where it was not.
        engines: TensorRT engines in the bundle, for any number of targets.
        detector: What a detector's graph does not say itself (`detectors.decoded.DetectorFacts`);
            empty for any other model.
        format_version: Of this file's layout.
    """

    backbone: str
    arch: str
    layer: str
    stride: int
    channels: int
    precision: str
    opset: int
    sizes_hw: tuple[tuple[int, int], ...]
    preprocessing: Mapping[str, Any]
    weights: Mapping[str, Any]
    graphs: Mapping[str, GraphSpec]
    versions: Mapping[str, str]
    parameters: Mapping[str, int] = field(default_factory=dict)
    quantization: Mapping[str, Any] = field(default_factory=dict)
    engines: tuple[EngineSpec, ...] = ()
    detector: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def kind(self) -> str:
        """`backbone`, `detector`, or `person` for poses and masks in crops of persons."""
        if DETECTOR_GRAPH in self.graphs:
            return "detector"
        return "person" if {POSE_GRAPH, MASK_GRAPH} & self.graphs.keys() else "backbone"

    @property
    def of_cpus(self) -> bool:
        """Whether it is int8 in the form that CPUs alone compute in."""
        return self.quantization.get("target") == "cpu"

    @property
    def flags(self) -> str:
        """The options of `cli track` that take the bundle."""
        own = [f"--{name}-model" for name in (POSE_GRAPH, MASK_GRAPH) if name in self.graphs]
        return " or ".join(own) or ("--detector" if self.kind == "detector" else "--bundle")

    def to_json(self) -> dict[str, Any]:
        """Plain data for `bundle.json`."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any], where: str) -> BundleSpec:
        """Read `bundle.json`'s data.

        Args:
            data: The parsed file.
            where: Path of the bundle, for messages.

        Raises:
            BundleError: The layout is another version's, or a field is missing or of a wrong type.
        """
        version = data.get("format_version") if isinstance(data, Mapping) else None
        if version != FORMAT_VERSION:
            raise BundleError(
                f"bundle {where} has format version {version!r:.40}, this toolkit reads "
                f"{FORMAT_VERSION}: write it again with `cli export --force`"
            )
        try:
            spec = BundleSpec(
                backbone=str(data["backbone"]),
                arch=str(data["arch"]),
                layer=str(data["layer"]),
                stride=int(data["stride"]),
                channels=int(data["channels"]),
                precision=str(data["precision"]),
                opset=int(data["opset"]),
                sizes_hw=tuple((int(h), int(w)) for h, w in data["sizes_hw"]),
                preprocessing=dict(data["preprocessing"]),
                weights=dict(data["weights"]),
                graphs={str(k): GraphSpec.from_json(v) for k, v in data["graphs"].items()},
                versions={str(k): str(v) for k, v in data["versions"].items()},
                parameters={str(k): int(v) for k, v in data["parameters"].items()},
                quantization=dict(data.get("quantization", {})),
                engines=tuple(EngineSpec.from_json(e) for e in data.get("engines", ())),
                detector=dict(data.get("detector", {})),
            )
            sizes = [spec.stride, *(side for hw in spec.sizes_hw for side in hw)]
            if spec.kind == "backbone":
                sizes += [spec.channels, spec.parameters["top_k"]]
            if spec.precision not in PRECISIONS:
                raise ValueError(
                    f"precision {spec.precision!r:.40}, expected one of {', '.join(PRECISIONS)}"
                )
            if min(sizes) < 1:
                raise ValueError("stride, channels, image sizes and top_k must be above 0")
            if spec.stride > MOST_STRIDE or max(sizes) > MOST_PIXELS:
                raise ValueError(
                    f"stride, channels, image sizes and top_k must not be above {MOST_PIXELS}, and "
                    f"the stride not above {MOST_STRIDE}"
                )
            names = [spec.backbone, spec.arch, spec.layer, *spec.graphs]
            if any(printable(name) != name for name in names):
                raise ValueError("names must not hold control characters")
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BundleError(
                f"bundle {where}: bundle.json is damaged ({type(error).__name__}: {error}): "
                "write it again with `cli export --force`"
            ) from error
        return spec
