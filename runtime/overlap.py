"""Stages of neighbouring frames at the same time: one frame is made ready while another is used."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Ahead(Generic[Item]):
    """Calls a function in a thread of its own, one call ahead.

    Not more than one: a frame of a live source is asked for when the last one was handed over, so
    it is never older than one frame's work.

    Args:
        make: Called in that thread; what it raises is raised where its result is taken.
        interrupt: Makes a call that waits come back; called where the last result is not wanted.
    """

    def __init__(self, make: Callable[[], Item], interrupt: Callable[[], object]) -> None:
        self._make = make
        self._interrupt = interrupt
        self._worker = ThreadPoolExecutor(1, "ahead")
        self._coming: Future[Item] | None = None

    def begin(self) -> None:
        """Begin the next call, unless it has begun."""
        if self._coming is None:
            self._coming = self._worker.submit(self._make)

    def __call__(self) -> Item:
        """The result of the next call, begun or not."""
        self.begin()
        coming = self._coming
        if coming is None:
            raise RuntimeError("no call was begun")
        result = coming.result()
        self._coming = None
        return result

    def end(self) -> None:
        """Wait until the thread has ended; a result that nobody took is thrown away."""
        if self._coming is not None and not self._coming.done():
            self._interrupt()
        self._worker.shutdown()
