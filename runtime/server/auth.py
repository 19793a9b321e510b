"""Where the live server listens, who may look, and what is answered to all others."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...errors import RequestError

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp


TOKEN_VARIABLE = "UNITRACK_TOKEN"


DEFAULT_HOST = "127.0.0.1"


_ADDRESS = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[\w.-]+):)?(\d{1,5})")


_MIN_TOKEN = 8


_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen.

    Attributes:
        host: An address or a name, without brackets.
        port: 0 takes any free one.
    """

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read `--serve`.

    Args:
        text: `PORT`, `HOST:PORT` or `[IPv6]:PORT`; without a host, this machine alone.

    Raises:
        RequestError: Something else.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        raise RequestError(f"--serve {text}: expected PORT or HOST:PORT, such as 8080")
    return Address((match[1] or DEFAULT_HOST).strip("[]"), int(match[2]))


def token_for(address: Address, token: str | None) -> str | None:
    """The token that an address asks for.

    Args:
        address: Where to listen.
        token: Of `--serve-token`; None: what the variable UNITRACK_TOKEN says.

    Returns:
        The token; None where everybody on this machine may look.

    Raises:
        RequestError: The address can be reached from elsewhere and there is no token, or it is
            too short.
    """
    token = os.environ.get(TOKEN_VARIABLE) if token is None else token
    if not token:
        if address.is_loopback:
            return None
        raise RequestError(
            f"--serve {address} can be reached from other machines: give --serve-token TOKEN (or "
            f"the variable {TOKEN_VARIABLE}), or serve this machine alone with --serve "
            f"{address.port}"
        )
    if len(token) < _MIN_TOKEN or not (token.isascii() and token.isprintable()):
        raise RequestError(
            f"--serve-token: got {len(token)} characters, expected {_MIN_TOKEN} printable ASCII "
            "ones or more"
        )
    return token


class Access:
    """Decides about requests.

    Args:
        address: Where the server listens.
        token: As `token_for` gives it.
    """

    def __init__(self, address: Address, token: str | None) -> None:
        self._address = address
        self._token = token
        # The token itself does not lie about in a browser.
        self._cookie_value = hashlib.sha256((token or "").encode()).hexdigest()
        self._cookie_name = f"unitrack_{address.port}"

    @property
    def cookie(self) -> tuple[str, str]:
        """Name and value of the cookie of those who gave the token."""
        return self._cookie_name, self._cookie_value

    def knows(self, headers: Mapping[str, str], query_token: str | None) -> bool:
        """Whether a request comes with the token, or needs none.

        Args:
            headers: By lower-case name.
            query_token: `token` of the query.
        """
        if self._token is None:
            return True
        given = query_token
        authorization = headers.get("authorization", "")
        if authorization.lower().startswith(_BEARER):
            given = authorization[len(_BEARER) :].strip()
        if given is not None:
            return secrets.compare_digest(given.encode(), self._token.encode())
        cookie = _cookies(headers.get("cookie", "")).get(self._cookie_name, "")
        return secrets.compare_digest(cookie.encode(), self._cookie_value.encode())

    def is_asked_by_name(self, headers: Mapping[str, str]) -> bool:
        """Whether the Host header names this machine, where no token protects the server.

        A page elsewhere can make its own name mean 127.0.0.1 and then read what is served here.
        """
        if self._token is not None:
            return True
        try:
            host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        except ValueError:
            return False
        return host == self._address.host or Address(host, 0).is_loopback


def is_from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Whether a browser sends this for a page that came from another server."""
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc != headers.get("host")
    except ValueError:
        return True


def _cookies(text: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(text).items()}
    except CookieError:
        return {}


_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]


class Gate:
    """Lets through who may look."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.datastructures import QueryParams

        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        token = QueryParams(scope["query_string"]).get("token")
        refusal = None
        if not self._access.is_asked_by_name(headers):
            refusal = refuse(403, "this server answers to localhost only")
        elif not self._access.knows(headers, token):
            refusal = refuse(401, "a token is needed: open http://HOST:PORT/?token=TOKEN")
        elif scope["method"] == "POST" and is_foreign(headers):
            refusal = refuse(403, "expected JSON, sent by this server's own page or a program")

        async def send_safely(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await (refusal or self._app)(scope, receive, send_safely)


def is_foreign(headers: dict[str, str]) -> bool:
    """Whether another server's page may have made a browser send this."""
    # A browser asks before it sends JSON to another server, and is told no.
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    return kind != "application/json" or is_from_elsewhere(headers)


def refuse(status: int, text: str) -> Response:
    """An answer that says in one line why not."""
    from starlette.responses import JSONResponse

    return JSONResponse({"error": text}, status)
