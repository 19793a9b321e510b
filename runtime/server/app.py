"""The live view over HTTP: `--serve [HOST:]PORT`.

Imported only when serving: Starlette and uvicorn belong to the extra `serve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ...errors import OutputError, RequestError
from .auth import Access, Address, token_for
from .commands import Commands, read_command
from .hub import LiveHub, Preview
from .stats import METRICS_TYPE

_IMAGE_WAIT_S = 5.0  # how long a request waits for a newer image
_CLOSED_POLL_S = 0.5  # how often a waiting request checks whether the run is over
_MAX_BODY = 4096
_MAX_CONNECTIONS = 100
_START_TIMEOUT_S = 10.0

_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]


class LiveServer:
    """Serves a hub until it is closed, and then closes the hub; a context manager.

    Args:
        hub: What is served.
        commands: Where viewers' commands go; None where nothing can be started.
        address: Where to listen.
        token: See `auth.token_for`.

    Attributes:
        url: Of the page, without the token.

    Raises:
        RequestError: The address needs a token and has none.
        OutputError: The port is in use, or the address is not this machine's.
    """

    def __init__(
        self,
        hub: LiveHub,
        commands: Commands | None,
        address: Address,
        token: str | None = None,
    ) -> None:
        self._hub = hub
        token = token_for(address, token)
        listener = _listen(address)
        address = Address(address.host, listener.getsockname()[1])
        self.url = f"http://{address}/"
        self._server = uvicorn.Server(
            uvicorn.Config(
                _AccessMiddleware(_Site(hub, commands).app, Access(address, token)),
                log_config=None,
                access_log=False,  # it would contain the token
                lifespan="off",
                ws="none",
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_graceful_shutdown=1,
                server_header=False,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="live server", daemon=True
        )
        self._thread.start()
        end = time.monotonic() + _START_TIMEOUT_S
        while not self._server.started and self._thread.is_alive() and time.monotonic() < end:
            time.sleep(0.01)

    def close(self) -> None:
        """Close the hub and all connections, and free the port. May be called again."""
        self._hub.close()
        # Viewers who do not read are cut off; uvicorn would log an error for each of them.
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


class _Site:
    """Answers requests.

    Attributes:
        app: The ASGI application, open to everybody.
    """

    def __init__(self, hub: LiveHub, commands: Commands | None) -> None:
        self._hub = hub
        self._commands = commands
        self._page = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        hub.set_callback(self._notify)
        self.app = Starlette(
            routes=[
                Route("/", self.page),
                Route("/state", self.state),
                Route("/image/{source}", self.image),
                Route("/stream/{source}", self.stream),
                Route("/tracks", self.tracks),
                Route("/metrics", self.metrics),
                Route("/start", self.start, methods=["POST"]),
            ]
        )

    # Requests wait in the server's event loop for changes that the hub's thread reports.

    def _notify(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the server has ended
                self._loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _wait(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    async def page(self, _: Request) -> Response:
        return HTMLResponse(self._page)

    async def state(self, _: Request) -> Response:
        can_start = self._commands is not None
        return JSONResponse({"can_start": can_start, "sources": self._hub.state()})

    async def metrics(self, _: Request) -> Response:
        return Response(self._hub.metrics(), headers={"content-type": METRICS_TYPE})

    async def image(self, request: Request) -> Response:
        source = request.path_params["source"]
        try:
            after = int(request.query_params.get("after", "0"))
        except ValueError:
            return _error(400, "after: expected a whole number")
        try:
            preview = await self._next_preview(source, after)
        except KeyError:
            return self._no_source(source)
        if preview is None:
            return Response(status_code=204)
        height, width = preview.source_hw
        headers = {"X-Image-Number": str(preview.number), "X-Source-Size": f"{width}x{height}"}
        return Response(preview.jpeg, media_type="image/jpeg", headers=headers)

    async def _next_preview(self, source: str, after: int) -> Preview | None:
        """The newest image, once its number is above `after`; None where none came in time.

        Raises:
            KeyError: There is no such source.
        """
        end = time.monotonic() + _IMAGE_WAIT_S
        while not self._hub.closed:
            preview = self._hub.watch(source)
            if preview is not None and preview.number > after:
                return preview
            left = end - time.monotonic()
            if left <= 0:
                break
            await self._wait(min(left, _CLOSED_POLL_S))
        return None

    async def stream(self, request: Request) -> Response:
        source = request.path_params["source"]
        if source not in self._hub.sources():
            return self._no_source(source)
        kind = "multipart/x-mixed-replace; boundary=frame"
        return StreamingResponse(self._parts(source), media_type=kind)

    async def _parts(self, source: str) -> AsyncIterator[bytes]:
        # A viewer who does not read waits at `yield`, and gets the newest image afterwards.
        number = 0
        while not self._hub.closed:
            preview = await self._next_preview(source, number)
            if preview is not None:
                number = preview.number
                head = "--frame\r\nContent-Type: image/jpeg\r\n"
                head += f"Content-Length: {len(preview.jpeg)}\r\n\r\n"
                yield head.encode() + preview.jpeg + b"\r\n"

    async def tracks(self, _: Request) -> Response:
        return StreamingResponse(self._lines(), media_type="application/x-ndjson")

    async def _lines(self) -> AsyncIterator[str]:
        with self._hub.subscribe() as lines:
            while not self._hub.closed or lines:
                if lines:
                    yield lines.popleft()
                else:
                    await self._wait(_CLOSED_POLL_S)

    async def start(self, request: Request) -> Response:
        if self._commands is None:
            return _error(409, "this run takes no start commands: its tasks track detections")
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MAX_BODY:
                return _error(413, f"expected at most {_MAX_BODY} bytes")
        try:
            command = read_command(body)
        except RequestError as error:
            return _error(400, str(error))
        if command.source not in self._hub.sources():
            return self._no_source(command.source)
        if command.task not in self._hub.tasks(command.source):
            return _error(409, f"{command.source}: task {command.task!r:.20} is not running")
        if not self._commands.offer(command):
            return _error(503, "too many commands are waiting: try again in a moment")
        return JSONResponse({"accepted": True}, 202)

    def _no_source(self, name: str) -> Response:
        known = ", ".join(self._hub.sources()) or "none yet"
        return _error(404, f"no source {name!r:.60}; sources: {known}")


class _AccessMiddleware:
    """Lets through the requests that `Access` allows, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        request = Request(scope)
        token = request.query_params.get("token")
        answer = self._app
        refusal = self._access.refusal(request.method, request.headers, token)
        if refusal is not None:
            answer = _error(*refusal)
        elif token is not None and scope["path"] == "/":
            # A cookie replaces the token in the address bar, where it could be seen and copied.
            redirect = RedirectResponse("/", 303)
            redirect.set_cookie(*self._access.cookie, httponly=True, samesite="strict", path="/")
            answer = redirect
        await answer(scope, receive, send_with_headers)


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


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
    # A server that has just ended may leave connections that block its port for a minute.
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
