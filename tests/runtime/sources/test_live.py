"""Cameras and streams: the newest frame, honest counting, a clean stop."""

import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import SourceError
from unitrack_edge.runtime.sources import gstreamer
from unitrack_edge.runtime.sources import live as live_source
from unitrack_edge.runtime.sources import live as live_sources
from unitrack_edge.runtime.sources import reconnect as reconnection
from unitrack_edge.runtime.sources.base import LiveOptions
from unitrack_edge.runtime.sources.live import LiveSource, open_camera, open_stream
from unitrack_edge.runtime.sources.open import open_source
from unitrack_edge.runtime.sources.reconnect import Timeouts

from ...support.command_line import report_of, run_cli
from ...support.servers.http_server import TestServer

WAIT_S = 5.0


class FakeCapture:
    """Gives one frame for each one that the test allows; frame n has the value n."""

    def __init__(self, fps=30.0, shape=(4, 6, 3), first=0):
        self.fps = fps
        self.shape = shape
        self.reads = 0
        self.first = first
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
                return None
            image = np.full(self.shape, self.first + self.given, np.uint8)
            self.given += 1
            return image

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

    def release(self):
        self.released = True


@pytest.fixture
def capture(monkeypatch):
    monkeypatch.setattr(reconnection, "_JOIN_S", 0.05)  # most tests leave a read under way
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
        for moment in (100.03125, 100.0625, 100.125):
            now[0] = moment
            capture.give(1)
        frame = next(source)
        assert (frame.index, frame.time_s, frame.image[0, 0, 0]) == (3, 0.125, 3)
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
    monkeypatch.setattr(reconnection, "_RETRY_S", 0.0)
    with camera(capture) as source:
        next(source)
        capture.give(2)
        capture.end()
        assert [frame.index for frame in source] == [2]
        assert source.ended_early == "camera0 ended after frame 2: no more frames came"
        assert list(source) == []
    assert capture.released


def test_single_failed_reads_are_borne(capture, monkeypatch):
    monkeypatch.setattr(reconnection, "_RETRY_S", 0.0)
    monkeypatch.setattr(live_source, "_RETRY_S", 0.0)
    real, failures = capture.read, iter([True, True, False])
    monkeypatch.setattr(capture, "read", lambda: None if next(failures, False) else real())
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


def test_change_of_size_goes_on_in_the_first_size(capture):
    told = []
    with camera(capture, notify=lambda *what: told.append(what)) as source:
        next(source)
        capture.shape = (8, 12, 3)
        capture.give(1)
        frame = next(source)
        assert (frame.index, frame.size_hw, frame.image[0, 0, 0]) == (1, (4, 6), 1)
        capture.shape = (4, 4, 3)  # of another shape: padded at the sides, nothing is stretched
        capture.give(1)
        image = next(source).image
        assert (image[:, 1:5] == 2).all()
        assert (image[:, [0, 5]] > 100).all()
        capture.give(1)
        next(source)
    assert [kind for kind, _ in told] == ["changed", "changed"]
    assert told[0][1] == (
        "changes size at frame 1 from 6x4 to 12x8 (width x height); scaled to 6x4 from here on"
    )


# Connections that fail.


class Device:
    """Opens one fake capture after the other; the test says when it can be opened."""

    def __init__(self, *captures):
        self.captures = list(captures)
        self.attempts = 0
        self.there = threading.Event()
        self.tried = threading.Event()

    def reopen(self):
        self.attempts += 1
        self.tried.set()
        return self.captures.pop(0) if self.there.is_set() and self.captures else None


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(reconnection, "_RETRY_S", 0.0)
    monkeypatch.setattr(reconnection, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(reconnection, "_GRACE_S", 0.0)


@pytest.mark.usefixtures("quick")
def test_a_lost_device_is_opened_again_and_numbers_go_on(capture):
    second = FakeCapture(first=100)
    device, told, now = Device(second), [], [50.0]
    options = {"reopen": device.reopen, "notify": lambda *what: told.append(what)}
    with camera(capture, clock=lambda: now[0], **options) as source:
        next(source)
        now[0] = 50.0 + 1 / 30
        capture.give(1)
        assert next(source).index == 1
        capture.end()
        assert device.tried.wait(WAIT_S)
        assert not source.ready()
        now[0] = 60.0 + 1 / 30  # ten seconds at 30 frames a second
        device.there.set()
        frame = next(source)
        assert (frame.index, frame.image[0, 0, 0]) == (301, 100)
        assert frame.time_s == pytest.approx(10 + 1 / 30)
        now[0] += 1 / 30
        second.give(1)
        assert next(source).index == 302
        second.end()
    assert device.attempts >= 2
    assert [kind for kind, _ in told][:2] == ["lost", "returned"]
    assert told[0][1].startswith("no more frames came; reconnecting")
    assert told[1][1].startswith("back after ")
    assert source.dropped == 0
    assert capture.released


@pytest.mark.usefixtures("quick")
def test_a_frozen_device_is_left_alone_and_opened_anew(capture):
    second = FakeCapture(first=100)
    device, told = Device(second), []
    device.there.set()
    timeouts = Timeouts(freeze_s=0.1)
    options = {"reopen": device.reopen, "notify": lambda *what: told.append(what)}
    with camera(capture, timeouts=timeouts, **options) as source:
        next(source)
        frame = next(source)  # the read of the first capture never comes back
        assert frame.image[0, 0, 0] == 100
        assert not capture.released
        with capture.changed:
            capture.allowed += 1  # late, of a connection that no longer counts
            capture.changed.notify_all()
        ended = time.monotonic() + WAIT_S
        while not capture.released and time.monotonic() < ended:
            time.sleep(0.005)
        assert capture.released
        assert not source.ready()
        second.end()
    assert told[0][0] == "lost"
    assert "no frame for 0.1 s" in told[0][1]


@pytest.mark.usefixtures("quick")
def test_patience_ends(capture):
    device = Device()
    timeouts = Timeouts(give_up_s=0.15)
    with camera(capture, reopen=device.reopen, timeouts=timeouts) as source:
        next(source)
        started = time.monotonic()
        capture.end()
        assert list(source) == []
        assert 0.1 < time.monotonic() - started < WAIT_S
    assert source.ended_early == "camera0 ended after frame 0: no frame for 0.15 s (--give-up)"
    assert device.attempts >= 3
    assert source.ready()  # with the end


@pytest.mark.usefixtures("quick")
def test_no_patience_at_all(capture):
    device = Device()
    with camera(capture, reopen=device.reopen, timeouts=Timeouts(give_up_s=0.0)) as source:
        next(source)
        capture.end()
        assert list(source) == []
    assert source.ended_early == "camera0 ended after frame 0: no more frames came"
    assert device.attempts == 0


@pytest.mark.usefixtures("quick")
def test_a_source_that_reconnects_is_closed_at_once(capture):
    device = Device()
    with camera(capture, reopen=device.reopen) as source:
        next(source)
        capture.end()
        assert device.tried.wait(WAIT_S)
        started = time.monotonic()
    assert time.monotonic() - started < 1
    assert list(source) == []
    assert source.ended_early is None


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("closed_s", [0.0, 0.01, 0.03])
def test_a_source_is_closed_while_a_new_connection_begins_to_read(capture, monkeypatch, closed_s):
    """The thread of the new connection is slow to start: nobody waits for one that has not."""
    starting, second = threading.Event(), FakeCapture(first=100)
    start = reconnection._Reader.start

    def slow(reader):
        if reader._capture is second:
            starting.set()
            time.sleep(0.02)
        start(reader)

    monkeypatch.setattr(reconnection._Reader, "start", slow)
    source = camera(capture, reopen=lambda: second)
    next(source)
    capture.end()
    assert starting.wait(WAIT_S)
    time.sleep(closed_s)
    source.close()
    second.end()
    ended = time.monotonic() + WAIT_S
    while not second.released and time.monotonic() < ended:
        time.sleep(0.005)
    assert second.released
    assert list(source) == []


def test_close_stops_the_thread_and_frees_the_device(capture, monkeypatch):
    monkeypatch.setattr(reconnection, "_JOIN_S", WAIT_S)
    source = camera(capture)
    next(source)
    threading.Timer(0.05, capture.end).start()  # the read under way returns
    source.close()
    assert not [t for t in threading.enumerate() if t.name in ("grabber", "watchdog")]
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
    ended = time.monotonic() + WAIT_S
    while not capture.released and time.monotonic() < ended:
        time.sleep(0.005)
    assert capture.released


def test_camera_without_a_picture(capture, monkeypatch):
    monkeypatch.setattr(live_source, "_RETRY_S", 0.0)
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
            size_hw = (48, 64) if number < self.server.small else (72, 96)
            image = np.full((*size_hw, 3), min(2 * number, 255), np.uint8)
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
    server = TestServer(("127.0.0.1", 0), MotionJpeg)
    server.closing = threading.Event()
    server.count = server.small = 2000
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


def test_stream_that_changes_size(server):
    server.small = 20
    told = []
    options = LiveOptions(notify=lambda *what: told.append(what))
    with open_source(f"http://127.0.0.1:{server.server_port}/live", options=options) as source:
        while not told:
            assert next(source).size_hw == (48, 64)
        assert next(source).size_hw == (48, 64)
    ((kind, message),) = told
    assert kind == "changed"
    assert message.endswith("from 64x48 to 96x72 (width x height); scaled to 64x48 from here on")


def test_stream_that_ends(server):
    server.count = 30
    options = LiveOptions(give_up_s=0.0)
    with open_source(f"http://127.0.0.1:{server.server_port}/live", options=options) as source:
        indices = [frame.index for frame in source]
        assert indices == sorted(set(indices))
        assert "no more frames came" in (source.ended_early or "")


def track_stream(server, bundle, output, *words, status=0):
    url = f"http://me:hunter2@127.0.0.1:{server.server_port}/live?key=hidden"
    words = (*words, "--task", "mot", "--detector", "motion", "--bundle", bundle.path)
    sizes = ("--mot-height", 48, "--mot-width", 64)
    return run_cli("track", url, *words, *sizes, "--output", output, status=status)


def test_a_run_on_a_stream_writes_and_prints_no_password(server, lite_bundle, tmp_path):
    said = track_stream(server, lite_bundle, tmp_path / "out", "--max-frames", 5)
    written = [path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) == 2
    for text in (said, *written):
        assert "hunter2" not in text
        assert "hidden" not in text
    assert report_of(tmp_path / "out")["source"]["outages"] == 0


def test_a_stream_that_dies_leaves_the_other_source_running(server, lite_bundle, tmp_path):
    server.count = 40
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(30):
        cv2.imwrite(str(frames / f"{number}.png"), np.full((48, 64, 3), number, np.uint8))
    words = (frames, "--give-up", 0, "--realtime", "--save-video")
    message = track_stream(server, lite_bundle, tmp_path / "out", *words, status=1)
    assert "1 of 2 sources" in message
    assert "no more frames came" in message
    assert "hunter2" not in message
    common = report_of(tmp_path / "out")["sources"]
    assert set(common) == {"live", "frames"}
    assert common["live"]["ended_early"]
    assert common["frames"]["ended_early"] is None
    for name in common:
        report = report_of(tmp_path / "out" / name)
        assert report["frames"] == common[name]["frames"] > 0
        assert (tmp_path / "out" / name / "video.mp4").exists()


def test_stream_that_is_not_there_tells_no_password():
    with pytest.raises(SourceError, match="no stream there") as caught:
        open_stream("http://me:secret@127.0.0.1:9/live?token=hidden")
    text = str(caught.value)
    assert "secret" not in text
    assert "hidden" not in text
    assert "\n" not in text


# GStreamer.


class FakeVideoCapture(FakeCapture):
    """What OpenCV makes of it."""

    opened = True

    def read(self):
        image = super().read()
        return image is not None, image

    def get(self, prop):
        return self.fps if prop == cv2.CAP_PROP_FPS else 0.0

    def isOpened(self):  # noqa: N802 OpenCV's name
        return self.opened


@pytest.fixture
def pipelines(monkeypatch):
    """What was asked of an OpenCV that has GStreamer."""
    asked, made = [], []

    def open_capture(pipeline, api):
        asked.append((pipeline, api))
        fake = FakeVideoCapture()
        fake.opened = "nosuch" not in pipeline
        fake.allowed = 50
        made.append(fake)
        return fake

    monkeypatch.setattr(gstreamer.cv2.videoio_registry, "hasBackend", lambda _api: True)
    monkeypatch.setattr(gstreamer.cv2, "VideoCapture", open_capture)
    monkeypatch.setattr(reconnection, "_JOIN_S", 0.05)
    yield asked
    for fake in made:
        fake.end()


def test_csi_camera(pipelines):
    with open_source("csi1") as source:
        assert (source.info.name, source.info.kind, source.info.live) == ("csi1", "camera", True)
        assert next(source).size_hw == (4, 6)
    ((pipeline, api),) = pipelines
    assert api == cv2.CAP_GSTREAMER
    assert pipeline.startswith("nvarguscamerasrc sensor-id=1 ! ")
    assert pipeline.endswith("appsink drop=true max-buffers=1 sync=false")


@pytest.mark.parametrize(
    ("given", "added"),
    [("videotestsrc", True), ("videotestsrc ! ", True), ("videotestsrc ! appsink", False)],
)
def test_pipeline_of_the_users_own(pipelines, given, added):
    with open_source(f"gst:{given}") as source:
        assert source.info.kind == "stream"
    pipeline = pipelines[0][0]
    assert pipeline.startswith("videotestsrc ! ")
    assert pipeline.count("! appsink") == 1
    assert ("format=BGR" in pipeline) == added


@pytest.mark.usefixtures("pipelines")
def test_pipeline_that_gstreamer_refuses_tells_no_password():
    text = "gst:nosuch location=rtsp://me:secret@host/live?key=hidden user-pw=alsosecret ! fake"
    with pytest.raises(SourceError, match="GStreamer refuses the pipeline") as caught:
        open_source(text)
    assert not {"secret", "hidden", "alsosecret"} & set(str(caught.value).replace("=", " ").split())
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("text", ["csi0", "gst:videotestsrc"])
def test_opencv_without_gstreamer_says_so(text):
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(SourceError, match="needs an OpenCV with GStreamer") as caught:
        open_source(text)
    assert "python3-opencv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_pipeline():
    with pytest.raises(SourceError, match="without a pipeline"):
        open_source("gst: ")
