"""The live view over HTTP: `--serve [HOST:]PORT`.

Starlette and uvicorn run in a thread of their own and read nothing but the board.
"""

from __future__ import annotations

import errno
import importlib.util
import logging
import socket
import threading

from ..errors import OutputError
from .live_access import Access, Address, token_for
from .live_board import LiveBoard
from .live_site import Site
from .viewer_commands import Commands

_CONNECTIONS = 100
_START_S = 10.0
_NEEDS = "--serve needs Starlette and uvicorn: pip install 'unitrack-edge[serve]'"


class LiveServer:
    """Serves a board until it is closed, and then ends the board; a context manager.

    Args:
        board: What is served.
        commands: Where viewers' wishes go; None where nothing can be started.
        address: Where to listen.
        token: See `live_access.token_for`.

    Attributes:
        url: Of the page, without the token.

    Raises:
        RequestError: The address needs a token and has none.
        OutputError: The port is in use, the address is not this machine's, or the extra `serve`
            is not installed.
    """

    def __init__(
        self,
        board: LiveBoard,
        commands: Commands | None,
        address: Address,
        token: str | None = None,
    ) -> None:
        self._board = board
        token = token_for(address, token)
        if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn")):
            raise OutputError(_NEEDS)
        import uvicorn

        listener = _listen(address)
        address = Address(address.host, listener.getsockname()[1])
        self.url = f"http://{address}/"
        app = Site(board, commands, Access(address, token)).app()
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,  # it would hold the token
                lifespan="off",
                ws="none",
                limit_concurrency=_CONNECTIONS,
                timeout_graceful_shutdown=1,
                server_header=False,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="live server", daemon=True
        )
        self._thread.start()
        started = threading.Event()
        for _ in range(round(_START_S / 0.02)):
            if self._server.started or not self._thread.is_alive():
                break
            started.wait(0.02)

    def close(self) -> None:
        """End the board and all connections, and free the port. May be called again."""
        self._board.close()
        # Viewers who do not read are cut off, each of which uvicorn would report as an error.
        log = logging.getLogger("uvicorn.error")
        level = log.level
        log.setLevel(logging.CRITICAL + 1)
        try:
            self._server.should_exit = True
            self._thread.join(5)
        finally:
            log.setLevel(level)

    def __enter__(self) -> LiveServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _listen(address: Address) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )[0]
    except OSError:
        raise OutputError(
            f"--serve {address}: no such address; leave out the host to serve this machine alone"
        ) from None
    listener = socket.socket(family, kind, protocol)
    # A server that was just ended may leave connections that block its port for a minute.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(place)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            what = f"port {address.port} is in use by another program; give another --serve PORT"
        elif error.errno == errno.EACCES:
            what = "this user may not listen there; give a port above 1023"
        else:
            what = f"cannot listen there ({error.strerror}); is it an address of this machine?"
        raise OutputError(f"--serve {address}: {what}") from None
    return listener
