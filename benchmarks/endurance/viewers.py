"""What ten viewers of the live view cost the tracker, one of whom never reads."""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ...errors import UnitrackError
from ...evaluation.synthetic.files import write_scene
from ...evaluation.synthetic.scene import Scene, SceneConfig
from ...heads.config import MotConfig
from ...runtime.events import SourceEvent
from ...runtime.server.launch import LiveRequest, open_live
from ...tracking.config import RunConfig, SourceConfig, TrackConfig
from ...tracking.session import track
from ..timing import limit_threads, machine, save

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure in turns, print, and fail where viewers cost more than they may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--save", action="store_true", help="keep the result")
    options = parser.parse_args(arguments)
    limit_threads(1)
    pairs: list[tuple[float, float]] = []
    try:
        with tempfile.TemporaryDirectory() as name:
            scene = Scene(SceneConfig(frames=FRAMES, height=SIZE_HW[0], width=SIZE_HW[1]))
            files = write_scene(scene, Path(name) / "clip")
            config = TrackConfig(
                (SourceConfig(str(files.source), detections=files.detections),),
                (MotConfig(height=SIZE_HW[0], width=SIZE_HW[1]),),
                RunConfig(
                    bundle=options.bundle, output=Path(name) / "run", threads=1, overwrite=True
                ),
            )
            for number in range(options.rounds + 1):
                order = (False, True) if number % 2 else (True, False)
                fps = {watched: frames_per_second(config, watched=watched) for watched in order}
                if number:
                    pairs.append((fps[False], fps[True]))
    except UnitrackError as error:
        print(error, file=sys.stderr)
        return 1
    ratio = statistics.median(watched / alone for alone, watched in pairs)
    lines = [f"alone {alone:6.2f} FPS, ten viewers {watched:6.2f} FPS" for alone, watched in pairs]
    lines.append(f"median of the ratios: {ratio:.3f} (target {TARGET})")
    print("\n".join(lines))
    if options.save:
        save("viewers", lines, {"machine": machine(1), "fps": pairs, "ratio": ratio})
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
