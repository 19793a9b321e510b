"""Many frames in the long mode: memory, descriptors, threads and disk must stay as they are.

Four network cameras (JPEGs over HTTP, served by a process of their own) show people who come and
go; one of them breaks off after every 500 frames, and can be reached again.  The run records in
segments with `--keep`, writes lines of JSON, and has a live view, whose page's images and tracks a
third process reads: a run that lasts for weeks, in an hour.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...errors import RequestError, UnitrackError
from ...heads.config import MotConfig
from ...records import Frame, Tracks, UInt8Array
from ...runtime.pipeline import OnFrame
from ...runtime.server.launch import LiveRequest, open_live
from ...runtime.sources.base import SourceInfo
from ...tracking.config import DetectorConfig, RunConfig, SourceConfig, TrackConfig
from ...tracking.session import track
from ..script import Result, Script, answer_of, server_url

SIZE_HW = 96, 128
CAMERAS = 4
LIVES = 500
"""Frames after which camera 0 breaks off."""

CLIP = 1500
EVERY = 1000
FEWEST = 11 * EVERY
"""Frames of a run that says something about memory."""

BOUND_KB = 500
"""Largest growth of resident memory over 10,000 frames, after the first fifth."""

KEEP_GB, SEGMENT_MINUTES = 0.02, 0.25
DISK_BOUND = 1.1
"""The recordings are at most so many times what `--keep` says: segments that are being written
come on top."""


def passers(frames: int) -> Iterator[UInt8Array]:
    """Images of a camera that stands still: people of several looks cross it, each once."""
    rng = np.random.default_rng(0)
    height, width = SIZE_HW
    ground = cv2.GaussianBlur(rng.uniform(0, 255, (height, width, 3)), (0, 0), 5)
    looks = [rng.uniform(0, 255, (7, 3, 3)).astype(np.float32) for _ in range(frames // 12 + 1)]
    clothes = [cv2.resize(look, (16, 32), interpolation=cv2.INTER_NEAREST) for look in looks]
    tops, speeds = rng.integers(5, height - 37, len(looks)), rng.uniform(2.5, 4, len(looks))
    for number in range(frames):
        image = ground + rng.normal(0, 2, ground.shape)
        for person, look in enumerate(clothes):
            walked = round((number - 12 * person) * speeds[person]) - 16
            left = walked if person % 2 else width - 16 - walked
            if -16 < left < width and walked > -16:
                shown = slice(max(0, left), min(width, left + 16))
                image[tops[person] : tops[person] + 32, shown] = look[
                    :, shown.start - left : shown.stop - left
                ]
        yield np.clip(image, 0, 255).astype(np.uint8)


class _Camera(BaseHTTPRequestHandler):
    """JPEG after JPEG, at a rate; camera 0 breaks off again and again."""

    server: _Cameras

    def do_GET(self) -> None:
        camera = int(self.path[-1])
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        begin, count = time.monotonic(), LIVES if camera == 0 else sys.maxsize
        with suppress(OSError):
            for number in range(count):
                # By the clock, so that a camera begins anywhere in the clip, and does not wait.
                moment = round(time.monotonic() * self.server.fps) + camera * CLIP // CAMERAS
                data = self.server.images[moment % CLIP]
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                time.sleep(max(0.0, begin + (number + 1) / self.server.fps - time.monotonic()))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Cameras(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, fps: float) -> None:
        super().__init__(("127.0.0.1", 0), _Camera)
        self.fps = fps
        self.images = [cv2.imencode(".jpg", image)[1].tobytes() for image in passers(CLIP)]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A run that ends leaves its connections."""


def _read(url: str) -> None:
    """Read a stream, again whenever it ends."""
    while True:
        with suppress(OSError), urllib.request.urlopen(url) as answer:
            while answer.read1(1 << 16):
                pass
        time.sleep(0.5)


@contextmanager
def _child(*arguments: str) -> Iterator[str]:
    """This module in another process while the block runs; gives its first line."""
    words = [sys.executable, "-m", __spec__.name, *arguments]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.kill()


def _serve_cameras(fps: float) -> None:
    """Until standard input ends, as it does with the process that has started this one."""
    server = _Cameras(fps)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


def _view(url: str) -> None:
    """As a browser does that shows one camera, and a program that reads the tracks."""
    name = ""
    while not name:  # no source has been opened yet
        time.sleep(0.5)
        name = next((one["source"] for one in answer_of(f"{url}state")["sources"]), "")
    for path in ("tracks", f"stream/{name}"):
        threading.Thread(target=_read, args=(url + path,), daemon=True).start()
    print(name, flush=True)
    sys.stdin.read()


@dataclass(slots=True)
class Watch:
    """Looks at this process every thousand frames, and ends the run after so many.

    Attributes:
        frames: Of all sources, at most.
        folder: Of the recordings.
        rows: Frames so far, resident kB, descriptors, threads, bytes of recordings.
    """

    frames: int
    folder: Path
    rows: list[tuple[int, ...]] = field(default_factory=list)
    _done: int = 0

    def __call__(self, _info: SourceInfo) -> OnFrame:
        """What is called with the frames of a source."""
        return self._on_frame

    def _on_frame(self, _frame: Frame, _tracks: Sequence[Tracks]) -> None:
        # Called by one thread at a time, whatever the source.
        self._done += 1
        if self._done % EVERY == 0:
            self.rows.append((self._done, *state(), _size(self.folder)))
            print(*self.rows[-1], flush=True)
        if self._done == self.frames:
            signal.raise_signal(signal.SIGTERM)


def state() -> tuple[int, int, int]:
    """Resident kB, open file descriptors, threads of this process, Python's and others."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    counts = [len(list(Path(f"/proc/self/{what}").iterdir())) for what in ("fd", "task")]
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024, counts[0], counts[1]


def _size(folder: Path) -> int:
    """Bytes of what was recorded."""
    total = 0
    for path in folder.rglob("*-[0-9]*.*"):
        with suppress(FileNotFoundError):  # removed by `--keep` at this moment
            total += path.stat().st_size
    return total


def run(bundle: Path, frames: int, fps: float, folder: Path) -> tuple[Watch, dict[str, Any]]:
    """What was seen of the process, and the run's report."""
    watch = Watch(frames, folder / "run")
    with _child("--cameras", str(fps)) as port:
        urls = [f"http://127.0.0.1:{port}/camera{number}" for number in range(CAMERAS)]
        wanted = TrackConfig(
            tuple(SourceConfig(url) for url in urls),
            (MotConfig(min_area=10.0),),
            RunConfig(
                bundle=bundle,
                output=folder / "run",
                threads=1,
                save_video=True,
                segment_minutes=SEGMENT_MINUTES,
                keep=f"{KEEP_GB}GB",
            ),
            DetectorConfig("motion"),
        )
        live = LiveRequest(serve="0", jsonl=os.devnull)
        with open_live(live, print) as outputs:
            arguments = (outputs.url or "",)
            threading.Thread(target=_look_on, args=arguments, daemon=True).start()
            report = track(wanted, watch, listeners=outputs.listeners, commands=outputs.commands)
    return watch, report.data


def _look_on(url: str) -> None:
    with _child("--view", url) as name:
        print("a viewer looks at", name, flush=True)
        threading.Event().wait()


def judge(rows: Sequence[tuple[int, ...]]) -> tuple[list[str], float, bool]:
    """Lines to print, growth in kB over 10,000 frames, and whether all else is bounded."""
    table: npt.NDArray[np.float64] = np.array(rows[len(rows) // 5 :], np.float64)
    slope = float(np.polyfit(table[:, 0], table[:, 1], 1)[0] * 10_000)
    half = len(table) // 2
    # A connection or a segment may be open at one look and not at the next.
    least, most = (table[part, 2:4].max(axis=0) for part in (slice(half), slice(half, None)))
    disk = table[:, 4].max() / 1e9
    lines = [
        f"{done:7d} frames {kb / 1024:7.1f} MB {fds:4d} files {th:3d} threads {size / 1e6:6.1f} MB "
        "recorded"
        for done, kb, fds, th, size in rows[:: max(1, len(rows) // 10)]
    ]
    lines += [
        f"memory after the first fifth: {slope:.0f} kB in 10,000 frames (bound {BOUND_KB})",
        f"most descriptors and threads, first and second half of it: {least[0]:.0f} and "
        f"{most[0]:.0f}, {least[1]:.0f} and {most[1]:.0f}",
        f"most recorded: {1e3 * disk:.1f} MB (--keep {1e3 * KEEP_GB:.0f} MB)",
    ]
    return lines, slope, bool((most <= least).all()) and disk <= DISK_BOUND * KEEP_GB


script = Script(__doc__, saves=True)
script.add_argument("--bundle", type=Path)
script.number("--frames", 200_000, "of all cameras", least=FEWEST)
script.number("--fps", 15.0, "of each camera", least=0.1)
script.number("--cameras", None, "FPS: be the cameras, and no more", least=0.1)
script.add_argument("--view", type=server_url, metavar="URL", help="be the viewer, no more")


@script.does
def main(options: argparse.Namespace) -> Result | None:
    """Track; a complaint where something grows."""
    if options.cameras is not None:
        _serve_cameras(options.cameras)
        return None
    if options.view is not None:
        _view(options.view)
        return None
    if options.bundle is None:
        raise RequestError("--bundle is needed")
    began = time.monotonic()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        watch, data = run(options.bundle, options.frames, options.fps, Path(name))
    if len(watch.rows) < FEWEST // EVERY:
        raise UnitrackError(
            f"the run ended after {len(watch.rows)} thousand frames, which say nothing of growth"
        )
    lines, slope, steady = judge(watch.rows)
    each = data["sources"].values()
    total = {key: sum(one[key] for one in each) for key in ("frames", "dropped", "outages")}
    people = sum(one["identities"] for one in each)
    elapsed_s = time.monotonic() - began
    lines.append(
        f"{total['frames']} frames tracked in {elapsed_s / 60:.0f} minutes, {total['dropped']} "
        f"dropped; {people} identities; the camera was lost {total['outages']} times"
    )
    record = {"rows": watch.rows, "slope_kb": slope, **total, "identities": people}
    grows = slope >= BOUND_KB or not steady
    complaint = "memory, descriptors, threads or the disk grow" if grows else ""
    return Result("soak", lines, record | {"elapsed_s": round(elapsed_s)}, complaint)
