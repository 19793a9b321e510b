"""Launches that were recorded as CUDA graphs, found again by shapes and addresses."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from ....errors import BackendError
from .cuda import Cuda

MOST = 64
"""Recordings kept by one engine: the memory of five frames is met in some thirty constellations."""

STALE_AFTER = 1000
"""Runs after which a recording that was not launched may be replaced by another one."""

_REMEMBERED = 512
"""Keys that were met once and are remembered, to be recorded when they come again."""


@dataclass(slots=True)
class _Recording:
    graph: int
    context: Any
    last_run: int


class Launches:
    """The recordings of one engine.

    Args:
        cuda: Records and launches.

    Attributes:
        problem: Why nothing is recorded any more; None where all is well.  Runs go on unrecorded,
            which gives the same result and costs the host more time.
    """

    def __init__(self, cuda: Cuda) -> None:
        self.problem: str | None = None
        self._cuda = cuda
        self._recordings: OrderedDict[Hashable, _Recording] = OrderedDict()
        self._met: OrderedDict[Hashable, None] = OrderedDict()
        self._runs = 0

    def __len__(self) -> int:
        return len(self._recordings)

    def launch(self, key: Hashable) -> bool:
        """Queue what was recorded under a key; False where nothing was."""
        self._runs += 1
        found = self._recordings.get(key)
        if found is None:
            return False
        self._recordings.move_to_end(key)
        found.last_run = self._runs
        self._cuda.launch(found.graph)
        return True

    def worth_recording(self, key: Hashable) -> bool:
        """Whether a key was met before, and it can be stored."""
        if self.problem is not None:
            return False
        met = key in self._met
        self._met[key] = None
        self._met.move_to_end(key)
        if len(self._met) > _REMEMBERED:
            self._met.popitem(last=False)
        return met and self._has_room()

    def record(self, key: Hashable, context: Any, execute: Callable[[], None]) -> None:
        """Record what `execute` queues; it is not done now.

        Args:
            key: Finds it again.
            context: Kept alive, and no longer touched, as long as the recording.
            execute: Queues the work; may raise `BackendError`.
        """
        graph: int | None = None
        try:
            self._cuda.begin_capture()
            try:
                execute()
            finally:
                graph = self._cuda.end_capture()
        except BackendError as error:
            self.problem = str(error)
            if graph is not None:
                self._cuda.free_graph(graph)
            return
        self._recordings[key] = _Recording(graph, context, self._runs)
        self._met.pop(key, None)

    def clear(self) -> None:
        """Forget all recordings; the caller has waited for those that are queued."""
        while self._recordings:
            self._forget_oldest()
        self._met.clear()

    def _has_room(self) -> bool:
        if len(self._recordings) < MOST:
            return True
        # Only recordings that are no longer used are replaced: otherwise more sets of shapes than
        # fit would push one another out, and every run would record.
        oldest = next(iter(self._recordings.values()))
        if self._runs - oldest.last_run < STALE_AFTER:
            return False
        self._cuda.synchronize()
        self._forget_oldest()
        return True

    def _forget_oldest(self) -> None:
        _, recording = self._recordings.popitem(last=False)
        self._cuda.free_graph(recording.graph)
