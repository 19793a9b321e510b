"""Fetching, against a real server on loopback that can be told to misbehave."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from unitrack_edge.errors import ExportError
from unitrack_edge.export.backbones import download
from unitrack_edge.export.backbones.download import cache_directory, cached_path, fetch, file_sha256

from ...support.servers.http_server import TestServer

CONTENT = bytes(range(256)) * 4096  # 1 MiB, four chunks
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content` as the knobs on the server say."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        if self.path.endswith("/missing.pth"):
            return self.send_error(404)
        content, start = server.content, 0
        wanted = self.headers.get("Range")
        fits = self.headers.get("If-Range") == server.tag
        if wanted and server.ranges and fits:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.tag:
            self.send_header("ETag", server.tag)
        self.send_header("Content-Type", server.content_type)
        body = content[start:]
        if server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        breaks = server.breaks.pop(0) if server.breaks else None
        self.send_body(body[:breaks], finished=breaks is None)
        return None

    def send_body(self, body, finished):
        if self.server.gate is not None:
            self.server.gate.wait(10)
        if self.server.chunked:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
            if finished:
                self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(body)
        if not finished:
            self.close_connection = True


class Server(TestServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.tag, self.content_type = CONTENT, '"v1"', "application/octet-stream"
        self.ranges, self.chunked, self.gate = True, False, None
        self.breaks: list[int] = []  # after how many bytes the next answers break off
        self.requests: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/a/weights.pth"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def leftovers(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def ranges(server):
    return [headers.get("Range") for headers in server.requests]


def test_file_arrives_whole_and_is_kept(server, tmp_path, capsys):
    path = fetch(server.url, DIGEST[:8], tmp_path / "new" / "cache")
    assert path.read_bytes() == CONTENT
    assert path.name.endswith("-weights.pth")
    assert leftovers(path.parent) == [path.name]
    assert "weights.pth" in capsys.readouterr().err
    assert fetch(server.url, DIGEST[:8], path.parent) == path
    assert len(server.requests) == 1


def test_without_a_published_digest(server, tmp_path):
    assert file_sha256(fetch(server.url, None, tmp_path)) == DIGEST


def test_names_in_two_folders_of_a_server_do_not_meet(tmp_path):
    one, two = (cached_path(f"https://x.org/{d}/resnet50.pth", tmp_path) for d in "ab")
    assert one != two


def test_wrong_digest_is_removed_and_both_are_named(server, tmp_path):
    with pytest.raises(
        ExportError, match=rf"has sha256 {DIGEST[:8]}, expected deadbeef.*--weights"
    ):
        fetch(server.url, "deadbeef", tmp_path)
    assert leftovers(tmp_path) == []


def test_damaged_cache_is_fetched_again(server, tmp_path):
    path = fetch(server.url, DIGEST, tmp_path)
    path.write_bytes(CONTENT[:-1] + b"?")
    assert fetch(server.url, DIGEST, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_broken_transfer_goes_on_in_the_same_call(server, tmp_path):
    server.breaks = [300_000, 400_000]
    assert fetch(server.url, DIGEST, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=300000-", "bytes=700000-"]


def test_broken_transfer_goes_on_in_the_next_call(server, tmp_path):
    server.breaks = [1000] * 4
    with pytest.raises(ExportError, match=r"4000 of 1048576 bytes; run the command again"):
        fetch(server.url, DIGEST, tmp_path)
    assert len(leftovers(tmp_path)) == 2  # the part and its tag
    assert fetch(server.url, DIGEST, tmp_path).read_bytes() == CONTENT
    assert ranges(server)[-1] == "bytes=4000-"
    assert leftovers(tmp_path) == [cached_path(server.url, tmp_path).name]


def test_server_without_range_starts_again(server, tmp_path):
    server.breaks, server.ranges = [300_000], False
    assert fetch(server.url, DIGEST, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=300000-"]


def test_server_without_a_version_is_not_trusted_to_resume(server, tmp_path):
    server.breaks, server.tag = [300_000], ""
    assert fetch(server.url, DIGEST, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, None]


def test_file_that_changed_in_between_is_not_mixed(server, tmp_path):
    server.breaks = [1000] * 4
    with pytest.raises(ExportError):
        fetch(server.url, None, tmp_path)
    server.content, server.tag = CONTENT[::-1], '"v2"'
    assert fetch(server.url, None, tmp_path).read_bytes() == CONTENT[::-1]


def test_part_that_was_complete_is_finished(server, tmp_path):
    part = Path(f"{cached_path(server.url, tmp_path)}.part")
    part.write_bytes(CONTENT)
    Path(f"{part}.tag").write_text(server.tag)
    assert fetch(server.url, DIGEST, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={len(CONTENT)}-"]


def test_part_longer_than_the_file_starts_again(server, tmp_path):
    part = Path(f"{cached_path(server.url, tmp_path)}.part")
    part.write_bytes(CONTENT + b"more")
    Path(f"{part}.tag").write_text(server.tag)
    assert fetch(server.url, DIGEST, tmp_path).read_bytes() == CONTENT


def test_chunked_transfer_whole_and_broken(server, tmp_path):
    server.chunked = True
    assert fetch(server.url, DIGEST, tmp_path).read_bytes() == CONTENT
    server.tag, server.breaks = "", [1000] * 4
    with pytest.raises(ExportError, match="broke off"):
        fetch(server.url + "?2", None, tmp_path)


def test_no_such_file_names_url_and_flag(server, tmp_path):
    url = server.url.replace("weights", "missing")
    with pytest.raises(ExportError, match=rf"{url} answered 404 .*--weights PATH"):
        fetch(url, DIGEST, tmp_path)
    assert leftovers(tmp_path) == []


def test_web_page_is_not_kept(server, tmp_path):
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(ExportError, match="web page"):
        fetch(server.url, None, tmp_path)
    assert leftovers(tmp_path) == []


def test_nobody_listens(server, tmp_path):
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(ExportError, match=rf"{url}: server not reached .*refused.*--weights PATH"):
        fetch(url, None, tmp_path)


def test_silent_server(server, tmp_path):
    server.gate = threading.Event()
    with pytest.raises(ExportError, match="timed out"):
        fetch(server.url, None, tmp_path, timeout_s=0.1)
    server.gate.set()


def test_cache_folder_that_cannot_be(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="UNITRACK_CACHE"):
        fetch(server.url, None, tmp_path / "file" / "cache")


def test_full_disk(server, tmp_path, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    part = Path(f"{cached_path(server.url, tmp_path)}.part")
    real = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda self, *a, **k: real(Path("/dev/full") if self == part else self, *a, **k),
    )
    with pytest.raises(ExportError, match=r"cannot keep weights in .*No space left"):
        fetch(server.url, None, tmp_path)


def test_two_processes_at_once(server, tmp_path):
    code = (
        "import sys, pathlib; "
        "from unitrack_edge.export.backbones.download import fetch, file_sha256; "
        "print(file_sha256(fetch(sys.argv[1], None, pathlib.Path(sys.argv[2]))))"
    )
    command = [sys.executable, "-c", code, server.url, str(tmp_path)]
    workers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [worker.communicate(timeout=60)[0].strip() for worker in workers]
    assert outputs == [DIGEST, DIGEST]
    assert len(server.requests) == 1
    assert leftovers(tmp_path) == [cached_path(server.url, tmp_path).name]


def test_second_one_waits_for_the_first(server, tmp_path, monkeypatch):
    """Threads hold the lock apart too, which lets the moment of waiting be seen."""
    server.gate = threading.Event()
    waiting = threading.Event()
    wait = download._wait_for_lock
    monkeypatch.setattr(download, "_wait_for_lock", lambda file: (waiting.set(), wait(file)))
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(server.url, DIGEST, tmp_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    assert waiting.wait(20)
    server.gate.set()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert len(server.requests) == 1


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("UNITRACK_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.delenv("UNITRACK_CACHE")
    assert cache_directory() == Path.home() / ".cache" / "unitrack-edge"
