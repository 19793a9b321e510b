"""What a run shows while it goes on: the live view and lines for programs, opened together."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from ..events import RunListener
from .auth import parse_address, token_for
from .commands import Commands


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """What the user asked for.

    Attributes:
        serve: `[HOST:]PORT` of the live view; None for none.
        serve_token: What viewers must know; None: what UNITRACK_TOKEN says.
        jsonl: File of the lines, or `-`; None for none.
    """

    serve: str | None = None
    serve_token: str | None = None
    jsonl: str | None = None

    def check(self) -> None:
        """Find what contradicts itself before anything is opened.

        Raises:
            RequestError: The address is none, or needs a token.
        """
        if self.serve is not None:
            token_for(parse_address(self.serve), self.serve_token)


@dataclass(frozen=True, slots=True)
class LiveOutputs:
    """What was opened.

    Attributes:
        listeners: To be told of every frame and source.
        commands: What viewers want to track; None without a live view.
        url: Of the page; None without a live view.
        takes_stdout: Whether the standard output is for lines alone.
    """

    listeners: list[RunListener] = field(default_factory=list)
    commands: Commands | None = None
    url: str | None = None
    takes_stdout: bool = False


@contextmanager
def open_live(request: LiveRequest, say: Callable[[str], None]) -> Iterator[LiveOutputs]:
    """Open the live view and the lines, as far as they are asked for.

    A reader of the standard output who goes away ends the run as SIGTERM does.

    Args:
        request: What is asked for.
        say: Told in one line, once, where lines can be written no longer.

    Raises:
        RequestError: See `LiveRequest.check`.
        OutputError: The port is in use, the extra `serve` is not installed, or the file cannot be
            created.
    """
    listeners: list[RunListener] = []
    commands, url = None, None
    with ExitStack() as stack:
        if request.jsonl is not None:
            from ..formats.jsonl import JsonLinesWriter

            lines = JsonLinesWriter(request.jsonl, _end_the_run, say)
            listeners.append(stack.enter_context(lines))
        if request.serve is not None:
            from .app import LiveServer
            from .hub import LiveBoard

            commands = Commands()
            board = stack.enter_context(LiveBoard())
            address = parse_address(request.serve)
            server = LiveServer(board, commands, address, request.serve_token)
            url = stack.enter_context(server).url
            listeners.append(board)
        yield LiveOutputs(listeners, commands, url, request.jsonl == "-")


def _end_the_run() -> None:
    signal.raise_signal(signal.SIGTERM)
