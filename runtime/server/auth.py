"""Where the live server listens, and who may use it."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Literal
from urllib.parse import urlsplit

from ...errors import RequestError, SourceError
from ..sources.redact import token_of
from .allowance import Allowance

Role = Literal["operator", "viewer"]
OPERATOR: Role = "operator"
VIEWER: Role = "viewer"

TOKEN_VARIABLE = "UNITRACK_TOKEN"
VIEWER_TOKEN_VARIABLE = "UNITRACK_VIEWER_TOKEN"
DEFAULT_HOST = "127.0.0.1"

_ADDRESS = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[\w.-]+):)?(\d{1,5})")
_MIN_TOKEN_LENGTH = 8
_BEARER = "bearer "
_ATTEMPTS = 20  # wrong tokens of an address at once …
_ATTEMPTS_PER_S = 0.1  # … and then in a second


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
    """Read the value of `--serve`.

    Args:
        text: `PORT`, `HOST:PORT` or `[IPv6]:PORT`; without a host: 127.0.0.1.

    Raises:
        RequestError: Anything else.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        raise RequestError(f"--serve {text}: expected PORT or HOST:PORT, such as 8080")
    return Address((match[1] or DEFAULT_HOST).strip("[]"), int(match[2]))


@dataclass(frozen=True, slots=True)
class Tokens:
    """What requests must contain; `operator` None: everybody on this machine may do everything.

    Attributes:
        operator: Looks, and starts tracks.
        viewer: Looks.
    """

    operator: str | None = None
    viewer: str | None = None

    def check(self, address: Address) -> None:
        """Check that they suffice for an address.

        Raises:
            RequestError: It can be reached from other machines and there is no token, or a token
                is too short, or there is nothing that the viewer's token could not do.
        """
        if self.operator is not None:
            _check_token("--serve-token", self.operator)
        if self.viewer is not None:
            _check_token("--serve-viewer-token", self.viewer)
            if self.operator is None:
                raise RequestError(
                    "--serve-viewer-token lets its holders look and no more: give --serve-token "
                    f"TOKEN (or set {TOKEN_VARIABLE}) for those who may start tracks"
                )
            if self.viewer == self.operator:
                raise RequestError("--serve-token and --serve-viewer-token are the same: give two")
        if self.operator is None and not address.is_loopback:
            raise RequestError(
                f"--serve {address} can be reached from other machines: give --serve-token TOKEN "
                f"(or set {TOKEN_VARIABLE}), or serve this machine alone with "
                f"--serve {address.port}"
            )


def tokens_for(address: Address, token: str | None, viewer_token: str | None = None) -> Tokens:
    """The tokens of an address.

    Args:
        address: Where to listen.
        token: Of `--serve-token`; None: the value of the variable UNITRACK_TOKEN. Either may name
            a secret, as `redact.token_of` has it.
        viewer_token: Of `--serve-viewer-token`; None: the value of UNITRACK_VIEWER_TOKEN.

    Raises:
        RequestError: See `Tokens.check`; or there is no such secret.
    """
    tokens = Tokens(
        _given("--serve-token", TOKEN_VARIABLE, token),
        _given("--serve-viewer-token", VIEWER_TOKEN_VARIABLE, viewer_token),
    )
    tokens.check(address)
    return tokens


def _given(flag: str, variable: str, text: str | None) -> str | None:
    where, given = (variable, os.environ.get(variable)) if text is None else (flag, text)
    try:
        return token_of(given) if given else None
    except SourceError as error:
        raise RequestError(f"{where}: {error}") from None


def _check_token(flag: str, token: str) -> None:
    if len(token) < _MIN_TOKEN_LENGTH or not (token.isascii() and token.isprintable()):
        raise RequestError(
            f"{flag}: got {len(token)} characters, expected {_MIN_TOKEN_LENGTH} printable "
            "ASCII ones or more"
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered.

    Attributes:
        status: Of HTTP.
        reason: For people.
        retry_s: After which another attempt makes sense; None: it never does.
    """

    status: int
    reason: str
    retry_s: float | None = None


class Access:
    """Decides which requests are answered.

    A wrong token costs its address one of a few attempts; without any left, tokens of that address
    are refused unread. A browser that was let in before has a cookie that cannot be guessed, so
    that nobody who shares its address can lock it out.

    Args:
        address: Where the server listens.
        tokens: As `tokens_for` returns them.

    Attributes:
        wrong_tokens: How many were given so far.
    """

    def __init__(self, address: Address, tokens: Tokens) -> None:
        self._address = address
        self._tokens = {
            role: token
            for role, token in ((OPERATOR, tokens.operator), (VIEWER, tokens.viewer))
            if token is not None
        }
        self._cookie_name = f"unitrack_{address.port}"
        # Of this process, and unlike the hash below not to be had from a guessed token.
        self._sessions = {role: secrets.token_hex(16) for role in self._tokens}
        self._attempts = Allowance(_ATTEMPTS, _ATTEMPTS_PER_S)
        self.wrong_tokens = 0

    @property
    def is_open(self) -> bool:
        """Whether everybody on this machine may do everything."""
        return not self._tokens

    def cookie(self, role: Role) -> tuple[str, str]:
        """Name and value of the cookie of a browser that has given the token.

        The browser does not store the token, but a hash, by which it is known after a restart too,
        behind the secret of this process.
        """
        return self._cookie_name, f"{self._sessions[role]}.{_hash(self._tokens[role])}"

    def knows(self, request: bytes) -> bool:
        """Whether a request, not read any further, holds a cookie that this process has given."""
        return any(session.encode() in request for session in self._sessions.values())

    def role(
        self,
        headers: Mapping[str, str],
        query_token: str | None,
        network: str = "",
        earlier: Role | None = None,
    ) -> Role | Refusal:
        """Who has sent a request, or why nobody is believed to be.

        Args:
            headers: By lower-case name.
            query_token: `token` of the query string.
            network: Where it comes from, as `allowance.network_of` writes it.
            earlier: Who sent the last request on the same connection that was allowed.
        """
        if self.is_open:
            if self._host_allowed(headers.get("host", "")):
                return OPERATOR
            return Refusal(403, "this server answers to localhost only")
        cookie = _cookies(headers.get("cookie", "")).get(self._cookie_name, "")
        session, _, digest = cookie.rpartition(".")
        given = query_token
        authorization = headers.get("authorization", "")
        if authorization.lower().startswith(_BEARER):
            given = authorization[len(_BEARER) :].strip()
        if given is None and (role := _holder(self._sessions, session)) is not None:
            return role
        if given is None and not digest:
            return Refusal(401, "a token is needed: open /?token=TOKEN")
        believed = self._tokens
        if not self._attempts.has(network):
            # Whoever was believed before still is, and learns nothing about the other token.
            believed = {role: token for role, token in believed.items() if role == earlier}
            if not believed:
                wait = self._attempts.wait_s(network)
                return Refusal(429, f"too many wrong tokens: try again in {wait:.0f} s", wait)
        if given is not None:
            role = _holder(believed, given)
        else:
            role = _holder({role: _hash(token) for role, token in believed.items()}, digest)
        if role is None:
            self.wrong_tokens += 1
            self._attempts.take(network)
            return Refusal(401, "wrong token: open /?token=TOKEN")
        return role

    def refusal(self, role: Role, method: str, headers: Mapping[str, str]) -> Refusal | None:
        """Why a request of somebody who may look is refused; None where it is allowed.

        Args:
            role: Of the one who has sent it.
            method: `GET`, `POST` …
            headers: By lower-case name.
        """
        if method in ("GET", "HEAD"):
            return None
        if role != OPERATOR:
            return Refusal(403, "the viewer's token looks and starts nothing")
        if _may_be_cross_site(headers):
            return Refusal(403, "expected JSON, sent by this server's own page or by a program")
        return None

    def _host_allowed(self, host: str) -> bool:
        # Without a token, DNS rebinding must not work: a web page can make its own name resolve to
        # 127.0.0.1 and then read what is served here. The Host header still holds that name.
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name == self._address.host or Address(name, 0).is_loopback


def _holder(secrets_of: Mapping[Role, str], given: str) -> Role | None:
    """Whose secret it is; takes as long for a wrong one as for a right one."""
    found: Role | None = None
    for role, secret in secrets_of.items():
        if secrets.compare_digest(given.encode(), secret.encode()):
            found = role
    return found


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _may_be_cross_site(headers: Mapping[str, str]) -> bool:
    """Whether a page of another server may have made a browser send this."""
    # A browser asks (CORS preflight) before it sends JSON to another server, and is refused.
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    origin = headers.get("origin")
    try:
        other = origin is not None and urlsplit(origin).netloc != headers.get("host")
    except ValueError:
        return True
    return other or kind != "application/json"


def _cookies(text: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(text).items()}
    except CookieError:
        return {}
