"""Runs a bundle's graphs by name; each is loaded once, on first use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import BackendError
from ..bundle.bundle import Bundle
from ..bundle.spec import BundleSpec, GraphSpec, TensorSpec
from .base import DEVICE_VALUES, HOST_VALUES, Array, Engine, Graphs, filled_count
from .registry import Backend, open_backend


class GraphRunner(Graphs):
    """The graphs of one bundle on one backend.

    Tensors are given and returned in the order of the graph's spec, so that their names are
    written where the graph is defined and nowhere else.

    Args:
        bundle: Where the graphs are.
        backend: A key of `registry.BACKENDS`, or an open backend; it is closed with the runner.
        threads: Of a CPU backend; 0 takes all that this process may use.

    Raises:
        BackendError: Unknown backend, or what it needs is missing.
    """

    def __init__(self, bundle: Bundle, backend: str | Backend = "cpu", threads: int = 0) -> None:
        self.spec: BundleSpec = bundle.spec
        self._bundle = bundle
        self._backend = open_backend(backend, threads) if isinstance(backend, str) else backend
        self._engines: dict[str, Engine] = {}
        self._is_warm = False

    def engine(self, graph: str) -> Engine:
        """The loaded graph.

        Raises:
            BundleError: The bundle has no such graph.
            BackendError: The backend refuses it.
        """
        if graph not in self._engines:
            self._engines[graph] = self._backend.open(self._bundle, graph)
        return self._engines[graph]

    def warm_up(self, heads: Sequence[Callable[[], None]] = ()) -> None:
        """Have every loaded graph do now what would hold up the first frames.

        Args:
            heads: `Head.warm_up` of each; called on a device and for the first time only: a source
                that starts later must not hold up the others.

        Raises:
            BackendError: The backend failed.
        """
        first, self._is_warm = not self._is_warm, True
        # Before the engines, which have contexts ready for frames when this ends.
        for warm_up in heads if first and self.on_device else ():
            warm_up()
        for engine in self._engines.values():
            engine.warm_up()

    def run(self, graph: str, *feeds: Array) -> tuple[Array, ...]:
        """Run one graph.

        Args:
            graph: Its name.
            *feeds: Its inputs, in the order of its spec, with the dtypes and shapes of its spec.

        Returns:
            Its outputs, in the order of its spec.

        Raises:
            BundleError: The bundle has no such graph.
            BackendError: An input too many or too few, or of another dtype or shape; or the backend
                failed.
        """
        engine = self.engine(graph)
        check_feeds(engine.spec, feeds)
        names = [tensor.name for tensor in engine.spec.inputs]
        return tuple(engine.run(dict(zip(names, feeds, strict=True))).values())

    @property
    def on_device(self) -> bool:
        """See `Graphs`."""
        return self._backend.name != "cpu"

    def place(self, array: Array) -> Array:
        """See `Graphs`."""
        return self._backend.place(array) if self.on_device else array

    def send_with(self, graph: str) -> None:
        """See `Graphs`."""
        self._backend.send_with(graph)

    def limit(self, graph: str, input_index: int, axis: int) -> int | None:
        """See `Graphs`."""
        return self.engine(graph).limit(input_index, axis) if self.on_device else None

    def least(self, graph: str, input_index: int, axis: int) -> int:
        """See `Graphs`."""
        return self.engine(graph).least(input_index, axis) if self.on_device else 1

    def filled(self, count: int) -> int:
        """See `Graphs`."""
        return filled_count(count) if self.on_device else count

    def values_at_once(self) -> int:
        """See `Graphs`."""
        return DEVICE_VALUES if self.on_device else HOST_VALUES

    @property
    def backends_in_use(self) -> dict[str, str]:
        """What runs each loaded graph, as the backend itself reports it."""
        return {name: engine.backend for name, engine in sorted(self._engines.items())}

    @property
    def reports(self) -> dict[str, dict[str, Any]]:
        """What the loaded graphs report of how they ran, where there is anything to report."""
        reports = {name: engine.report() for name, engine in sorted(self._engines.items())}
        return {name: report for name, report in reports.items() if report}

    def close(self) -> None:
        """Close all engines and the backend."""
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
        self._backend.close()

    def __enter__(self) -> GraphRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_feeds(spec: GraphSpec, feeds: Sequence[Array]) -> None:
    """Compare feeds, in their order, with a graph's inputs.

    Raises:
        BackendError: Names the graph, the tensor, what was got and what was expected.
    """
    if len(feeds) != len(spec.inputs):
        names = [tensor.name for tensor in spec.inputs]
        raise BackendError(f"graph {spec.name}: got {len(feeds)} inputs, expected {names}")
    sizes: dict[str, int] = {}
    for tensor, feed in zip(spec.inputs, feeds, strict=True):
        _check_feed(spec.name, tensor, feed, sizes)


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
