"""The one way in which every backend runs a graph.

`Engine.run` checks what it is given, by name, dtype and shape, once for all backends; a backend
implements `_run` and `close`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from ...errors import BackendError
from ..bundle.spec import GraphSpec, TensorSpec


@runtime_checkable
class DeviceArray(Protocol):
    """A handle of an array that stays where it was computed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""

    def to_host(self) -> npt.NDArray[Any]:
        """Copy to host memory; waits for the device."""


Array: TypeAlias = npt.NDArray[Any] | DeviceArray
"""A NumPy array on a CPU backend, a device handle on a GPU backend."""


def to_host(array: Array) -> npt.NDArray[Any]:
    """The array in host memory: itself where it already is there, a copy otherwise."""
    return array if isinstance(array, np.ndarray) else array.to_host()


_Engine = TypeVar("_Engine", bound="Engine")


class Engine(ABC):
    """One graph, loaded and ready.

    Outputs belong to the caller: no later `run` writes to them.  Feeds are only read, and are free
    again when `run` returns.  An engine is used by one thread at a time.

    Attributes:
        spec: What the graph takes and gives.
        backend: What runs it, as the backend itself reports it (`CPUExecutionProvider`, …).
    """

    spec: GraphSpec
    backend: str

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs.

        Args:
            feeds: Every input by name, with the dtype and shape that `spec` gives.

        Returns:
            Every output by name, in the order of `spec`.

        Raises:
            BackendError: A feed is missing, unknown, or of another dtype or shape; or the
                backend failed.
        """
        check_feeds(self.spec, feeds)
        return self._run(feeds)

    @abstractmethod
    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs of checked feeds."""

    def limit(self, input_index: int, axis: int) -> int | None:  # noqa: ARG002
        """The largest size that this engine takes along an axis of an input; None: any."""
        return None

    def report(self) -> dict[str, Any]:
        """What is worth knowing of how it ran, as plain data; nothing by default."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Release all memory; may be called twice."""

    def __enter__(self: _Engine) -> _Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def check_feeds(spec: GraphSpec, feeds: Mapping[str, Array]) -> None:
    """Compare feeds with a graph's inputs.

    Raises:
        BackendError: Names the graph, the tensor, what was got and what was expected.
    """
    names = [tensor.name for tensor in spec.inputs]
    if set(feeds) != set(names):
        raise BackendError(f"graph {spec.name}: got inputs {sorted(feeds)}, expected {names}")
    sizes: dict[str, int] = {}
    for tensor in spec.inputs:
        _check_feed(spec.name, tensor, feeds[tensor.name], sizes)


def _check_feed(graph: str, tensor: TensorSpec, feed: Array, sizes: dict[str, int]) -> None:
    fits = feed.dtype == np.dtype(tensor.dtype) and len(feed.shape) == len(tensor.shape)
    if fits:
        for got, want in zip(feed.shape, tensor.shape, strict=True):
            fits = fits and got == (sizes.setdefault(want, got) if isinstance(want, str) else want)
    if not fits:
        known = {name: size for name, size in sizes.items() if name in tensor.shape}
        raise BackendError(
            f"graph {graph}, input {tensor.name}: got {feed.dtype} {tuple(feed.shape)}, "
            f"expected {tensor.describe()}" + (f" with {known}" if known else "")
        )
