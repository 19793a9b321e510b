"""Ctrl-C, SIGTERM and SIGHUP end a run after the current frame: nothing is half written."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_HANGUP = getattr(signal, "SIGHUP", None)  # the terminal is gone; not on Windows


class StopRequest:
    """Whether the user asked to stop; a context manager that listens while it is entered.

    The first signal only sets `is_set`; a second one, or one that comes while the run waits for a
    frame, raises KeyboardInterrupt.

    Attributes:
        is_set: Whether the user asked to stop.
        is_waiting: Set by the run while nothing is being written: a signal then interrupts at once.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.is_waiting = False
        self._former: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        # Only the main thread may listen to signals; elsewhere the owner sets `is_set`.
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGINT, signal.SIGTERM]
            # What `nohup` made the process deaf to stays so.
            if _HANGUP is not None and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
                numbers.append(_HANGUP)
            for number in numbers:
                self._former[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._former.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        again, self.is_set = self.is_set, True
        if again or self.is_waiting:
            raise KeyboardInterrupt
