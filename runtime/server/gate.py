"""Holds connections back until a whole request has arrived, so that nobody can fill the server.

Whoever connects waits here, at the cost of one descriptor and no object of the web server: at most
`Limits.waiting` at a time, for at most `Limits.header_s`; beyond that the oldest of the address
that has most of them makes room. A connection whose request is complete is let in, if there are
not too many already and its address has not made too many requests without a token.

Everything runs in the server's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import struct
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from .allowance import Allowance, is_this_machine, network_of
from .auth import Role

Peer = tuple[str, int]
"""Host and port of a client."""

_SHARE = 8  # of the descriptors that the process may have, one in so many for each kind below
_ROUND_S = 0.02  # between two looks at those who wait …
_ACCEPT_MOST = 30  # … and new ones in each: a flood costs so much of the processor, and not more
_SWEEP_S = 0.25
_EVERYBODY = ""
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)
_FRESH_S = 1.0  # a connection that was let in keeps its place at least so long
_TLS_HANDSHAKE, _TLS_RECORD_HEADER = 0x16, 5
# Closing resets the connection at once; nothing of it stays with the kernel.
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What connections may use.

    Attributes:
        waiting: Connections whose request has not arrived.
        serving: Connections that were let in.
        per_address: Of those, from one address other than this machine's.
        header_s: Seconds from connecting to a complete request that is allowed.
        idle_s: Seconds between two requests.
        header_bytes: Of a request without its body.
        burst: Unauthorised requests (without a token, or with a wrong one) of an address at once …
        per_s: … and then in a second; refused beyond that.
        total_burst: The same of all addresses together …
        total_per_s: … and in a second.
    """

    waiting: int = 128
    serving: int = 100
    per_address: int = 40
    header_s: float = 5.0
    idle_s: float = 30.0
    header_bytes: int = 16384
    burst: int = 60
    per_s: float = 5.0
    total_burst: int = 200
    total_per_s: float = 50.0

    @classmethod
    def of_this_process(cls) -> Limits:
        """Such that three quarters of the process's descriptors stay with the tracker."""
        usual = cls()
        if sys.platform == "win32":
            return usual
        import resource

        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if descriptors == resource.RLIM_INFINITY:
            return usual
        share = max(4, descriptors // _SHARE)
        return cls(waiting=min(usual.waiting, share), serving=min(usual.serving, share))


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    peer: Peer
    network: str
    deadline: float  # infinite while a request is answered
    look_at: float = float("inf")  # when it is looked at next, once a part has come …
    pause_s: float = _ROUND_S  # … after this, longer each time that something came, not all
    is_counted: bool = False  # as unauthorised, until it is known that it is not
    role: Role | None = None  # of the last request that was allowed


class _AdmittedSocket(socket.socket):
    """Says when it is closed."""

    on_close: Callable[[], None] | None = None

    def close(self) -> None:
        super().close()
        if self.on_close is not None:
            on_close, self.on_close = self.on_close, None
            on_close()


class AdmittedListener(socket.socket):
    """What the web server listens on: `accept` gives the connections that the gate let in."""

    def __init__(self) -> None:
        ours, self._bell = socket.socketpair()
        super().__init__(fileno=ours.detach())
        self._ready: deque[tuple[socket.socket, Peer]] = deque()
        self.setblocking(False)
        self._bell.setblocking(False)

    def put(self, connection: socket.socket, peer: Peer) -> None:
        """Hand over a connection."""
        if self.fileno() < 0:  # the web server has ended
            connection.close()
            return
        self._ready.append((connection, peer))
        with contextlib.suppress(BlockingIOError):  # rung already
            self._bell.send(b"\0")

    def listen(self, _backlog: int = 0, /) -> None:
        """Nothing: the gate listens."""

    def accept(self) -> tuple[socket.socket, Any]:
        """The connection that has waited longest.

        Raises:
            BlockingIOError: There is none.
        """
        if not self._ready:
            self.recv(4096)
            raise BlockingIOError
        return self._ready.popleft()

    def close(self) -> None:
        """Close everything that was not taken."""
        super().close()
        self._bell.close()
        while self._ready:
            self._ready.popleft()[0].close()


class Gate:
    """Lets connections in, and ends those that make no request in time.

    Args:
        listener: Where clients connect; closed with the gate.
        tls: Whether they must speak TLS.
        limits: What they may use.
        knows: Whether the bytes of a request hold the secret of a browser that was let in before.
        counts: Whether unauthorised requests are counted; not where everybody is allowed.

    Attributes:
        admitted: What the web server must listen on.
        refused: How many connections were refused or ended, by reason.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        tls: bool = False,
        limits: Limits | None = None,
        knows: Callable[[bytes], bool] = lambda _request: False,
        counts: bool = True,
    ) -> None:
        self._listener = listener
        self._tls = tls
        self._limits = limits or Limits.of_this_process()
        self._knows = knows
        self._counts = counts
        self._of_each = Allowance(self._limits.burst, self._limits.per_s)
        self._of_all = Allowance(self._limits.total_burst, self._limits.total_per_s)
        self._waiting: dict[_Connection, None] = {}  # the oldest first
        self._waiting_of: Counter[str] = Counter()
        self._silent = _Selector()  # those of them who have sent nothing
        self._inside: dict[Peer, _Connection] = {}
        self._closed = False
        self.admitted = AdmittedListener()
        self.refused: Counter[str] = Counter()
        self.refused_of: Counter[str] = Counter()

    # For the server.

    def open(self) -> None:
        """Begin, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._first)
        self._sweep()

    def close(self) -> None:
        """Let nobody in any more; connections inside are left to the web server."""
        self._closed = True
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for connection in list(self._waiting):
            self._drop(connection)

    def begin(self, peer: Peer, role: Role) -> None:
        """A request of this client is allowed, in this role, and is answered from now on."""
        connection = self._inside.get(peer)
        if connection is not None:
            connection.deadline = float("inf")
            connection.role = role
            if connection.is_counted:
                self._of_each.give_back(connection.network)
                self._of_all.give_back(_EVERYBODY)
            connection.is_counted = False

    def end(self, peer: Peer) -> None:
        """The request was answered."""
        connection = self._inside.get(peer)
        if connection is not None:
            # The web server ends idle connections itself; this ends half a second request.
            connection.deadline = self._loop.time() + self._limits.idle_s + self._limits.header_s

    def role(self, peer: Peer) -> Role | None:
        """Of the last request on the same connection that was allowed, if any."""
        connection = self._inside.get(peer)
        return None if connection is None else connection.role

    # In rounds while anybody waits, at which those who wait are looked at and others accepted: for
    # thousands of connections that cost less than to be called for each.

    def _first(self) -> None:
        self._loop.remove_reader(self._listener)
        self._round()

    def _round(self) -> None:
        if self._closed:
            return
        seen = 0
        try:
            while seen < _ACCEPT_MOST and self._accept():
                seen += 1
        except OSError:  # the process has no descriptors left: those of the gate are spare
            seen = _ACCEPT_MOST
            for waiting in list(self._waiting)[:_SHARE]:
                self._refuse(waiting, "no descriptors left")
        self._look_at_all()
        if self._waiting:
            self._loop.call_later(_ROUND_S, self._round)
        else:
            # After the time that so many may take, so that the rate is bounded here too.
            self._loop.call_later(_ROUND_S * seen / _ACCEPT_MOST, self._rest)

    def _rest(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener, self._first)

    def _accept(self) -> bool:
        """Take the next connection; False where there is none.

        Raises:
            OSError: The process or the system has no descriptors left.
        """
        try:
            accepted, address = self._listener.accept()
        except ConnectionAbortedError:
            return True
        except (BlockingIOError, InterruptedError):
            return False
        self._wait(accepted, (str(address[0]), int(address[1])))
        return True

    def _wait(self, accepted: socket.socket, peer: Peer) -> None:
        if len(self._waiting) >= self._limits.waiting:
            most = max(self._waiting_of.values())
            oldest = next(c for c in self._waiting if self._waiting_of[c.network] == most)
            self._refuse(oldest, "too many waiting")
        deadline = self._loop.time() + self._limits.header_s
        connection = _Connection(accepted, peer, network_of(peer[0]), deadline)
        self._waiting[connection] = None
        self._waiting_of[connection.network] += 1
        self._silent.register(accepted, selectors.EVENT_READ, connection)

    def _look_at_all(self) -> None:
        # One call for all who have sent nothing: every call lets go of the interpreter, and may
        # keep the tracker from getting it back.
        ready = [key.data for key, _ in self._silent.select(0)] if self._silent.get_map() else []
        now = self._loop.time()
        for connection in [*ready, *(c for c in self._waiting if c.look_at <= now)]:
            if connection in ready:
                self._silent.unregister(connection.socket)
                connection.socket.setblocking(False)
            self._look(connection)

    def _look(self, connection: _Connection) -> None:
        """See what a connection has sent, without taking it away from the web server."""
        try:
            data = connection.socket.recv(self._limits.header_bytes, socket.MSG_PEEK)
        except BlockingIOError:  # announced, and then not there
            self._look_later(connection)
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
        elif self._is_complete(data):
            self._admit(connection, data)
        elif len(data) >= self._limits.header_bytes:
            self._refuse(connection, "header too long", 431)
        else:
            self._look_later(connection)

    def _look_later(self, connection: _Connection) -> None:
        connection.look_at = self._loop.time() + connection.pause_s
        connection.pause_s *= 2

    def _is_complete(self, data: bytes) -> bool:
        if self._tls and data[0] == _TLS_HANDSHAKE:
            length = int.from_bytes(data[3:_TLS_RECORD_HEADER], "big")
            whole = _TLS_RECORD_HEADER + min(length, self._limits.header_bytes // 2)
            return len(data) >= whole > _TLS_RECORD_HEADER
        return b"\r\n\r\n" in data or b"\n\n" in data

    def _admit(self, connection: _Connection, data: bytes) -> None:
        if self._tls and data[0] != _TLS_HANDSHAKE:
            self._refuse(connection, "not TLS", 400)
            return
        network = connection.network
        if not self._has_room(network):
            self._refuse(connection, "too many connections", 503)
            return
        if self._counts and (self._tls or not self._knows(data)):
            if not (self._of_all.has(_EVERYBODY) and self._of_each.take(network)):
                self._refuse(connection, "too many unauthorised requests", 429)
                return
            self._of_all.take(_EVERYBODY)
            connection.is_counted = True
        self._forget(connection)
        inside = _AdmittedSocket(fileno=connection.socket.detach())
        peer = connection.peer
        connection.socket = inside
        connection.deadline = self._loop.time() + self._limits.header_s
        self._inside[peer] = connection
        inside.on_close = lambda: self._leave(connection)
        self.admitted.put(inside, peer)

    def _has_room(self, network: str) -> bool:
        if not is_this_machine(network):
            same = [c for c in self._inside.values() if c.network == network]
            if len(same) >= self._limits.per_address and not self._end_idle(same):
                return False
        inside = list(self._inside.values())
        return len(inside) < self._limits.serving or self._end_idle(inside)

    def _end_idle(self, connections: Iterable[_Connection]) -> bool:
        """End the connection that has been without a request for longest, if there is one."""
        # Those that have just been let in are about to be asked for their token.
        fresh = self._loop.time() + self._limits.header_s - _FRESH_S
        idle = [
            c
            for c in connections
            if c.deadline != float("inf") and (c.role is not None or c.deadline < fresh)
        ]
        if not idle:
            return False
        self._cut(min(idle, key=lambda c: c.deadline))
        return True

    def _leave(self, connection: _Connection) -> None:
        if self._inside.get(connection.peer) is connection:
            del self._inside[connection.peer]

    # Ending.

    def _sweep(self) -> None:
        if self._closed:
            return
        now = self._loop.time()
        for connection in [c for c in self._waiting if c.deadline < now]:
            self._refuse(connection, "no request in time")
        for connection in [c for c in self._inside.values() if c.deadline < now]:
            self._count(connection, "no request in time")
            self._cut(connection)
        self._loop.call_later(_SWEEP_S, self._sweep)

    def _count(self, connection: _Connection, reason: str) -> None:
        self.refused[reason] += 1
        if connection.network in self.refused_of or len(self.refused_of) < 1024:
            self.refused_of[connection.network] += 1

    def _refuse(self, connection: _Connection, reason: str, status: int | None = None) -> None:
        """Answer a waiting connection with a status, if any, and close it."""
        self._count(connection, reason)
        if status is not None and (not self._tls or status == 400):
            with contextlib.suppress(OSError):
                connection.socket.recv(2 * self._limits.header_bytes)  # unread, it would be a reset
                connection.socket.send(_answer(status, reason))
                self._drop(connection, reset=False)
                return
        self._drop(connection)

    def _drop(self, connection: _Connection, *, reset: bool = True) -> None:
        self._forget(connection)
        if reset:
            with contextlib.suppress(OSError):
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        connection.socket.close()

    def _forget(self, connection: _Connection) -> None:
        """Take a connection out of those that wait."""
        self._waiting.pop(connection, None)
        with contextlib.suppress(KeyError):
            self._silent.unregister(connection.socket)
        self._waiting_of[connection.network] -= 1
        if not self._waiting_of[connection.network]:
            del self._waiting_of[connection.network]

    def _cut(self, connection: _Connection) -> None:
        """End a connection that the web server has; it notices, and closes the socket."""
        connection.deadline = float("inf")
        self._leave(connection)
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)


def _answer(status: int, reason: str) -> bytes:
    phrase = HTTPStatus(status).phrase
    body = f'{{"error":"{reason}"}}'
    return (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: 10\r\nConnection: close\r\n\r\n{body}"
    ).encode()
