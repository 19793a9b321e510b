"""UniTrack Edge: one appearance model, two primitives, training-free tracking heads.

`unitrack_edge.api` is the Python interface; its functions `export`, `build` and `evaluate` are not
repeated here, where `export` is a package.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .errors import UnitrackError
from .version import __version__

# ONNX Runtime reports to its maker unless told otherwise before it is imported; a tracker must not.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from .api import Tracker
    from .records import Detections, Frame, Tracks

__all__ = [
    "Detections",
    "Frame",
    "Tracker",
    "Tracks",
    "UnitrackError",
    "__version__",
]

_RECORDS = ("Detections", "Frame", "Tracks")


def __getattr__(name: str) -> Any:
    # These need NumPy, which `cli --help` can do without.
    if name in _RECORDS:
        from . import records

        return getattr(records, name)
    if name == "Tracker":
        from .api import Tracker

        return Tracker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
