"""What a run tells those who watch it: every frame, and what happens to its sources.

A server, a meter or a log implements `RunObserver`; the run knows nothing else of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from ..records import Frame, Tracks
from .sources import SourceInfo


@dataclass(frozen=True, slots=True)
class FrameEvent:
    """One frame of one source, done and written.

    Attributes:
        source: The source's short name, unique in the run; names its folder of results.
        frame: The frame; its picture is shared with the run and must not be written to.
        tracks: What each task found, by the task's name, in source pixels.
        stages_s: Seconds that each stage of this frame took, by the stage's name; 'latency' is
            from capture to result. Of a batched pass of the backbone, the frame's share.
        dropped: Frames of the source so far that nobody had time for.
    """

    source: str
    frame: Frame
    tracks: Mapping[str, Tracks]
    stages_s: Mapping[str, float]
    dropped: int


@dataclass(frozen=True, slots=True)
class SourceEvent:
    """Something happened to a source.

    Attributes:
        source: The source's short name.
        kind: 'opened' (it is about to be tracked), 'lost' (it is being reconnected), 'returned',
            'changed' (the size of its pictures), 'remark' (recording has stopped, or what a viewer
            wished cannot be done), 'ended' (by itself or by the user) or 'failed'.
        message: One line for people, without credentials.
        info: What is known of the source; None where it could not be opened.
    """

    source: str
    kind: Literal["opened", "lost", "returned", "changed", "remark", "ended", "failed"]
    message: str
    info: SourceInfo | None = None


class RunObserver(Protocol):
    """Watches a run.

    Both methods must return at once and raise nothing: what takes time belongs in a thread of the
    observer's own, behind a bounded queue.
    """

    def on_frame(self, event: FrameEvent) -> None:
        """A frame is done; called by the thread that tracks, between two frames."""

    def on_source(self, event: SourceEvent) -> None:
        """Something happened to a source; may be called by the source's own thread."""
