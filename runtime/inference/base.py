"""What runs graphs: one loaded graph, all graphs of a bundle, and the arrays between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..bundle.spec import BundleSpec, GraphSpec


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

    def rows(self) -> Sequence[DeviceArray]:
        """Handles of shape (1, …), one for each row; they keep the memory of all."""

    def reshape(self, shape: tuple[int, ...], /) -> DeviceArray:
        """A handle of the same elements in another shape; nothing is copied."""


Array: TypeAlias = npt.NDArray[Any] | DeviceArray
"""A NumPy array on a CPU backend, a device handle on a GPU backend."""


HOST_VALUES = 8_000_000
"""Values of an inner tensor in one run on a CPU."""

DEVICE_VALUES = 96_000_000
"""Likewise on a GPU, 384 MB: 480p propagates in one run."""


OBJECT_COUNTS = (8, 16, 32, 64, 128, 256)
"""What a GPU's stacks of objects are filled up to: a number of objects that changes in every frame
would otherwise be another shape in every frame, and no recorded launch would ever fit again."""

IMAGE_COUNTS = (2, 4, 8)
"""Small images that a GPU is given at once, some of them maybe of nothing: it plans its work for
every new number, and has memory for so many frames."""

OBJECT_AXES = frozenset(
    {"boxes", "objects", "old", "new", "chosen", "tracks", "detections"}
    | {"mask_tracks", "mask_detections", "compared", "mask_compared"}
)
"""Dynamic dimensions of a bundle's graphs that count objects."""


def filled_count(count: int) -> int:
    """The least of `OBJECT_COUNTS` that holds so many; beyond them, the next multiple of the last.

    Nothing stays nothing.
    """
    most = OBJECT_COUNTS[-1]
    return next((size for size in (0, *OBJECT_COUNTS) if size >= count), -(-count // most) * most)


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

    @abstractmethod
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs.

        Args:
            feeds: Every input by name, with the dtype and shape that `spec` gives; a `GraphRunner`
                checks them.

        Returns:
            Every output by name, in the order of `spec`.

        Raises:
            BackendError: The backend failed.
        """

    def limit(self, input_index: int, axis: int) -> int | None:  # noqa: ARG002
        """The largest size that this engine takes along an axis of an input; None: any."""
        return None

    def least(self, input_index: int, axis: int) -> int:  # noqa: ARG002
        """The smallest size that this engine takes along an axis of an input."""
        return 1

    def warm_up(self) -> None:
        """Do now what would hold up the first frames; nothing by default."""
        return

    def report(self) -> dict[str, Any]:
        """What is worth knowing of how it ran, as plain data; nothing by default."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Release all memory; may be called twice."""

    def __enter__(self: _Engine) -> _Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Graphs(Protocol):
    """The graphs of a bundle, as heads use them; `runner.GraphRunner` is what a run has.

    Attributes:
        spec: What the bundle's graphs take and give.
    """

    spec: BundleSpec

    def run(self, graph: str, *feeds: Array) -> tuple[Array, ...]:
        """Run one graph: inputs and outputs in the order of its spec."""

    def place(self, array: Array) -> Array:
        """The same array where the graphs compute: an input that is fed often is then copied once.

        Where they compute on the host, it is the array itself.
        """
        return array

    def send_with(self, graph: str) -> None:  # noqa: ARG002
        """Let what graphs are fed from now on go to the device with what `graph` is fed next.

        For an image whose boxes are known already: one copy in place of two. Without it, a large
        image goes there at once, and a small one when a result is read.
        """
        return

    @property
    def on_device(self) -> bool:
        """Whether they compute in a memory of their own, to which arrays have a way to go."""
        return False

    def limit(self, graph: str, input_index: int, axis: int) -> int | None:  # noqa: ARG002
        """The largest size that a graph takes along an axis of an input; None: any.

        Engines are built for shapes up to a largest one; ONNX Runtime takes any.
        """
        return None

    def least(self, graph: str, input_index: int, axis: int) -> int:  # noqa: ARG002
        """The smallest size that a graph takes along an axis of an input."""
        return 1

    def filled(self, count: int) -> int:
        """How many rows a stack of so many objects should have: some that are none may be added.

        On a GPU few numbers, so that shapes recur; on a CPU, which would compute what was added,
        the number itself.
        """
        return count

    def values_at_once(self) -> int:
        """Most float32 values of an inner tensor that a caller should ask one run for.

        On a CPU some 32 MB, which its caches and a small board's memory bear; on a GPU, where every
        further run costs launches and a wait, as many as engines are built for.
        """
        return HOST_VALUES


def takes(graphs: Graphs, graph: str, input_index: int, shape: Sequence[int]) -> bool:
    """Whether a graph takes an input of this shape."""
    for axis, size in enumerate(shape):
        most = graphs.limit(graph, input_index, axis)
        if size < graphs.least(graph, input_index, axis) or (most is not None and size > most):
            return False
    return True
