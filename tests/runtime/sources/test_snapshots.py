"""Cameras that give an image a request: asked again and again."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler

import cv2
import numpy as np
import pytest
from unitrack_edge.runtime.sources import decoder
from unitrack_edge.runtime.sources.base import LiveOptions
from unitrack_edge.runtime.sources.decoder import SnapshotCapture, open_capture
from unitrack_edge.runtime.sources.open import open_source

from ...support.servers.http_server import TestServer


class Snapshots(BaseHTTPRequestHandler):
    """The image of request n is as bright as 40 + 4 n."""

    def do_GET(self):
        server = self.server
        with server.lock:
            server.requests += 1
            number = server.requests
        if number > server.last or number in server.busy:
            self.send_error(503)
            return
        suffix = ".png" if "png" in self.path else ".jpg"
        data = cv2.imencode(suffix, np.full((48, 64, 3), 40 + 4 * number, np.uint8))[1].tobytes()
        self.send_response(200)
        self.send_header("Content-Type", f"image/{suffix[1:]}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def camera(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = TestServer(("127.0.0.1", 0), Snapshots)
    server.lock, server.requests, server.last, server.busy = threading.Lock(), 0, 10_000, set()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def number_in(image):
    return round((float(image.mean()) - 40) / 4)


@pytest.mark.parametrize("path", ["/snap.jpg", "/cgi-bin/snapshot.cgi?channel=1", "/now.png"])
def test_an_image_is_recognised_and_asked_for_again(camera, path):
    capture = open_capture(camera.url + path, 5.0)
    assert isinstance(capture, SnapshotCapture)
    first = camera.requests
    capture = SnapshotCapture(camera.url + path, 5.0, per_s=1000.0)
    numbers = [number_in(capture.read()) for _ in range(5)]
    assert numbers == [first + n for n in range(1, 6)]
    capture.release()


def test_requests_have_a_pace(camera):
    capture = SnapshotCapture(f"{camera.url}/a.jpg", 5.0, per_s=50.0)
    began = time.monotonic()
    for _ in range(6):
        assert capture.read() is not None
    assert time.monotonic() - began >= 5 / 50


def test_a_request_that_fails_gives_no_image(camera):
    camera.busy = {2, 4}
    capture = SnapshotCapture(f"{camera.url}/a.jpg", 5.0, per_s=1000.0)
    assert [capture.read() is not None for _ in range(5)] == [True, False, True, False, True]


def test_a_run_reads_it_without_reconnecting(camera, monkeypatch):
    """A request that fails is no lost camera, but one that is gone ends the run when told so."""
    monkeypatch.setattr(decoder, "SNAPSHOTS_PER_S", 100.0)
    camera.busy, camera.last = {4, 7}, 12
    told = []
    options = LiveOptions(give_up_s=0.3, notify=lambda *what: told.append(what))
    with open_source(f"{camera.url}/snap.jpg", options=options) as source:
        assert (source.info.kind, source.info.size_hw, source.info.live) == (
            "stream",
            (48, 64),
            True,
        )
        indices = [frame.index for frame in source]
    assert indices == sorted(set(indices))
    assert indices
    assert "no frame for 0.3 s (--give-up)" in (source.ended_early or "")
    assert [kind for kind, _ in told] == ["lost"]
