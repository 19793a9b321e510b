"""Memory stays flat over 1,000 frames, heads, graphs and backbone together."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path

import numpy as np
import pytest
from unitrack_edge.heads.config import MotConfig, VosConfig
from unitrack_edge.heads.mot import MotHead
from unitrack_edge.heads.vos import VosHead
from unitrack_edge.records import Detections, Frame
from unitrack_edge.runtime.preprocessing import FeatureExtractor

FRAMES, SIZE = 1000, 64
WARM_UP = 300
LIMIT_KB_A_FRAME = 4.0
"""One feature map of these frames has 28 kB, one frame 12 kB: keeping either would show."""

STATM = Path("/proc/self/statm")
LIBC = ctypes.CDLL(None) if os.name == "posix" else None


def resident_kb():
    gc.collect()
    if hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)  # what was freed and is only kept for later does not count
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


def frames(seed):
    rng = np.random.default_rng(seed)
    for i in range(FRAMES):
        yield Frame(i, i / 25, rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)), rng


def growth_kb(step, seed):
    """Kilobytes a frame: the slope of a line through the resident memory after warm-up."""
    sizes = []
    gc.freeze()  # what other tests left is not looked through every time
    for frame, rng in frames(seed):
        step(frame, rng)
        if frame.index >= WARM_UP and frame.index % 50 == 0:
            sizes.append((frame.index, resident_kb()))
    return float(np.polyfit(*np.array(sizes, np.float64).T, 1)[0])


def some_boxes(rng):
    """None to four boxes, anywhere: tracklets are born, lost, found and forgotten."""
    count = int(rng.integers(0, 5))
    corner = rng.uniform(0, SIZE - 20, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 20, (count, 2))], axis=1)
    return Detections(
        boxes.astype(np.float32), np.ones(count, np.float32), np.zeros(count, np.int64)
    )


@pytest.mark.skipif(not STATM.exists(), reason="no /proc here: resident memory cannot be read")
@pytest.mark.parametrize("task", ["memory", "unitrack", "vos"])
def test_memory_is_flat(lite_runner, task):
    extractor = FeatureExtractor(lite_runner)
    if task != "vos":
        # A short buffer: the largest number of tracklets comes up while warming up, not later.
        config = MotConfig(preset=task, height=SIZE, width=SIZE, min_area=0.0, buffer=6.0)
        head = MotHead(lite_runner, config, fps=25)
    else:
        labels = np.zeros((SIZE, SIZE), np.uint8)
        labels[10:50, 10:40] = 1
        head = VosHead(lite_runner, labels, VosConfig(focus="off"))

    def step(frame, rng):
        features = extractor.extract(*extractor.prepare(frame, (SIZE, SIZE)))
        head.step(frame, features, some_boxes(rng) if task != "vos" else None)

    assert growth_kb(step, seed=1) < LIMIT_KB_A_FRAME
