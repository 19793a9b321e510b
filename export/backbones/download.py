"""Fetching a weights file: resumed, checked, cached, one process at a time.

Everything is kept in one folder, `$UNITRACK_CACHE` or `~/.cache/unitrack-edge`: the finished
file, while it is under way `FILE.part`, and beside that `FILE.part.tag`, the server's name for
this version of the file, without which halves of two different files could be joined.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from ...errors import ExportError
from ...runtime.paths import cache_folder

CACHE_VARIABLE = "UNITRACK_CACHE"
_CHUNK = 1 << 18
_ATTEMPTS = 4
_BY_HAND = "get the file elsewhere and pass it with --weights PATH"


TIMEOUT_VARIABLE = "UNITRACK_ANSWER_S"
_CONNECT_S = 3.0
_ANSWER_S = 4.0
"""Seconds until a server is connected and until it begins to answer: on a machine that is offline
the error is to come at once. Between two parts of the file, `fetch`'s `timeout_s` counts."""


class DownloadError(ExportError):
    """A file could not be fetched.

    Attributes:
        reason: What happened, without what to do about it.
    """

    def __init__(self, reason: str, hint: str = _BY_HAND) -> None:
        super().__init__(f"{reason}; {hint}")
        self.reason = reason


class _BrokenOffError(Exception):
    """The connection ended before the file did; what came is kept."""

    def __init__(self, reason: str, again: bool) -> None:
        super().__init__(reason)
        self.again = again


def cache_directory() -> Path:
    """See `runtime.paths.cache_folder`."""
    return cache_folder()


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def cached_path(url: str, cache_dir: Path) -> Path:
    """Where `fetch` keeps the file of a URL: its own name behind eight digits of the URL's hash."""
    name = Path(urllib.parse.urlsplit(url).path).name or "file"
    return cache_dir / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}"


def fetch(
    url: str,
    sha256_prefix: str | None = None,
    cache_dir: Path | None = None,
    timeout_s: float = 30.0,
) -> Path:
    """The file of a URL, from the cache or from the network.

    A transfer that broke off goes on where it stopped, at once and on the next call, where the
    server can do that; else it starts again. Shows a progress bar on standard error.

    Args:
        url: http or https.
        sha256_prefix: Start of the file's hex digest, or all of it; None if none is published.
        cache_dir: Folder to keep the file in; None: `cache_directory()`.
        timeout_s: Longest silence of the server.

    Returns:
        Path of the finished file.

    Raises:
        DownloadError: server not reached, refused, broke off, or wrong digest.
        ExportError: nowhere to write.
    """
    folder = cache_directory() if cache_dir is None else cache_dir
    path = cached_path(url, folder)
    part = path.with_name(path.name + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(path.with_name(path.name + ".lock")):
            # Looked for inside the lock: another process may just have finished it.
            if not path.exists() or not _fits(file_sha256(path), sha256_prefix):
                _transfer(url, part, timeout_s)
                _check(url, part, sha256_prefix)
                _tag_file(part).unlink(missing_ok=True)
                part.replace(path)
    except OSError as error:
        raise ExportError(
            f"cannot keep weights in {folder}: {error.strerror or error}; "
            f"set {CACHE_VARIABLE} to a folder with free space, or pass --weights PATH"
        ) from error
    return path


def _fits(digest: str, prefix: str | None) -> bool:
    return prefix is None or digest.startswith(prefix.lower())


def _check(url: str, part: Path, prefix: str | None) -> None:
    digest = file_sha256(part)
    if prefix is None or _fits(digest, prefix):
        return
    _discard(part)
    raise DownloadError(
        f"{url} has sha256 {digest[: len(prefix)]}, expected {prefix}; the download was deleted",
        f"run the command again, or {_BY_HAND}",
    )


def _transfer(url: str, part: Path, timeout_s: float) -> None:
    """Fills `part`, in several requests if need be."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _attempt(url, part, timeout_s)
            return
        except _BrokenOffError as error:
            if error.again and attempt < _ATTEMPTS:
                continue
            kept = "run the command again to continue from there" if part.exists() else "try again"
            raise DownloadError(f"{url}: {error}", f"{kept}, or {_BY_HAND}") from error


def _attempt(url: str, part: Path, timeout_s: float) -> None:
    """One request, from where `part` ends if the server still has the same file."""
    start, tag = _resume_point(part)
    headers = {"Accept-Encoding": "identity", "User-Agent": "unitrack-edge"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": tag}
    connect_s, answer_s = _limits(timeout_s)
    try:
        Reach(url, connect_s).check()
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=answer_s
        )
    except urllib.error.HTTPError as error:
        _on_refusal(error, url, part, start)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise _BrokenOffError(f"server not reached ({reason})", again=False) from error
    else:
        _wait_longer(response, timeout_s)
        with response:
            _receive(response, url, part, start)


def _limits(timeout_s: float) -> tuple[float, float]:
    """Seconds to wait for a connection and for the beginning of an answer."""
    chosen = os.environ.get(TIMEOUT_VARIABLE)
    try:
        longest = float(chosen) if chosen else None
    except ValueError:
        longest = None
    if longest is not None and longest > 0:
        return longest, longest
    return min(_CONNECT_S, timeout_s), min(_ANSWER_S, timeout_s)


class Reach:
    """Sees in the background whether a server, or the proxy before it, can be reached.

    A socket's own timeout counts for each address again and does not cover the look-up of names.

    Args:
        url: Of a file on the server.
        limit_s: Seconds that this may take; None: what `fetch` allows.
    """

    def __init__(self, url: str, limit_s: float | None = None) -> None:
        self._limit_s = _limits(_CONNECT_S)[0] if limit_s is None else limit_s
        self._host, port = _first_hop(url)
        self._until = time.monotonic() + self._limit_s
        self._result: list[OSError | None] = []

        def attempt() -> None:
            try:
                socket.create_connection((self._host, port), self._limit_s).close()
                self._result.append(None)
            except (OSError, UnicodeError) as error:
                self._result.append(error if isinstance(error, OSError) else OSError(str(error)))

        self._thread = threading.Thread(target=attempt, daemon=True)
        self._thread.start()

    def settled(self, within_s: float) -> bool:
        """Whether it is known within some seconds."""
        self._thread.join(max(0.0, within_s))
        return bool(self._result)

    def check(self) -> None:
        """Wait for the end, at most to the limit.

        Raises:
            OSError: It cannot be reached.
        """
        if not self.settled(self._until - time.monotonic()):
            raise TimeoutError(f"no connection to {self._host} within {self._limit_s:g} s")
        if self._result[0] is not None:
            raise self._result[0]


def _first_hop(url: str) -> tuple[str, int]:
    """Host and port that a request for a URL connects to."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _wait_longer(response: http.client.HTTPResponse, timeout_s: float) -> None:
    """Let the parts of a file take longer than the beginning of the answer."""
    connection = getattr(getattr(response.fp, "raw", None), "_sock", None)
    if isinstance(connection, socket.socket):
        connection.settimeout(timeout_s)


def _on_refusal(error: urllib.error.HTTPError, url: str, part: Path, start: int) -> None:
    """A finished `part` is refused too, with 416: nothing is left to send."""
    size = (error.headers.get("Content-Range") or "").rpartition("/")[2]
    error.close()
    if not start or error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise DownloadError(f"{url} answered {error.code} {error.reason}") from error
    if size != str(start):
        _discard(part)
        raise _BrokenOffError("the server's file has changed", again=True) from error


def _receive(response: http.client.HTTPResponse, url: str, part: Path, start: int) -> None:
    if response.headers.get_content_type() == "text/html":
        raise DownloadError(f"{url} answered with a web page, not with a file")
    if response.status == http.client.PARTIAL_CONTENT:
        if not (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
            _discard(part)
            raise _BrokenOffError("the server sent another range than asked for", again=True)
    else:
        start = 0
        part.unlink(missing_ok=True)
        _tag_file(part).write_text(_version_tag(response), encoding="utf-8")
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    with part.open("ab") as file, _progress(url, start, total) as advance:
        done = start + _copy(response, file, advance)
    if total is not None and done != total:
        raise _BrokenOffError(f"broke off after {done} of {total} bytes", again=done > start)


def _copy(
    response: http.client.HTTPResponse, file: IO[bytes], advance: Callable[[int], None]
) -> int:
    """Copies until the server stops, for whatever reason, and returns the number of bytes."""
    done = 0
    while True:
        try:
            chunk = response.read1(_CHUNK)
        except http.client.IncompleteRead as error:
            if response.length is None:  # chunked: only this error shows that the end is missing
                raise _BrokenOffError(f"broke off after {done} bytes", again=done > 0) from error
            return done
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise _BrokenOffError(f"broke off ({reason})", again=done > 0) from error
        if not chunk:
            return done
        file.write(chunk)
        done += len(chunk)
        advance(len(chunk))


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _version_tag(response: http.client.HTTPResponse) -> str:
    """A strong ETag or the date; empty if the server gives neither."""
    tag = response.headers.get("ETag") or ""
    if tag and not tag.startswith("W/"):
        return tag
    return response.headers.get("Last-Modified") or ""


def _resume_point(part: Path) -> tuple[int, str]:
    """Bytes that are there already and the version they belong to; 0 if that is not known."""
    tag_file = _tag_file(part)
    if not part.exists() or not tag_file.exists():
        return 0, ""
    tag = tag_file.read_text(encoding="utf-8").strip()
    return (part.stat().st_size, tag) if tag else (0, "")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


@contextlib.contextmanager
def _progress(url: str, start: int, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    more = (TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, *more, console=Console(stderr=True)) as bar:
        name = Path(urllib.parse.urlsplit(url).path).name
        task = bar.add_task(name, completed=start, total=total)
        yield lambda count: bar.update(task, advance=count)


@contextlib.contextmanager
def one_at_a_time(lock_file: Path) -> Iterator[None]:
    """Holds a lock that the system lets go of when the process ends, however it ends."""
    with lock_file.open("a+b") as file:
        if not _try_lock(file):
            print("another process is fetching this file; waiting for it", file=sys.stderr)
            _wait_for_lock(file)
        yield


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _wait_for_lock(file: IO[bytes]) -> None:
        while not _try_lock(file):
            time.sleep(0.2)

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_for_lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
