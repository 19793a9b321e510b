"""The live view over HTTP: `--serve [HOST:]PORT`.

Imported only when serving: Starlette and uvicorn belong to the extra `serve`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hashlib
import logging
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
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
from .allowance import network_of
from .auth import OPERATOR, Access, Address, Refusal, Role, Tokens
from .commands import Commands, read_command
from .gate import Gate, Limits, Peer
from .hub import LiveHub, Preview
from .notices import Notices, OwnThreadFilter
from .stats import METRICS_TYPE
from .tls import CertificateFiles, load_certificate

_IMAGE_WAIT_S = 5.0  # how long a request waits for a newer image
_CLOSED_POLL_S = 0.5  # how often a waiting request checks whether the run is over
_MAX_BODY = 4096
_BODY_S = 5.0  # how long a command may take to arrive
_START_TIMEOUT_S = 10.0
_NOTICES_S = 1.0  # how often it is checked whether there is something to say …
_CERTIFICATE_S = 60.0  # … and whether the certificate was renewed
_BACKLOG = 128

_HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
}


class LiveServer:
    """Serves a hub until it is closed, and then closes the hub; a context manager.

    Args:
        hub: What is served.
        commands: Where viewers' commands go; None where nothing can be started.
        address: Where to listen.
        tokens: See `auth.tokens_for`.
        certificate: For TLS; None: without.
        limits: What connections may use; None: what suits this process.
        say: Called with a line for the log, in the server's thread.

    Attributes:
        url: Of the page, without the token.

    Raises:
        RequestError: The address needs a token and has none, or the certificate cannot be used.
        OutputError: The port is in use, or the address is not this machine's.
    """

    def __init__(
        self,
        hub: LiveHub,
        commands: Commands | None,
        address: Address,
        tokens: Tokens | None = None,
        *,
        certificate: CertificateFiles | None = None,
        limits: Limits | None = None,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._hub = hub
        self._certificate = certificate
        self._context = None if certificate is None else load_certificate(certificate)
        tokens = tokens or Tokens()
        tokens.check(address)
        listener = _listen(address)
        address = Address(address.host, listener.getsockname()[1])
        self.url = f"http{'s' if certificate else ''}://{address}/"
        access = Access(address, tokens)
        limits = limits or Limits.of_this_process()
        self._gate = Gate(
            listener,
            tls=certificate is not None,
            limits=limits,
            knows=access.knows,
            counts=not access.is_open,
        )
        self._access = access
        self._notices = Notices(say, time.monotonic)
        site = _Site(hub, commands, self._refused)
        config = uvicorn.Config(
            _AccessMiddleware(
                site.app, access, self._gate, self._notices, is_secure=certificate is not None
            ),
            http="h11",
            log_config=None,
            access_log=False,  # it would contain the token
            lifespan="off",
            ws="none",
            proxy_headers=False,  # whoever connects could give any address as its own
            backlog=_BACKLOG,
            timeout_keep_alive=int(limits.idle_s),
            timeout_graceful_shutdown=1,
            server_header=False,
        )
        config.load()
        config.ssl = self._context
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._run, name=f"live server {address}", daemon=True
        )
        self._filter = OwnThreadFilter(self._thread.name)
        for logger in ("uvicorn.error", "asyncio"):
            logging.getLogger(logger).addFilter(self._filter)
        self._thread.start()
        end = time.monotonic() + _START_TIMEOUT_S
        while not self._server.started and self._thread.is_alive() and time.monotonic() < end:
            time.sleep(0.01)

    def _run(self) -> None:
        loop = asyncio.SelectorEventLoop()
        loop.set_exception_handler(self._on_loop_error)
        try:
            loop.run_until_complete(self._serve())
        finally:
            self._gate.close()
            loop.run_until_complete(_cancel_others())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _serve(self) -> None:
        self._gate.open()
        keeper = asyncio.ensure_future(self._keep())  # until the loop ends
        await self._server.serve([self._gate.admitted])
        keeper.cancel()

    async def _keep(self) -> None:
        """Say what is to be said, and take a renewed certificate."""
        changed_at = () if self._certificate is None else self._certificate.changed_at()
        checked = time.monotonic()
        while True:
            await asyncio.sleep(_NOTICES_S)
            self._notices.refusals(self._refused(), self._gate.refused_of)
            if self._certificate is None or time.monotonic() - checked < _CERTIFICATE_S:
                continue
            checked = time.monotonic()
            now = self._certificate.changed_at()
            if now and now != changed_at:
                changed_at = now
                try:
                    load_certificate(self._certificate, self._context)
                except RequestError as error:
                    self._notices.line(f"the renewed certificate is not used: {error}")

    def _refused(self) -> Counter[str]:
        """How much was refused so far, by reason."""
        return self._gate.refused + Counter({"wrong token": self._access.wrong_tokens})

    def _on_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self._server.should_exit:
            self._notices.error(context.get("exception") or context["message"])

    def close(self) -> None:
        """Close the hub and all connections, and free the port. May be called again."""
        self._hub.close()
        self._server.should_exit = True
        self._thread.join(5)
        for logger in ("uvicorn.error", "asyncio"):
            logging.getLogger(logger).removeFilter(self._filter)

    def __enter__(self) -> LiveServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Site:
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
                    yield lines.take()
                else:
                    await self._wait(_CLOSED_POLL_S)

    async def start(self, request: Request) -> Response:
        if self._commands is None:
            return _error(409, "this run takes no start commands: its tasks track detections")
        try:
            body = await asyncio.wait_for(_body(request), _BODY_S)
        except asyncio.TimeoutError:
            return _error(408, f"the command did not arrive within {_BODY_S:.0f} s")
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


async def _cancel_others() -> None:
    """End what is left in the loop, such as streams that nobody reads."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _body(request: Request) -> bytes:
    """The body; what is longer than `_MAX_BODY` is not read to its end."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY:
            break
    return body


class _AccessMiddleware:
    """Lets through the requests that `Access` allows, and adds headers to every answer."""

    def __init__(
        self, app: ASGIApp, access: Access, gate: Gate, notices: Notices, *, is_secure: bool
    ) -> None:
        self._app = app
        self._access = access
        self._gate = gate
        self._notices = notices
        self._is_secure = is_secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = is_broken = False
        # Who may not look has one answer a connection; the gate counts connections.
        extra: list[tuple[bytes, bytes]] = [(b"connection", b"close")]

        async def send_with_headers(message: Any) -> None:
            nonlocal started, is_broken
            if message["type"] == "http.response.start":
                started = True
                given = {name for name, _ in message["headers"]}
                usual = [pair for pair in _HEADERS.items() if pair[0] not in given]
                message["headers"] = [*message["headers"], *usual, *extra]
            try:
                await send(message)
            except Exception:  # the client has broken the protocol
                is_broken = True
                raise

        request = Request(scope)
        peer: Peer = tuple(scope["client"] or ("", 0))
        query_token = request.query_params.get("token")
        role = self._role(request, peer, query_token)
        answer = self._app
        if isinstance(role, Refusal):
            if scope["path"] != "/healthz":
                answer = _refusal(role)
        else:
            extra = self._cookie(request, role)
            scope.setdefault("state", {})["role"] = role
            refusal = self._access.refusal(role, request.method, request.headers)
            if refusal is not None:
                answer = _refusal(refusal)
            elif query_token is not None and scope["path"] == "/":
                # A cookie replaces the token in the address bar, where it could be seen.
                answer = RedirectResponse("/", 303)
            self._gate.begin(peer, role)
        try:
            await answer(scope, receive, send_with_headers)
        except Exception as error:  # said in one line; the web server would print what was sent
            if not is_broken:
                self._notices.error(error)
            if not started:
                await _error(500, "the server failed")(scope, receive, send_with_headers)
        finally:
            if not isinstance(role, Refusal):
                self._gate.end(peer)

    def _role(self, request: Request, peer: Peer, query_token: str | None) -> Role | Refusal:
        earlier = self._gate.role(peer)
        return self._access.role(request.headers, query_token, network_of(peer[0]), earlier)

    def _cookie(self, request: Request, role: Role) -> list[tuple[bytes, bytes]]:
        """For a browser that has given the token, or has a cookie of an earlier run."""
        if self._access.is_open:
            return []
        name, value = self._access.cookie(role)
        in_page = "token" in request.query_params and request.url.path == "/"
        if not in_page and request.cookies.get(name, value) == value:
            return []
        response = Response()
        response.set_cookie(
            name, value, httponly=True, samesite="strict", path="/", secure=self._is_secure
        )
        return [pair for pair in response.raw_headers if pair[0] == b"set-cookie"]


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


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


def _refusal(refusal: Refusal) -> Response:
    response = _error(refusal.status, refusal.reason)
    if refusal.retry_s is not None:
        response.headers["retry-after"] = str(max(1, round(refusal.retry_s)))
    return response


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
        listener.listen(_BACKLOG)
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
