"""Runs a bundle's graphs by name: loads each once, on first use, and times it."""

from __future__ import annotations

from types import TracebackType

from ..errors import BackendError
from .bundle import BACKENDS, Bundle
from .engine import Array, Engine
from .specs import BundleSpec


class GraphRunner:
    """The graphs of one bundle on one backend.

    Tensors are given and returned in the order of the graph's spec, so that their names are
    written where the graph is defined and nowhere else.

    Args:
        bundle: Where the graphs are.
        backend: One of `BACKENDS`.
        threads: Of a CPU backend; 0 takes all that this process may use.

    Raises:
        BackendError: Unknown backend.
    """

    def __init__(self, bundle: Bundle, backend: str = "cpu", threads: int = 0) -> None:
        if backend not in BACKENDS:
            raise BackendError(f"unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}")
        self.spec: BundleSpec = bundle.spec
        self._bundle = bundle
        self._backend = backend
        self._threads = threads
        self._engines: dict[str, Engine] = {}

    def engine(self, graph: str) -> Engine:
        """The loaded graph.

        Raises:
            BundleError: The bundle has no such graph.
            BackendError: The backend refuses it.
        """
        if graph not in self._engines:
            self._engines[graph] = self._bundle.open(graph, self._backend, self._threads)
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
        return tuple(outputs[tensor.name] for tensor in engine.spec.outputs)

    @property
    def backends_in_use(self) -> dict[str, str]:
        """What runs each loaded graph, as the backend itself reports it."""
        return {name: engine.backend for name, engine in sorted(self._engines.items())}

    def close(self) -> None:
        """Give all graphs back."""
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()

    def __enter__(self) -> GraphRunner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
