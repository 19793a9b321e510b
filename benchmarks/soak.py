"""Many frames through the full loop: memory, open files and threads must stay as they are.

The source repeats a procedural clip; detections come from motion; results, a recorded video, JSON
lines and the live view get every frame, with one viewer looking, as in a run that lasts for weeks.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np

from ..errors import UnitrackError
from ..evaluation.synthetic.scene import Scene, SceneConfig
from ..heads.config import MotConfig
from ..records import Frame, Tracks
from ..runtime.pipeline import OnFrame
from ..runtime.server.launch import LiveRequest, open_live
from ..runtime.sources.base import SourceInfo
from ..tracking.config import DetectorConfig, RunConfig, SourceConfig, TrackConfig
from ..tracking.session import track
from .timing import limit_threads, machine, save

SIZE_HW = 96, 128
CLIP = 200
EVERY = 1000
BOUND_KB = 1000
"""Largest growth of resident memory over 10,000 frames, after the warm-up."""


def write_clip(folder: Path, frames: int) -> Path:
    """A video of so many small frames; the clip runs forth and back so that nothing jumps."""
    path = folder / "long.avi"
    config = SceneConfig(frames=CLIP, height=SIZE_HW[0], width=SIZE_HW[1], objects=4)
    images = [frame.image for frame in Scene(config)]
    there_and_back = [*images, *images[-2:0:-1]]
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (SIZE_HW[1], SIZE_HW[0])
    )
    for number in range(frames):
        writer.write(there_and_back[number % len(there_and_back)])
    writer.release()
    return path


@contextmanager
def viewer(url: str) -> Iterator[None]:
    """A client that reads the stream of tracks while the block runs."""

    def read() -> None:
        with suppress(OSError), urllib.request.urlopen(f"{url.rstrip('/')}/tracks") as answer:
            while answer.readline():
                pass

    threading.Thread(target=read, daemon=True).start()
    yield


def state() -> tuple[int, int, int]:
    """Resident kB, open file descriptors, threads."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024, descriptors, threading.active_count()


def run(bundle: Path, frames: int) -> list[tuple[int, int, int, int]]:
    """Frame number, resident kB, descriptors and threads, every thousand frames."""
    rows: list[tuple[int, int, int, int]] = []

    def watch(_info: SourceInfo) -> OnFrame:
        def on_frame(frame: Frame, _tracks: Sequence[Tracks]) -> None:
            if frame.index % EVERY == EVERY - 1:
                rows.append((frame.index + 1, *state()))

        return on_frame

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = MotConfig(height=SIZE_HW[0], width=SIZE_HW[1], min_area=10.0)
        wanted = TrackConfig(
            (SourceConfig(str(write_clip(folder, frames))),),
            (config,),
            RunConfig(bundle=bundle, output=folder / "run", threads=1, save_video=True),
            DetectorConfig("motion"),
        )
        live = LiveRequest(serve="0", jsonl=str(folder / "lines.jsonl"))
        with open_live(live, print) as outputs, viewer(outputs.url or ""):
            track(wanted, watch, listeners=outputs.listeners, commands=outputs.commands)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and fail where something grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--save", action="store_true", help="keep the result")
    options = parser.parse_args(arguments)
    limit_threads(1)
    try:
        rows = run(options.bundle, options.frames)
    except UnitrackError as error:
        print(error, file=sys.stderr)
        return 1
    # Without the last row, at which the source has been closed.
    table = np.array(rows[len(rows) // 5 : -1])
    slope = float(np.polyfit(table[:, 0], table[:, 1], 1)[0] * 10_000)
    lines = [
        f"{frame:7d} frames {kb / 1024:7.1f} MB {fds} files {th} threads"
        for frame, kb, fds, th in rows[:: max(1, len(rows) // 10)]
    ]
    lines.append(f"slope after the first fifth: {slope:.0f} kB in 10,000 frames (bound {BOUND_KB})")
    print("\n".join(lines))
    # A connection or a segment of the video may be open at one look and not at the next.
    half = len(table) // 2
    steady = bool((table[half:, 2:].max(axis=0) <= table[:half, 2:].max(axis=0)).all())
    if options.save:
        record = {"machine": machine(1), "frames": options.frames, "rows": rows, "slope_kb": slope}
        save("soak", lines, record)
    return 0 if slope < BOUND_KB and steady else 1


if __name__ == "__main__":
    sys.exit(main())
