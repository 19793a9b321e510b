"""The figures of a source while it runs, for the page and for Prometheus."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from ..events import FrameEvent, SourceEvent

_WINDOW = 64


_WINDOW_S = 10.0


class SourceFigures:
    """What is known of one source; not locked, its owner does that.

    Args:
        source: Its short name.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.frames = 0
        self.dropped = 0
        self.losses = 0
        self.up = True
        self.message = ""
        self.size_hw: tuple[int, int] | None = None
        self.tracks: dict[str, int] = {}
        self.stage_sums_s: dict[str, float] = {}
        self._recent_s: dict[str, deque[float]] = {}
        self._times: deque[float] = deque(maxlen=_WINDOW)

    def add_frame(self, event: FrameEvent, now: float) -> None:
        """Count a frame.

        Args:
            event: The frame.
            now: Monotonic seconds.
        """
        self.frames += 1
        self.dropped = event.dropped
        self.up = True
        self.size_hw = event.frame.size_hw
        self.tracks = {task: len(tracks) for task, tracks in event.tracks.items()}
        self._times.append(now)
        for stage, seconds in event.stages_s.items():
            self.stage_sums_s[stage] = self.stage_sums_s.get(stage, 0.0) + seconds
            self._recent_s.setdefault(stage, deque(maxlen=_WINDOW)).append(seconds)

    def add_event(self, event: SourceEvent) -> None:
        """Take in what happened to the source."""
        self.message = event.message
        if event.kind in ("lost", "ended", "failed"):
            self.up = False
        elif event.kind in ("opened", "returned", "changed"):
            self.up = True
        self.losses += event.kind == "lost"

    def fps(self, now: float) -> float:
        """Frames per second over the last seconds; falls towards 0 where none come."""
        times = [t for t in self._times if now - t <= _WINDOW_S] or list(self._times)[-1:]
        if len(times) < 2:
            return 0.0
        return (len(times) - 1) / max(times[-1] - times[0], now - times[-1], 1e-6)

    def state(self, now: float) -> dict[str, Any]:
        """For the page: plain data; stages are mean milliseconds over the last frames."""
        return {
            "source": self.source,
            "up": self.up,
            "message": self.message,
            "frames": self.frames,
            "dropped": self.dropped,
            "fps": round(self.fps(now), 2),
            "tracks": dict(self.tracks),
            "size": None if self.size_hw is None else [self.size_hw[1], self.size_hw[0]],
            "stages_ms": {
                stage: round(1e3 * sum(times) / len(times), 2)
                for stage, times in self._recent_s.items()
            },
        }


METRICS: dict[str, tuple[str, str]] = {
    "unitrack_up": ("gauge", "Whether frames of the source are coming."),
    "unitrack_frames_total": ("counter", "Frames tracked."),
    "unitrack_dropped_frames_total": ("counter", "Frames that nobody had time for."),
    "unitrack_source_losses_total": ("counter", "Times that the source was lost."),
    "unitrack_fps": ("gauge", "Frames tracked per second, over the last seconds."),
    "unitrack_tracks": ("gauge", "Tracks in the last frame."),
    "unitrack_stage_seconds_total": ("counter", "Seconds spent in a stage, over all frames."),
}
"""Name, type and meaning of each metric."""


def metrics_text(sources: Iterable[SourceFigures], now: float) -> str:
    """The figures in Prometheus' text format, version 0.0.4.

    Args:
        sources: Of the run.
        now: Monotonic seconds.
    """
    samples: dict[str, list[str]] = {name: [] for name in METRICS}

    def add(name: str, value: float, **labels: str) -> None:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        samples[name].append(f"{name}{{{inside}}} {value:.10g}\n")

    for figures in sources:
        source = figures.source
        add("unitrack_up", figures.up, source=source)
        add("unitrack_frames_total", figures.frames, source=source)
        add("unitrack_dropped_frames_total", figures.dropped, source=source)
        add("unitrack_source_losses_total", figures.losses, source=source)
        add("unitrack_fps", figures.fps(now), source=source)
        _add_each(add, "unitrack_tracks", "task", figures.tracks, source)
        _add_each(add, "unitrack_stage_seconds_total", "stage", figures.stage_sums_s, source)
    return "".join(
        f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n" + "".join(samples[name])
        for name, (kind, meaning) in METRICS.items()
    )


def _add_each(add: Any, name: str, label: str, values: Mapping[str, float], source: str) -> None:
    for key, value in values.items():
        add(name, value, source=source, **{label: key})


def _escaped(text: str) -> str:
    return re.sub(r'[\\"]', r"\\\g<0>", text).replace("\n", r"\n")
