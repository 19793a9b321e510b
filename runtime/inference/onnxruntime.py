"""ONNX Runtime as a backend: on the CPU, and on a GPU through I/O binding.

A provider is asked for by name and must be there: ONNX Runtime's own habit of falling back to the
CPU with a warning is switched off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import BackendError, one_line
from ..bundle.spec import GraphSpec, TensorSpec
from .base import Array, Engine, to_host

if TYPE_CHECKING:
    import onnxruntime


PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "ort-tensorrt": "TensorrtExecutionProvider",
}

_CUDA = "cuda"
"""ONNX Runtime's name of the memory that both GPU providers compute in."""

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class OrtArray:
    """An array owned by ONNX Runtime, usually on a GPU; or a part of it.

    Args:
        value: The array.
        shape: Of the part; None: it is the whole array as it is.
        start: Elements before the part.
    """

    def __init__(
        self, value: onnxruntime.OrtValue, shape: tuple[int, ...] | None = None, start: int = 0
    ) -> None:
        self.value = value
        self._shape = shape
        self._start = start

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return tuple(self.value.shape()) if self._shape is None else self._shape

    @property
    def _size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        return np.dtype(_DTYPES[self.value.data_type()])

    def to_host(self) -> npt.NDArray[Any]:
        """Copy to host memory."""
        host: npt.NDArray[Any] = self.value.numpy()
        if self._shape is None:
            return host
        part: npt.NDArray[Any] = host.reshape(-1)[self._start : self._start + self._size].copy()
        return part.reshape(self._shape)

    def rows(self) -> list[OrtArray]:
        """See `DeviceArray`."""
        shape = (1, *self.shape[1:])
        size = int(np.prod(shape, dtype=np.int64))
        return [OrtArray(self.value, shape, self._start + k * size) for k in range(self.shape[0])]

    def reshape(self, shape: tuple[int, ...], /) -> OrtArray:
        """See `DeviceArray`."""
        return OrtArray(self.value, shape, self._start)

    def bind(self, binding: onnxruntime.IOBinding, name: str) -> None:
        """Have a run read it where it is."""
        if self._shape is None:
            binding.bind_ortvalue_input(name, self.value)
            return
        address = self.value.data_ptr() + self._start * self.dtype.itemsize
        device = self.value.device_name()
        binding.bind_input(name, device, 0, self.dtype, list(self.shape), address)


class OnnxRuntimeEngine(Engine):
    """A graph in an `onnxruntime.InferenceSession`.

    Args:
        path: The ONNX file.
        spec: What the graph takes and gives; None reads it from the file (for foreign models).
        device: A key of `PROVIDERS`.
        threads: Of the CPU; 0 takes as many as this process may use.
        bind: Whether outputs stay on the device as `OrtArray`; None: on a GPU only.
        specialise: Whether shapes that come again get sessions of their own (`ShapedSessions`);
            None: with CUDA's provider only.
        half: Whether the graph is float16, a setting that TensorRT's provider needs.

    Attributes:
        metadata: Texts that are stored with the graph, by name.

    Raises:
        BackendError: Unknown device, ONNX Runtime or the provider is absent, or the file cannot be
            loaded.
    """

    def __init__(
        self,
        path: Path,
        spec: GraphSpec | None = None,
        *,
        device: str = "cpu",
        threads: int = 0,
        bind: bool | None = None,
        specialise: bool | None = None,
        half: bool = False,
    ) -> None:
        providers = _providers(device, spec, half=half)
        session = _open(path, device, threads, providers)
        self._session: onnxruntime.InferenceSession | None = session
        self._device = "cpu" if device == "cpu" else _CUDA
        self._bind = device != "cpu" if bind is None else bind
        self.backend = session.get_providers()[0]
        self._on_host = _on_host(session, path, device)
        self.spec = spec or _read_spec(session, path)
        self.metadata: dict[str, str] = dict(session.get_modelmeta().custom_metadata_map)
        self._shaped: Callable[[Mapping[str, Array]], onnxruntime.InferenceSession] | None = None
        if device == "cuda" if specialise is None else specialise:
            from .shaped import ShapedSessions

            self._shaped = ShapedSessions(
                self.spec, session, lambda sizes: _open(path, device, threads, providers, sizes)
            ).of

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine`."""
        if self._session is None:
            raise BackendError(f"graph {self.spec.name} was closed and cannot run again")
        try:
            session = self._session if self._shaped is None else self._shaped(feeds)
            if self._bind:
                return self._run_bound(session, feeds)
            names = [tensor.name for tensor in self.spec.outputs]
            host = {
                name: feed if isinstance(feed, np.ndarray) else feed.to_host()
                for name, feed in feeds.items()
            }
            return dict(zip(names, session.run(names, host), strict=True))
        except _failures() as error:
            raise BackendError(f"graph {self.spec.name}: {one_line(error)}") from error

    def _run_bound(
        self, session: onnxruntime.InferenceSession, feeds: Mapping[str, Array]
    ) -> dict[str, Array]:
        binding = session.io_binding()
        for name, feed in feeds.items():
            place_on_device(feed, self._device).bind(binding, name)
        for tensor in self.spec.outputs:
            binding.bind_output(tensor.name, self._device, 0)
        session.run_with_iobinding(binding)
        values = binding.get_outputs()
        return {t.name: OrtArray(v) for t, v in zip(self.spec.outputs, values, strict=True)}

    def report(self) -> dict[str, Any]:
        """The nodes that run on the CPU although the graph runs on a GPU, where there are any."""
        return {"nodes_on_cpu": list(self._on_host)} if self._on_host else {}

    def close(self) -> None:
        """Release the sessions."""
        self._session = self._shaped = None


def place_on_device(array: Array, device: str) -> OrtArray:
    """A copy in the memory that a device of `PROVIDERS` computes in; the array if it is there."""
    import onnxruntime

    if isinstance(array, OrtArray):
        return array
    memory = "cpu" if device == "cpu" else _CUDA
    host = np.ascontiguousarray(to_host(array))
    try:
        return OrtArray(onnxruntime.OrtValue.ortvalue_from_numpy(host, memory, 0))
    except _failures() as error:
        _check_present(device)
        raise BackendError(f"backend {device}: {one_line(error)}") from error


def available_cores() -> int:
    """Cores that this process may use (a container or taskset may give it fewer than there are)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _on_host(session: onnxruntime.InferenceSession, path: Path, device: str) -> tuple[str, ...]:
    """Nodes of a GPU's graph that run on the CPU; see `check_assignment`."""
    if device == "cpu":
        return ()
    from .providers import check_assignment

    return check_assignment(session, path)


def _providers(device: str, spec: GraphSpec | None, *, half: bool) -> list[Any]:
    """What a session is given; raises `BackendError` for a device that there is not."""
    if device not in PROVIDERS:
        raise BackendError(f"unknown backend {device!r}: choose one of {', '.join(PROVIDERS)}")
    if device == "cpu":
        return [PROVIDERS["cpu"]]
    from .providers import cuda_options, tensorrt_options

    # What TensorRT does not take stays on the GPU.
    cuda = (PROVIDERS["cuda"], cuda_options())
    tensorrt = (PROVIDERS["ort-tensorrt"], tensorrt_options(spec, half=half))
    return [cuda] if device == "cuda" else [tensorrt, cuda]


def _open(
    path: Path,
    device: str,
    threads: int,
    providers: list[Any],
    sizes: Mapping[str, int] | None = None,
) -> onnxruntime.InferenceSession:
    """Load a graph, for any shape or for the given sizes of its named dimensions."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(
            "onnxruntime is not installed: pip install 'unitrack-edge[cpu]' (or [gpu] for a GPU)"
        ) from error
    _check_present(device)
    provider = PROVIDERS[device]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    # Fatal only: what goes wrong is raised, and ORT's own log would repeat the message. On a GPU
    # it also says of many convolutions that the first way to do them was not the one taken.
    options.log_severity_level = 4
    onnxruntime.set_default_logger_severity(4)
    # A layout of memory would be kept for every set of shapes that ever came, megabytes for many of
    # them, and no time is saved that could be measured.
    options.enable_mem_pattern = False
    # Several graphs share the cores: a pool that spins after its run steals them from the next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for name, size in (sizes or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    if device != "cpu":
        from .providers import RECORD_ASSIGNMENT, make_cache_folder

        options.add_session_config_entry(RECORD_ASSIGNMENT, "1")
        if device == "ort-tensorrt":
            make_cache_folder(providers[0][1])
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=providers, enable_fallback=False
        )
    except _failures() as error:
        raise BackendError(
            f"{path} cannot be loaded: {one_line(error)} (expected a whole ONNX file, of operators "
            "that this ONNX Runtime knows: export or download it again)"
        ) from error
    if session.get_providers()[0] != provider:
        raise BackendError(
            f"backend {device}: {provider} is listed but does not start (driver or CUDA libraries "
            f"missing?), the session has {session.get_providers()}; use --backend cpu"
        )
    return session


def _check_present(device: str) -> None:
    """Check that this ONNX Runtime was built for a device."""
    import onnxruntime

    present = onnxruntime.get_available_providers()
    if PROVIDERS[device] not in present:
        raise BackendError(
            f"backend {device}: onnxruntime {onnxruntime.__version__} here has {present}, "
            f"expected {PROVIDERS[device]}: pip install 'unitrack-edge[gpu]', or use --backend cpu"
        )


def _read_spec(session: onnxruntime.InferenceSession, path: Path) -> GraphSpec:
    def tensors(nodes: Any) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                node.name,
                _DTYPES.get(node.type, node.type),
                tuple(
                    s if isinstance(s, (int, str)) else f"axis{i}" for i, s in enumerate(node.shape)
                ),
            )
            for node in nodes
        )

    return GraphSpec(
        path.stem,
        path.name,
        "",
        path.stat().st_size,
        tensors(session.get_inputs()),
        tensors(session.get_outputs()),
    )


def _failures() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: a class per status code, each directly under Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [
        value
        for value in vars(state).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    return (*own, RuntimeError, OSError, ValueError)
