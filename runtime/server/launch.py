"""Opens the live outputs of a run: the live view (`--serve`) and lines of JSON (`--jsonl`)."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import OutputError, RequestError
from ..events import RunListener
from .auth import parse_address, tokens_for
from .commands import Commands
from .tls import CertificateFiles, load_certificate

if TYPE_CHECKING:
    from ..formats.jsonl import JsonLinesWriter


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """What the user asked for.

    Attributes:
        serve: `[HOST:]PORT` of the live view; None for none.
        serve_token: What requests must contain; None: the value of UNITRACK_TOKEN.
        jsonl: File of the lines, or `-` for standard output; None for none.
        serve_viewer_token: For those who look only; None: the value of UNITRACK_VIEWER_TOKEN.
        serve_cert: Certificate in PEM format, for TLS; None: without.
        serve_key: Its key; None: in the same file.
        unhealthy_after_s: Seconds without a frame after which `/healthz` says so; None: 30.
    """

    serve: str | None = None
    serve_token: str | None = None
    jsonl: str | None = None
    serve_viewer_token: str | None = None
    serve_cert: Path | None = None
    serve_key: Path | None = None
    unhealthy_after_s: float | None = None

    def check(self) -> None:
        """Check the address, the tokens and the certificate before anything is opened.

        Raises:
            RequestError: The address cannot be read, or needs a token; the certificate cannot be
                used.
        """
        if self.serve_key is not None and self.serve_cert is None:
            raise RequestError(f"--serve-key {self.serve_key} needs --serve-cert FILE too")
        if self.serve is not None:
            tokens_for(parse_address(self.serve), self.serve_token, self.serve_viewer_token)
        if self.certificate is not None:
            load_certificate(self.certificate)

    @property
    def certificate(self) -> CertificateFiles | None:
        """The files for TLS; None: without."""
        if self.serve_cert is None:
            return None
        return CertificateFiles(self.serve_cert, self.serve_key)


@dataclass(frozen=True, slots=True)
class LiveOutputs:
    """What was opened.

    Attributes:
        listeners: To be called for every frame and event of a source.
        commands: What viewers want to track; None without a live view.
        url: Of the page; None without a live view.
        takes_stdout: Whether standard output is for lines of JSON alone.
        lines: What writes them; None where nothing does.
    """

    listeners: list[RunListener] = field(default_factory=list)
    commands: Commands | None = None
    url: str | None = None
    takes_stdout: bool = False
    lines: JsonLinesWriter | None = None


@contextmanager
def open_live(request: LiveRequest, say: Callable[[str], None]) -> Iterator[LiveOutputs]:
    """Open the live view and the lines, where they are asked for.

    When the program that reads standard output goes away, the run ends as on SIGTERM.

    Args:
        request: What the user asked for.
        say: Called with a line when lines of JSON can no longer be written, when they can again,
            and with the few lines of the live view.

    Raises:
        RequestError: See `LiveRequest.check`.
        OutputError: The port is in use, the extra `serve` is not installed, or the file cannot be
            created.
    """
    listeners: list[RunListener] = []
    commands, url, lines = None, None, None
    with ExitStack() as stack:
        if request.jsonl is not None:
            from ..formats.jsonl import JsonLinesWriter

            lines = JsonLinesWriter(request.jsonl, _end_run, say)
            listeners.append(stack.enter_context(lines))
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
            after_s = request.unhealthy_after_s
            hub = stack.enter_context(LiveHub() if after_s is None else LiveHub(after_s))
            tokens = tokens_for(address, request.serve_token, request.serve_viewer_token)
            server = LiveServer(
                hub, commands, address, tokens, certificate=request.certificate, say=say
            )
            url = stack.enter_context(server).url
            listeners.append(hub)
        yield LiveOutputs(listeners, commands, url, request.jsonl == "-", lines)


def _end_run() -> None:
    signal.raise_signal(signal.SIGTERM)
