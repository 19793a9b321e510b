"""What the live view writes to the log: few lines, and not a word of what strangers have sent."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections import Counter
from collections.abc import Callable

_FIRST_S = 10.0  # from the first refusal to the first line about it …
_NEXT_S = 600.0  # … and then between two lines
_LEAST = 100  # refusals that are worth a line
_ERROR_S = 60.0  # between two lines about errors of the server's own


class Notices:
    """Gathers what happens, and says it in one line from time to time. For one thread.

    Args:
        say: Called with each line.
        clock: Monotonic seconds.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._say = say
        self._clock = clock
        self._said: Counter[str] = Counter()
        self._due: float | None = None
        self._errors = 0
        self._errors_due = 0.0

    def line(self, text: str) -> None:
        """Say a line of the server's own."""
        with contextlib.suppress(OSError, ValueError):  # the log has no reader, or is full
            self._say(f"live view: {text}")

    def refusals(self, by_reason: Counter[str], by_address: Counter[str]) -> None:
        """Say what was refused since the last line, if that is much and the last line long ago.

        Args:
            by_reason: All refusals so far, under reasons of the server's own.
            by_address: Refusals since the last line; emptied when they are said.
        """
        new = by_reason - self._said
        if new.total() < _LEAST:
            return
        now = self._clock()
        if self._due is None:
            self._due = now + _FIRST_S
        if now < self._due:
            return
        reasons = ", ".join(f"{reason}: {count}" for reason, count in new.most_common())
        address, count = by_address.most_common(1)[0] if by_address else ("?", 0)
        self.line(f"refused {new.total()} requests ({reasons}), {count} of them from {address}")
        self._said = Counter(by_reason)
        by_address.clear()
        self._due = now + _NEXT_S

    def error(self, error: BaseException | str) -> None:
        """Say that something went wrong in the server, if the last such line was long ago."""
        self._errors += 1
        now = self._clock()
        if now < self._errors_due:
            return
        times = f" ({self._errors} times)" if self._errors > 1 else ""
        self.line(f"an answer failed{times}: {_shown(error)}")
        self._errors = 0
        self._errors_due = now + _ERROR_S


def _shown(error: BaseException | str) -> str:
    """Kind and place of an error; its text may hold what a stranger has sent."""
    if isinstance(error, str):
        return ascii(error[:80])
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


class OwnThreadFilter(logging.Filter):
    """Keeps the web server's own lines out of the log: strangers can cause any number of them.

    Args:
        thread_name: Of the server's thread; what others log through the same logger passes.
    """

    def __init__(self, thread_name: str) -> None:
        super().__init__()
        self._thread_name = thread_name

    def filter(self, record: logging.LogRecord) -> bool:
        """False for records of the thread."""
        return record.threadName != self._thread_name
