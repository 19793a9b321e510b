"""UniTrack Edge: one appearance model, two primitives, training-free tracking heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import UnitrackError

if TYPE_CHECKING:
    from .records import Detections, Frame, Tracks

__version__ = "0.1.0"

__all__ = ["Detections", "Frame", "Tracks", "UnitrackError", "__version__"]


def __getattr__(name: str) -> Any:
    # The records need NumPy, which `cli --help` can do without.
    if name in ("Frame", "Detections", "Tracks"):
        from . import records

        return getattr(records, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
