"""The pages, images and streams of the live view, and the commands that it takes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from importlib.resources import files

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ...errors import RequestError
from .auth import OPERATOR
from .commands import Commands, read_command
from .hub import LiveHub, Preview
from .stats import METRICS_TYPE

_IMAGE_WAIT_S = 5.0  # how long a request waits for a newer image
_CLOSED_POLL_S = 0.5  # how often a waiting request checks whether the run is over
_MAX_BODY = 4096
_BODY_S = 5.0  # how long a command may take to arrive


class Routes:
    """Answers requests of those who may look.

    Args:
        hub: What is served.
        commands: Where viewers' commands go; None where nothing can be started.
        refused: Gives how many requests were refused so far, by reason.

    Attributes:
        app: The ASGI application, open to everybody; `role` in a request's state says who asks.
    """

    def __init__(
        self, hub: LiveHub, commands: Commands | None, refused: Callable[[], Counter[str]]
    ) -> None:
        self._hub = hub
        self._commands = commands
        self._refused = refused
        self._page = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
        self._page_policy = {"content-security-policy": page_policy(self._page)}
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
                Route("/healthz", self.health),
                Route("/healthz/{source}", self.health),
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
        return HTMLResponse(self._page, headers=self._page_policy)

    async def state(self, request: Request) -> Response:
        can_start = self._commands is not None and request.state.role == OPERATOR
        return JSONResponse({"can_start": can_start, "sources": self._hub.state()})

    async def metrics(self, _: Request) -> Response:
        text = self._hub.metrics(self._refused())
        return Response(text, headers={"content-type": METRICS_TYPE})

    async def health(self, request: Request) -> Response:
        """200 while frames come, else 503; which sources are late is for those who may look."""
        source = request.path_params.get("source")
        try:
            health = self._hub.health(source)
        except KeyError:
            return self._no_source(str(source))
        answer: dict[str, object] = {"ok": health.ok}
        if hasattr(request.state, "role"):
            answer |= {"late": health.late, "after_s": health.after_s}
        return JSONResponse(answer, 200 if health.ok else 503)

    async def image(self, request: Request) -> Response:
        source = request.path_params["source"]
        try:
            after = int(request.query_params.get("after", "0"))
        except ValueError:
            return failure(400, "after: expected a whole number")
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
                    yield lines.take()
                else:
                    await self._wait(_CLOSED_POLL_S)

    async def start(self, request: Request) -> Response:
        if self._commands is None:
            return failure(409, "this run takes no start commands: its tasks track detections")
        try:
            body = await asyncio.wait_for(_body(request), _BODY_S)
        except asyncio.TimeoutError:
            return failure(408, f"the command did not arrive within {_BODY_S:.0f} s")
        if len(body) > _MAX_BODY:
            return failure(413, f"expected at most {_MAX_BODY} bytes")
        try:
            command = read_command(body)
        except RequestError as error:
            return failure(400, str(error))
        if command.source not in self._hub.sources():
            return self._no_source(command.source)
        if command.task not in self._hub.tasks(command.source):
            return failure(409, f"{command.source}: task {command.task!r:.20} is not running")
        if not self._commands.offer(command):
            return failure(503, "too many commands are waiting: try again in a moment")
        return JSONResponse({"accepted": True}, 202)

    def _no_source(self, name: str) -> Response:
        known = ", ".join(self._hub.sources()) or "none yet"
        return failure(404, f"no source {name!r:.60}; sources: {known}")


async def _body(request: Request) -> bytes:
    """The body; what is longer than `_MAX_BODY` is not read to its end."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY:
            break
    return body


def page_policy(page: str) -> str:
    """A policy that lets a page run its own script and style, ask its own server, and no more."""
    allowed = []
    for tag in ("script", "style"):
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes = (hashlib.sha256(text.encode()).digest() for text in texts)
        sources = " ".join(f"'sha256-{base64.b64encode(h).decode()}'" for h in hashes)
        allowed.append(f"{tag}-src {sources}")
    return (
        f"default-src 'none'; {'; '.join(allowed)}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def failure(status: int, text: str) -> Response:
    """An answer in JSON that says what is wrong."""
    return JSONResponse({"error": text}, status)
