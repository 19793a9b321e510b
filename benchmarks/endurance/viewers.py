"""What ten viewers of the live view cost the tracker, one of whom never reads."""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ...evaluation.synthetic.files import write_scene
from ...evaluation.synthetic.scene import Scene, SceneConfig
from ...heads.config import MotConfig
from ...runtime.events import SourceEvent
from ...runtime.server.launch import LiveRequest, open_live
from ...tracking.config import RunConfig, SourceConfig, TrackConfig
from ...tracking.session import track
from ..script import Result, Script
from ..timing import limit_threads

FRAMES = 120
SIZE_HW = 288, 512
TARGET = 0.95

# Viewers are programs of their own, as browsers are.
READERS = """
import sys, threading, time, urllib.request
def read(path):
    try:
        with urllib.request.urlopen(sys.argv[1] + path, timeout=10) as answer:
            while answer.read1(65536):
                pass
    except OSError:
        pass
for number in range(9):
    path = "tracks" if number % 3 == 2 else "stream/" + sys.argv[2]
    threading.Thread(target=read, args=(path,), daemon=True).start()
print("reading", flush=True)
time.sleep(600)
"""


@contextmanager
def ten_viewers(url: str, source: str) -> Iterator[None]:
    """Nine that read, and one that asked and never reads."""
    place = urlsplit(url)
    request = f"GET /stream/{source} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n"
    with socket.create_connection((place.hostname or "", place.port or 0)) as dead:
        dead.sendall(request.encode())
        readers = subprocess.Popen(
            [sys.executable, "-c", READERS, url, source], stdout=subprocess.PIPE
        )
        try:
            if readers.stdout is not None:
                readers.stdout.readline()
            time.sleep(0.5)
            yield
        finally:
            readers.kill()
            readers.communicate()


def frames_per_second(config: TrackConfig, *, watched: bool) -> float:
    """Of one run, with a live view, watched or not."""
    with open_live(LiveRequest(serve="0"), print) as live:
        if not watched:
            return float(track(config, listeners=live.listeners).data["fps"])
        # The page of a source is there once it was opened: viewers come before the first frame.
        for listener in live.listeners:
            listener.on_source(SourceEvent("clip", "opened", ""))
        with ten_viewers(live.url or "", "clip"):
            return float(track(config, listeners=live.listeners).data["fps"])


script = Script(__doc__, rounds=8, saves=True)
script.add_argument("--bundle", type=Path, required=True)


@script.does
def main(options: argparse.Namespace) -> Result:
    """Measure in turns; a complaint where viewers cost more than they may."""
    limit_threads(1)
    pairs: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        scene = Scene(SceneConfig(frames=FRAMES, height=SIZE_HW[0], width=SIZE_HW[1]))
        files = write_scene(scene, Path(name) / "clip")
        config = TrackConfig(
            (SourceConfig(str(files.source), detections=files.detections),),
            (MotConfig(height=SIZE_HW[0], width=SIZE_HW[1]),),
            RunConfig(bundle=options.bundle, output=Path(name) / "run", threads=1, overwrite=True),
        )
        for number in range(options.rounds + 1):
            order = (False, True) if number % 2 else (True, False)
            fps = {watched: frames_per_second(config, watched=watched) for watched in order}
            if number:
                pairs.append((fps[False], fps[True]))
    ratio = statistics.median(watched / alone for alone, watched in pairs)
    lines = [f"alone {alone:6.2f} FPS, ten viewers {watched:6.2f} FPS" for alone, watched in pairs]
    lines.append(f"median of the ratios: {ratio:.3f} (target {TARGET})")
    complaint = "" if ratio >= TARGET else f"viewers cost more than the target of {TARGET}"
    return Result("viewers", lines, {"fps": pairs, "ratio": ratio}, complaint)
