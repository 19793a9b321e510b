"""Real streams: an RTSP server that dies, freezes, comes back larger, or sends rubbish.

The server is GStreamer's, driven by the system's own Python (Debian: python3-gi,
gir1.2-gst-rtsp-server-1.0 and gstreamer1.0-plugins-ugly bring all of it). UNITRACK_SOAK and
UNITRACK_AWAY say for how many seconds the lag is measured and the server is away.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import SourceAbsentError
from unitrack_edge.heads.association.matching import AssociationConfig, Associator
from unitrack_edge.records import Detections, Tracks
from unitrack_edge.runtime.events import StopRequest
from unitrack_edge.runtime.head import Head
from unitrack_edge.runtime.pipeline import Pipeline, TaskRunner
from unitrack_edge.runtime.sources.base import LiveOptions
from unitrack_edge.runtime.sources.open import open_source

from ...support.needs import skip_without
from ..test_multi_source import FakeGraphs

FPS = 30
BITS = 32
SOAK_S = float(os.environ.get("UNITRACK_SOAK", "10"))
AWAY_S = float(os.environ.get("UNITRACK_AWAY", "3"))
SERVER = Path(__file__).parents[2] / "support" / "servers" / "rtsp_server.py"
NEEDED = """
import gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
missing = [n for n in ("x264enc", "rtph264pay", "breakmydata") if not Gst.ElementFactory.find(n)]
raise SystemExit(f"elements {missing} are missing" if missing else 0)
"""


class Server:
    """The server's process; may be started again on its port."""

    def __init__(self, python):
        self._python = python
        self._process = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"rtsp://127.0.0.1:{self._port}/live"

    def start(self, size_wh=(192, 144), damage=0.0, codec="h264"):
        words = [self._port, *size_wh, damage, codec]
        self._process = subprocess.Popen(
            [self._python, "-W", "ignore", SERVER, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout.readline() == b"serving\n"

    def signal(self, number):
        self._process.send_signal(number)

    def kill(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None


@pytest.fixture(scope="module")
def system_python():
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        skip_without("rtsp", "no system Python to run the RTSP server with")
    command = [python, "-W", "ignore", "-c", NEEDED]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    if ran.returncode:
        reason = (ran.stderr.strip().splitlines() or ["?"])[-1]
        skip_without("rtsp", f"no GStreamer RTSP server for {python}: {reason}")
    return python


@pytest.fixture
def server(system_python):
    made = Server(system_python)
    yield made
    made.kill()


def number_of(image):
    """The number that an image carries, of any size."""
    image = cv2.resize(image, (192, 144), interpolation=cv2.INTER_AREA)
    stripes = image[4:20].mean(axis=(0, 2)).reshape(BITS, 192 // BITS)[:, 1:-1].mean(axis=1)
    return int(sum(1 << bit for bit in range(BITS) if stripes[bit] > 128))


class SquareTracker(Head):
    """Tracks the bright square by its motion alone, and notes how old each result is."""

    needs_features = False

    def __init__(self, work_s=0.0, buffer_frames=30):
        config = AssociationConfig(buffer_frames=buffer_frames, confirm_at_once=True)
        self._associator = Associator(FakeGraphs(), config)
        self._work_s = work_s
        self.results = []  # (clock, age in seconds, index, ids)

    def network_hw(self, source_hw):
        return source_hw

    def reset(self):
        self._associator.reset()

    def step(self, frame, features, detections=None):
        del features, detections
        time.sleep(self._work_s)
        below = frame.image[frame.size_hw[0] // 4 :, :, 1]
        ys, xs = np.nonzero(below > 180)
        box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
        seen = Detections(box, np.ones(1, np.float32), np.zeros(1, np.int64))
        found = self._associator.step(frame.index, seen, None)
        now = time.monotonic()
        age_s = now - number_of(frame.image) / FPS
        self.results.append((now, age_s, frame.index, [t.id for t in found]))
        return Tracks(frame.index, np.array([t.id for t in found], np.int64), seen[: len(found)])


class Run:
    """A pipeline on a stream in a thread of its own."""

    def __init__(self, url, head, **options):
        self.told = []
        self.head = head
        notify = lambda kind, message: self.told.append((time.monotonic(), kind, message))  # noqa: E731
        self.source = open_source(url, options=LiveOptions(notify=notify, **options))
        self.stop = StopRequest()
        task_runner = TaskRunner("square", head, None, [])
        self.pipeline = Pipeline(self.source, FakeGraphs(), [task_runner])
        self._thread = threading.Thread(target=self.pipeline.run, args=(self.stop,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop.is_set = True
        self.source.close()
        self._thread.join()

    def wait_for_result_after(self, moment, limit_s):
        ends = time.monotonic() + limit_s
        while time.monotonic() < ends:
            for now, age_s, *_ in reversed(self.head.results):
                # Made after the moment, not only handed over after it.
                if now - age_s > moment:
                    return now
            time.sleep(0.01)
        pytest.fail(f"no frame made after the moment within {limit_s} s: {self.told}")


def ids_of(results):
    return {track for _, _, _, ids in results for track in ids}


@pytest.mark.parametrize(("codec", "run_s", "held_back"), [("jpeg", SOAK_S, 0), ("h264", 5.0, 1)])
def test_results_stay_young_however_slow_the_pipeline_is(server, codec, run_s, held_back):
    """A pipeline of 5 FPS on a stream of 30: one processing time and two frame intervals old.

    FFmpeg's parser of H.264 hands an image over when the next one begins: one interval more.
    """
    server.start(codec=codec)
    with Run(server.url, SquareTracker(0.2)) as run:
        time.sleep(run_s)
    settled = [row for row in run.head.results if row[0] > run.head.results[0][0] + 1.0]
    ages = np.array([age for _, age, _, _ in settled])
    work_s = run.pipeline.times.summary_ms()["head"]["p99"] / 1e3
    p50, p99 = np.percentile(ages, [50, 99])
    print(f"{codec}: {len(ages)} results, p50 {p50:.3f} s, p99 {p99:.3f} s, work {work_s:.3f} s")
    assert len(ages) > 0.7 * (run_s - 1.5) / (work_s + 1 / FPS)
    assert p99 < work_s + (2 + held_back) / FPS
    half = len(ages) // 2
    assert np.median(ages[half:]) < np.median(ages[:half]) + 0.5 / FPS, "it does not grow"
    # Numbers count the frames that were really made.
    clock, _, first, _ = settled[0]
    assert settled[-1][2] - first == pytest.approx((settled[-1][0] - clock) * FPS, abs=4)
    assert run.source.dropped > 15 * (run_s - 3)
    # Once settled: H.264 may begin with images that lack what they refer to.
    assert len(ids_of(settled)) == 1


@pytest.mark.alone
@pytest.mark.parametrize(("buffer_s", "kept"), [(AWAY_S + 5, True), (1, False)])
def test_a_server_that_dies_and_comes_back(server, buffer_s, kept):
    server.start()
    buffer_frames = round(buffer_s * FPS)
    with Run(server.url, SquareTracker(buffer_frames=buffer_frames)) as run:
        run.wait_for_result_after(time.monotonic(), 5)
        server.kill()
        time.sleep(AWAY_S)
        server.start()
        back = time.monotonic()
        took_s = run.wait_for_result_after(back, 6) - back
        print(f"away {AWAY_S:g} s, tracking {took_s:.2f} s after the return")
        assert took_s < 3.0
        time.sleep(0.3)
    assert [kind for _, kind, _ in run.told] == ["lost", "returned"]
    assert ids_of(run.head.results) == ({1} if kept else {1, 2})
    gap = max(np.diff([index for _, _, index, _ in run.head.results]))
    assert gap == pytest.approx((AWAY_S + 1.0) * FPS, abs=1.5 * FPS)


def test_a_stream_that_freezes_and_goes_on(server):
    server.start()
    with Run(server.url, SquareTracker(buffer_frames=600), freeze_s=1.0) as run:
        run.wait_for_result_after(time.monotonic(), 5)
        server.signal(signal.SIGSTOP)
        time.sleep(3.0)
        server.signal(signal.SIGCONT)
        back = time.monotonic()
        assert run.wait_for_result_after(back, 6) - back < 3.0
    assert "lost" in {kind for _, kind, _ in run.told}
    assert ids_of(run.head.results) == {1}


@pytest.mark.alone
def test_a_stream_that_comes_back_in_another_size(server):
    server.start()
    with Run(server.url, SquareTracker(buffer_frames=300)) as run:
        run.wait_for_result_after(time.monotonic(), 5)
        server.kill()
        server.start(size_wh=(384, 288))
        back = time.monotonic()
        assert run.wait_for_result_after(back, 6) - back < 3.0
        time.sleep(0.3)
    assert [kind for _, kind, _ in run.told] == ["lost", "returned", "changed"]
    assert "from 192x144 to 384x288" in run.told[-1][2]
    assert ids_of(run.head.results) == {1}


def opened_at_last(url, head, **options):
    """The damage is random, and where it hits the beginning, nothing can be decoded of it.

    `cli track` waits for a stream that is not there, and tries again as well.
    """
    for _ in range(5):
        with contextlib.suppress(SourceAbsentError):
            return Run(url, head, **options)
    return Run(url, head, **options)


def test_damaged_packets_do_not_end_it(server):
    server.start(damage=0.002)
    with opened_at_last(server.url, Lenient(), freeze_s=2.0) as run:
        time.sleep(4.0)
        before = len(run.head.results)
        time.sleep(2.0)
        assert len(run.head.results) > before
    assert run.source.ended_early is None


class Lenient(SquareTracker):
    """Looks at no pixel: those of a damaged stream say nothing."""

    def step(self, frame, features, detections=None):
        del features, detections
        self.results.append((time.monotonic(), 0.0, frame.index, []))
        return Tracks(frame.index, np.zeros(0, np.int64))
