"""Frames without an image, for detections that come from files."""

from __future__ import annotations

import numpy as np
from unitrack_edge.records import Frame


def frame(index=0, size_hw=(48, 64), name=""):
    return Frame(index, index / 25, np.zeros((*size_hw, 3), np.uint8), name)
