"""What happened to the sources of a run, for its report and for those who watch it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Literal

from .run_events import RunObserver, SourceEvent
from .sources import SourceInfo

_KEPT = 20
"""Messages that the report shows; a camera on a bad line has thousands in a month."""


class SourceLog:
    """Counts and keeps what one source is told about; safe to be told from several threads.

    Args:
        name: The source's short name.
        observers: Told of everything as well.

    Attributes:
        name: The source's short name.
        outages: How often the source was lost.
        messages: The newest messages, oldest first.
    """

    def __init__(self, name: str, observers: Sequence[RunObserver] = ()) -> None:
        self.name = name
        self.outages = 0
        self.messages: deque[str] = deque(maxlen=_KEPT)
        self._observers = observers
        self._lock = threading.Lock()

    def tell(self, kind: Literal["lost", "returned", "changed"], message: str) -> None:
        """Take in what the source says of itself."""
        with self._lock:
            self.outages += kind == "lost"
            self.messages.append(message)
            self._pass_on(SourceEvent(self.name, kind, message))

    def remark(self, message: str) -> None:
        """Take in a remark on the source's results, to be told at once and in the report."""
        with self._lock:
            self.messages.append(message)
            self._pass_on(SourceEvent(self.name, "remark", message))

    def opened(self, info: SourceInfo) -> None:
        """The source is about to be tracked."""
        self._pass_on(SourceEvent(self.name, "opened", "opened", info))

    def ended(self, message: str, *, failed: bool) -> None:
        """The source is done."""
        self._pass_on(SourceEvent(self.name, "failed" if failed else "ended", message))

    def notes(self) -> list[str]:
        """One-line remarks for the end of a run."""
        with self._lock:
            if not self.messages:
                return []
            times = f"lost {self.outages} times; " if self.outages > 1 else ""
            shown = list(self.messages)[-3:]
            return [f"source: {times}{'; '.join(shown)}"]

    def _pass_on(self, event: SourceEvent) -> None:
        for observer in self._observers:
            observer.on_source(event)
