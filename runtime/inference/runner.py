"""Runs a bundle's graphs by name; each is loaded once, on first use."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from ...errors import BackendError
from ..bundle.bundle import Bundle
from ..bundle.spec import BundleSpec
from .base import Array, Engine
from .registry import Backend, find_backend, open_backend


class GraphRunner:
    """The graphs of one bundle on one backend.

    Tensors are given and returned in the order of the graph's spec, so that their names are
    written where the graph is defined and nowhere else.

    Args:
        bundle: Where the graphs are.
        backend: A key of `registry.BACKENDS`.
        threads: Of a CPU backend; 0 takes all that this process may use.

    Raises:
        BackendError: Unknown backend.
    """

    # Subclasses that stand in for a runner hold no backend: their arrays stay where they are.
    _name: str | None = None
    _backend: Backend | None = None

    def __init__(self, bundle: Bundle, backend: str = "cpu", threads: int = 0) -> None:
        self._name = find_backend(backend).name
        self.spec: BundleSpec = bundle.spec
        self._bundle = bundle
        self._threads = threads
        self._engines: dict[str, Engine] = {}

    def engine(self, graph: str) -> Engine:
        """The loaded graph.

        Raises:
            BundleError: The bundle has no such graph.
            BackendError: The backend refuses it.
        """
        if graph not in self._engines:
            self._engines[graph] = self._opened().open(self._bundle, graph)
        return self._engines[graph]

    def run(self, graph: str, *feeds: Array) -> tuple[Array, ...]:
        """Run one graph.

        Args:
            graph: Its name.
            *feeds: Its inputs, in the order of its spec.

        Returns:
            Its outputs, in the order of its spec.
        """
        engine = self.engine(graph)
        names = [tensor.name for tensor in engine.spec.inputs]
        if len(names) != len(feeds):
            raise BackendError(f"graph {graph}: got {len(feeds)} inputs, expected {names}")
        outputs = engine.run(dict(zip(names, feeds, strict=True)))
        return tuple(outputs.values())

    def place(self, array: Array) -> Array:
        """The same array where the graphs compute: an input that is fed often is then copied once.

        On the CPU it is the array itself.
        """
        return array if self._name in (None, "cpu") else self._opened().place(array)

    def limit(self, graph: str, input_index: int, axis: int) -> int | None:
        """The largest size that a graph takes along an axis of an input; None: any.

        Engines are built for shapes up to a largest one; ONNX Runtime takes any.
        """
        return None if self._name is None else self.engine(graph).limit(input_index, axis)

    def _opened(self) -> Backend:
        """The backend; opened on first use, so that a runner can be made where it is absent."""
        if self._backend is None:
            self._backend = open_backend(self._name or "cpu", self._threads)
        return self._backend

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
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def __enter__(self) -> GraphRunner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
