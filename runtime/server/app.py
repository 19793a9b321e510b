"""The live view over HTTP: `--serve [HOST:]PORT`.

Imported only when serving: Starlette and uvicorn belong to the extra `serve`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ...errors import OutputError, RequestError
from .allowance import network_of
from .auth import Access, Address, Refusal, Role, Tokens
from .commands import Commands
from .gate import Gate, Limits, Peer
from .hub import LiveHub
from .notices import Notices, OwnThreadFilter
from .routes import Routes, failure
from .tls import CertificateFiles, load_certificate

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
        routes = Routes(hub, commands, self._refused)
        config = uvicorn.Config(
            _AccessMiddleware(
                routes.app, access, self._gate, self._notices, is_secure=certificate is not None
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


async def _cancel_others() -> None:
    """End what is left in the loop, such as streams that nobody reads."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


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
        started = is_sending = False
        # Who may not look has one answer a connection; the gate counts connections.
        extra: list[tuple[bytes, bytes]] = [(b"connection", b"close")]

        async def send_with_headers(message: Any) -> None:
            nonlocal started, is_sending
            if message["type"] == "http.response.start":
                started = True
                given = {name for name, _ in message["headers"]}
                usual = [pair for pair in _HEADERS.items() if pair[0] not in given]
                message["headers"] = [*message["headers"], *usual, *extra]
            is_sending = True
            await send(message)
            is_sending = False

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
            if not is_sending:  # otherwise the client has broken the protocol
                self._notices.error(error)
            if not started:
                await failure(500, "the server failed")(scope, receive, send_with_headers)
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


def _refusal(refusal: Refusal) -> Response:
    response = failure(refusal.status, refusal.reason)
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
