"""The live view over HTTP: `--serve [HOST:]PORT`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from ...errors import OutputError, RequestError
from .auth import Access, Address, Gate, refuse, token_for
from .commands import Commands, StartCommand
from .hub import LiveBoard, Preview
from .page import PAGE

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp


_WAIT_S = 5.0


_LOOK_S = 0.5  # how often a waiting request looks whether the run is over


_MAX_BODY = 4096


_BOUNDARY = "frame"


class Site:
    """What is answered to each request."""

    def __init__(self, board: LiveBoard, commands: Commands | None, access: Access) -> None:
        self._board = board
        self._commands = commands
        self._access = access
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        board.listen(self._wake)

    def app(self) -> ASGIApp:
        from starlette.applications import Starlette
        from starlette.routing import Route

        routes = [
            Route("/", self.page),
            Route("/state", self.state),
            Route("/image/{source}", self.image),
            Route("/stream/{source}", self.stream),
            Route("/tracks", self.tracks),
            Route("/metrics", self.metrics),
            Route("/start", self.start, methods=["POST"]),
        ]
        return Gate(Starlette(routes=routes), self._access)

    # News travels from the board's thread to the requests that wait for it.

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(self._fire)

    def _fire(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _wait(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)

    # What is served.

    async def page(self, request: Request) -> Response:
        from starlette.responses import HTMLResponse, RedirectResponse

        if "token" not in request.query_params:
            return HTMLResponse(PAGE)
        # The token leaves the address bar, where it would be seen and copied.
        answer = RedirectResponse("/", 303)
        answer.set_cookie(*self._access.cookie, httponly=True, samesite="strict", path="/")
        return answer

    async def state(self, request: Request) -> Response:  # noqa: ARG002
        from starlette.responses import JSONResponse

        can_start = self._commands is not None
        return JSONResponse({"can_start": can_start, "sources": self._board.state()})

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002
        from starlette.responses import PlainTextResponse

        return PlainTextResponse(self._board.metrics(), media_type="text/plain; version=0.0.4")

    async def image(self, request: Request) -> Response:
        from starlette.responses import Response

        source = request.path_params["source"]
        try:
            after = int(request.query_params.get("after", "0"))
            image = await self._next_image(source, after, _WAIT_S)
        except ValueError:
            return refuse(400, "after: expected a whole number")
        except KeyError:
            return self._no_source(source)
        if image is None:
            return Response(status_code=204)
        height, width = image.source_hw
        headers = {
            "X-Image": str(image.number),
            "X-Source-Size": f"{width}x{height}",
        }
        return Response(image.jpeg, media_type="image/jpeg", headers=headers)

    async def _next_image(self, source: str, after: int, seconds: float) -> Preview | None:
        """The newest image, once it is later than number `after`; None where none came.

        Raises:
            KeyError: There is no such source.
        """
        left = seconds
        while not self._board.closed:
            image = self._board.want(source)
            if image is not None and image.number > after:
                return image
            if left <= 0:
                break
            await self._wait(min(left, _LOOK_S))
            left -= _LOOK_S
        return None

    async def stream(self, request: Request) -> Response:
        from starlette.responses import StreamingResponse

        source = request.path_params["source"]
        if source not in self._board.sources():
            return self._no_source(source)
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        return StreamingResponse(self._images(source), media_type=kind)

    async def _images(self, source: str) -> AsyncIterator[bytes]:
        # Who does not read is left waiting here, and gets the newest image when he reads again.
        number = 0
        while not self._board.closed:
            image = await self._next_image(source, number, _WAIT_S)
            if image is not None:
                number = image.number
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                head += f"Content-Length: {len(image.jpeg)}\r\n\r\n"
                yield head.encode() + image.jpeg + b"\r\n"

    async def tracks(self, request: Request) -> Response:  # noqa: ARG002
        from starlette.responses import StreamingResponse

        return StreamingResponse(self._lines(), media_type="application/x-ndjson")

    async def _lines(self) -> AsyncIterator[str]:
        reader = self._board.add_reader()
        try:
            while not self._board.closed or reader.lines:
                if reader.lines:
                    yield "".join(_taken(reader.lines))
                else:
                    await self._wait(_LOOK_S)
        finally:
            self._board.remove_reader(reader)

    async def start(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        if self._commands is None:
            return refuse(409, "this run tracks what it detects: there is nothing to start")
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _MAX_BODY:
                return refuse(413, f"expected at most {_MAX_BODY} bytes")
        try:
            command = read_command(body)
        except RequestError as error:
            return refuse(400, str(error))
        if command.source not in self._board.sources():
            return self._no_source(command.source)
        if command.task not in self._board.tasks(command.source):
            return refuse(409, f"{command.source}: task {command.task!r:.20} is not running")
        if not self._commands.offer(command):
            return refuse(503, "too many commands are waiting: try again in a moment")
        return JSONResponse({"accepted": True}, 202)

    def _no_source(self, name: str) -> Response:
        known = ", ".join(self._board.sources()) or "none yet"
        return refuse(404, f"no source {name!r:.60}; there is {known}")


def _taken(lines: Any) -> Iterator[str]:
    while lines:
        yield lines.popleft()


def read_command(body: bytes) -> StartCommand:
    """Read the body of a POST to `/start`.

    Raises:
        RequestError: It is no command.
    """
    try:
        data = json.loads(body)
        place = {key: tuple(float(v) for v in data[key]) for key in ("box", "point") if key in data}
        sizes = {"box": 4, "point": 2}
        if any(len(values) != sizes[key] for key, values in place.items()):
            raise ValueError
        return StartCommand(
            str(data["source"]),
            str(data["task"]),
            place.get("box"),  # type: ignore[arg-type]
            place.get("point"),  # type: ignore[arg-type]
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError):
        raise RequestError(
            "start: expected JSON with source, task, and box [left, top, width, height] or "
            "point [x, y] in the source's pixels"
        ) from None


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
