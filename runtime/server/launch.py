"""Opens the live outputs of a run: the live view (`--serve`) and lines of JSON (`--jsonl`)."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from ...errors import OutputError
from ..events import RunListener
from .auth import parse_address, token_for
from .commands import Commands


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """What the user asked for.

    Attributes:
        serve: `[HOST:]PORT` of the live view; None for none.
        serve_token: What requests must contain; None: the value of UNITRACK_TOKEN.
        jsonl: File of the lines, or `-` for standard output; None for none.
    """

    serve: str | None = None
    serve_token: str | None = None
    jsonl: str | None = None

    def check(self) -> None:
        """Check the address and the token before anything is opened.

        Raises:
            RequestError: The address cannot be read, or needs a token.
        """
        if self.serve is not None:
            token_for(parse_address(self.serve), self.serve_token)


def _none() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class LiveOutputs:
    """What was opened.

    Attributes:
        listeners: To be called for every frame and event of a source.
        commands: What viewers want to track; None without a live view.
        url: Of the page; None without a live view.
        takes_stdout: Whether standard output is for lines of JSON alone.
        lost_lines: How many lines of JSON could not be written so far.
    """

    listeners: list[RunListener] = field(default_factory=list)
    commands: Commands | None = None
    url: str | None = None
    takes_stdout: bool = False
    lost_lines: Callable[[], int] = _none


@contextmanager
def open_live(request: LiveRequest, say: Callable[[str], None]) -> Iterator[LiveOutputs]:
    """Open the live view and the lines, where they are asked for.

    When the program that reads standard output goes away, the run ends as on SIGTERM.

    Args:
        request: What the user asked for.
        say: Called with one line, once, when lines can no longer be written.

    Raises:
        RequestError: See `LiveRequest.check`.
        OutputError: The port is in use, the extra `serve` is not installed, or the file cannot be
            created.
    """
    listeners: list[RunListener] = []
    commands, url = None, None
    lost_lines: Callable[[], int] = _none
    with ExitStack() as stack:
        if request.jsonl is not None:
            from ..formats.jsonl import JsonLinesWriter

            lines = JsonLinesWriter(request.jsonl, _end_run, say)
            listeners.append(stack.enter_context(lines))
            lost_lines = partial(getattr, lines, "lost")
        if request.serve is not None:
            address = parse_address(request.serve)
            try:
                from .app import LiveServer
                from .hub import LiveHub
            except ImportError as error:
                raise OutputError(
                    f"--serve needs {error.name}, which is not installed: "
                    "pip install 'unitrack-edge[serve]'"
                ) from None
            commands = Commands()
            hub = stack.enter_context(LiveHub())
            server = LiveServer(hub, commands, address, request.serve_token)
            url = stack.enter_context(server).url
            listeners.append(hub)
        yield LiveOutputs(listeners, commands, url, request.jsonl == "-", lost_lines)


def _end_run() -> None:
    signal.raise_signal(signal.SIGTERM)
