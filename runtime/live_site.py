"""What the live view answers to each request.

| | |
|---|---|
| `/` | the page |
| `/state` | every source's figures, JSON |
| `/picture/SOURCE?after=N` | the first picture after number N, JPEG; waits for it |
| `/stream/SOURCE` | the same as an endless MJPEG, for players |
| `/tracks` | every frame's tracks from now on, a line of JSON each |
| `/metrics` | Prometheus |
| `/start` (POST) | JSON `source`, `task`, and `box` (left, top, width, height) or `point` (x, y) |
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import RequestError
from .live_access import Access
from .live_board import LiveBoard, Picture
from .live_gate import Gate, refuse
from .live_page import PAGE
from .viewer_commands import Commands, StartCommand

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
            Route("/picture/{source}", self.picture),
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

    async def picture(self, request: Request) -> Response:
        from starlette.responses import Response

        source = request.path_params["source"]
        try:
            after = int(request.query_params.get("after", "0"))
            picture = await self._next_picture(source, after, _WAIT_S)
        except ValueError:
            return refuse(400, "after: expected a whole number")
        except KeyError:
            return self._no_source(source)
        if picture is None:
            return Response(status_code=204)
        height, width = picture.source_hw
        headers = {
            "X-Picture": str(picture.number),
            "X-Source-Size": f"{width}x{height}",
        }
        return Response(picture.jpeg, media_type="image/jpeg", headers=headers)

    async def _next_picture(self, source: str, after: int, seconds: float) -> Picture | None:
        """The newest picture, once it is later than number `after`; None where none came.

        Raises:
            KeyError: There is no such source.
        """
        left = seconds
        while not self._board.closed:
            picture = self._board.want(source)
            if picture is not None and picture.number > after:
                return picture
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
        return StreamingResponse(self._pictures(source), media_type=kind)

    async def _pictures(self, source: str) -> AsyncIterator[bytes]:
        # Who does not read is left waiting here, and gets the newest picture when he reads again.
        number = 0
        while not self._board.closed:
            picture = await self._next_picture(source, number, _WAIT_S)
            if picture is not None:
                number = picture.number
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                head += f"Content-Length: {len(picture.jpeg)}\r\n\r\n"
                yield head.encode() + picture.jpeg + b"\r\n"

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
