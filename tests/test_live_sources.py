"""Cameras and streams: the newest frame, honest counting, a clean stop."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import SourceError
from unitrack_edge.runtime import live_sources
from unitrack_edge.runtime.live_sources import LiveSource, open_camera, open_stream
from unitrack_edge.runtime.sources import open_source

WAIT_S = 5.0


class FakeCapture:
    """Gives one frame for each one that the test allows; frame n has the value n."""

    def __init__(self, fps=30.0, shape=(4, 6, 3)):
        self.fps = fps
        self.shape = shape
        self.reads = 0
        self.given = 0
        self.allowed = 1
        self.ended = False
        self.error = None
        self.released = False
        self.changed = threading.Condition()

    def read(self):
        with self.changed:
            self.reads += 1
            self.changed.notify_all()
            self.changed.wait_for(
                lambda: self.given < self.allowed or self.ended or self.error, WAIT_S
            )
            if self.error is not None:
                raise self.error
            if self.given >= self.allowed:
                return False, None
            image = np.full(self.shape, self.given, np.uint8)
            self.given += 1
            return True, image

    def give(self, count):
        """Allows frames and returns when all of them have been stored by the grabber."""
        with self.changed:
            self.allowed += count
            self.changed.notify_all()
            # The read after the last frame begins when that frame has been stored.
            assert self.changed.wait_for(lambda: self.reads > self.allowed, WAIT_S)

    def end(self, error=None):
        with self.changed:
            self.ended, self.error = True, error
            self.changed.notify_all()

    def get(self, prop):
        return self.fps if prop == cv2.CAP_PROP_FPS else 0.0

    def release(self):
        self.released = True


@pytest.fixture
def capture(monkeypatch):
    monkeypatch.setattr(live_sources, "_JOIN_S", 0.05)  # most tests leave a read under way
    fake = FakeCapture()
    yield fake
    fake.end()


def camera(capture, **options):
    return LiveSource("camera0", "camera", capture, **options)


def test_newest_frame_and_count_of_dropped_ones(capture):
    now = [100.0]
    with camera(capture, clock=lambda: now[0]) as source:
        assert source.info.live
        assert (source.info.fps, source.info.size_hw) == (30.0, (4, 6))
        first = next(source)
        assert (first.index, first.time_s, first.image[0, 0, 0]) == (0, 0.0, 0)
        assert (source.started_s, source.dropped) == (100.0, 0)
        for moment in (101.0, 102.0, 103.5):
            now[0] = moment
            capture.give(1)
        frame = next(source)
        assert (frame.index, frame.time_s, frame.image[0, 0, 0]) == (3, 3.5, 3)
        assert source.dropped == 2
        capture.give(1)
        assert next(source).index == 4
        assert source.dropped == 2
        assert source.ended_early is None


def test_counting_begins_with_the_first_frame_handed_over(capture):
    with camera(capture) as source:
        capture.give(7)
        frame = next(source)
        assert (frame.index, frame.time_s, frame.image[0, 0, 0]) == (0, 0.0, 7)
        assert source.dropped == 0


def test_consumer_waits_for_a_frame(capture):
    with camera(capture) as source:
        next(source)
        threading.Timer(0.02, capture.give, (1,)).start()
        assert next(source).index == 1


def test_end_of_the_stream_hands_over_what_is_left(capture, monkeypatch):
    monkeypatch.setattr(live_sources, "_RETRY_S", 0.0)
    with camera(capture) as source:
        next(source)
        capture.give(2)
        capture.end()
        assert [frame.index for frame in source] == [2]
        assert source.ended_early == "camera0 ended after frame 2: no more frames came"
        assert list(source) == []
    assert capture.released


def test_single_failed_reads_are_borne(capture, monkeypatch):
    monkeypatch.setattr(live_sources, "_RETRY_S", 0.0)
    real, failures = capture.read, iter([True, True, False])
    monkeypatch.setattr(capture, "read", lambda: (False, None) if next(failures, False) else real())
    with camera(capture) as source:  # the first two reads fail
        assert next(source).index == 0
        failures = iter([True] * 5)
        capture.give(1)
        assert next(source).index == 1


def test_failure_of_the_device(capture):
    with camera(capture) as source:
        next(source)
        capture.end(cv2.error("rtsp://me:secret@host broke\nmore"))
        assert list(source) == []
        assert source.ended_early == "camera0 ended after frame 0: rtsp://***@host broke"


def test_stalled_source(capture):
    with camera(capture, stall_s=0.03) as source:
        next(source)
        capture_end = threading.Timer(0.1, capture.end)
        capture_end.start()
        assert list(source) == []
        assert source.ended_early == "camera0 ended after frame 0: no frame for 0.03 s"
        capture_end.join()


def test_change_of_size(capture):
    with camera(capture) as source:
        next(source)
        capture.shape = (8, 6, 3)
        capture.give(1)
        threading.Timer(0.05, capture.end).start()
        assert list(source) == []
        assert source.ended_early == (
            "camera0 changes size at frame 1 from 6x4 to 6x8 (width x height)"
        )


def test_close_stops_the_thread_and_frees_the_device(capture, monkeypatch):
    monkeypatch.setattr(live_sources, "_JOIN_S", WAIT_S)
    source = camera(capture)
    next(source)
    threading.Timer(0.05, capture.end).start()  # the read under way returns
    source.close()
    assert not source._thread.is_alive()
    assert capture.released
    assert list(source) == []
    assert source.ended_early is None
    source.close()


def test_close_does_not_hang_with_the_device(capture):
    source = camera(capture)
    started = time.monotonic()
    source.close()
    assert time.monotonic() - started < WAIT_S / 2
    assert not capture.released  # never while a read is under way
    capture.end()
    source._thread.join(WAIT_S)
    assert capture.released


def test_camera_without_a_picture(capture, monkeypatch):
    monkeypatch.setattr(live_sources, "_RETRY_S", 0.0)
    capture.allowed, capture.ended = 0, True
    with pytest.raises(SourceError, match="camera0: opened, but gives no frame"):
        camera(capture)
    assert capture.released


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ([], "camera97: no cameras found"),
        (["video0", "video2"], "camera97 is not there; found camera0, camera2"),
        (["video97"], "camera97 .* cannot be opened"),
    ],
)
def test_camera_that_is_not_there(monkeypatch, devices, message):
    monkeypatch.setattr(live_sources.sys, "platform", "linux")
    monkeypatch.setattr(
        live_sources, "video_devices", lambda: [Path("/dev") / name for name in devices]
    )
    with pytest.raises(SourceError, match=message):
        open_camera(97)


class MotionJpeg(BaseHTTPRequestHandler):
    """A camera as found in networks: one JPEG after the other, without end."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(self.server.count):
            image = np.full((48, 64, 3), min(2 * number, 255), np.uint8)
            data = cv2.imencode(".jpg", image)[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + data + b"\r\n")
            except OSError:
                return
            if self.server.closing.wait(0.005):
                return

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), MotionJpeg)
    server.daemon_threads = True
    server.closing = threading.Event()
    server.count = 2000
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_stream_over_http(server):
    with open_source(f"http://127.0.0.1:{server.server_port}/live") as source:
        assert (source.info.kind, source.info.size_hw) == ("stream", (48, 64))
        indices = [next(source).index for _ in range(3)]
        late = None
        while late is None or (source.dropped == 0 and len(indices) < 50):
            time.sleep(0.03)  # a slow consumer
            late = next(source)
            indices.append(late.index)
    assert indices[0] == 0
    assert indices == sorted(set(indices))
    assert source.dropped > 0
    assert late.index + 1 == source.dropped + len(indices)
    assert 0 < late.time_s < 10


def test_stream_that_ends(server):
    server.count = 30
    with open_source(f"http://127.0.0.1:{server.server_port}/live") as source:
        indices = [frame.index for frame in source]
        assert indices == sorted(set(indices))
        assert "no more frames came" in (source.ended_early or "")


def test_stream_that_is_not_there_tells_no_password():
    with pytest.raises(SourceError, match="no stream there") as caught:
        open_stream("http://me:secret@127.0.0.1:9/live?token=hidden")
    text = str(caught.value)
    assert "secret" not in text
    assert "hidden" not in text
    assert "\n" not in text
