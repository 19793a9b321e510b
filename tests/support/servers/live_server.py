"""A live view without a run, and clients of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import urllib.error
import urllib.request
from urllib.parse import urlencode, urlsplit

from unitrack_edge.runtime.server.auth import Address, Tokens

HERE = Address("127.0.0.1", 0)
TOKEN = "correct horse battery"
VIEWER_TOKEN = "only to look at"


@contextlib.contextmanager
def serving(commands=None, address=HERE, token=None, viewer_token=None, after_s=30.0, **options):
    """The hub and the URL of a server."""
    # Here, because the extra `serve` may be missing.
    from unitrack_edge.runtime.server.app import LiveServer
    from unitrack_edge.runtime.server.hub import LiveHub

    tokens = Tokens(token, viewer_token)
    with LiveHub(after_s) as hub, LiveServer(hub, commands, address, tokens, **options) as server:
        yield hub, server.url


def get(url, context=None, **headers):
    """Status, headers and body."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def post(url, data, **headers):
    """Status and body, of JSON."""
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def bearer(token):
    """The header of a program that has a token."""
    return {"Authorization": f"Bearer {token}"}


def log_in(url, token, context=None):
    """The cookie that a browser gets for a token, with its attributes."""
    place = urlsplit(url)
    if context is None:
        connection = http.client.HTTPConnection(place.netloc, timeout=10)
    else:
        connection = http.client.HTTPSConnection(place.netloc, timeout=10, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/?" + urlencode({"token": token}))
        answer = connection.getresponse()
        assert (answer.status, answer.headers["location"]) == (303, "/")
        return answer.headers["set-cookie"]


class Client:
    """A connection that sends what it is told; a context manager.

    Args:
        url: Of the server.
        text: Sent at once.
        address: Of this machine, that it comes from.
    """

    def __init__(self, url, text=b"", address="127.0.0.1"):
        place = urlsplit(url)
        self.socket = socket.create_connection(
            (place.hostname, place.port), timeout=10, source_address=(address, 0)
        )
        self.send(text)

    def send(self, text):
        """False where the server has ended the connection."""
        try:
            self.socket.sendall(text)
        except OSError:
            return False
        return True

    def status(self):
        """Of the answer; None where the connection ends without one."""
        with contextlib.suppress(OSError):
            line = self.socket.makefile("rb").readline()
            return int(line.split()[1]) if line else None
        return None

    def is_open(self):
        """Whether the server has not ended it."""
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.socket.settimeout(10)

    def is_ended(self):
        """Whether the server has ended it, whatever it had sent before."""
        self.socket.setblocking(False)
        try:
            while self.socket.recv(4096):
                pass
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.socket.settimeout(10)
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def request(path="state", token=None, **headers):
    """The bytes of a GET."""
    lines = [f"GET /{path} HTTP/1.1", "Host: localhost"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()
