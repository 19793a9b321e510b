"""The statistics of a source while it runs, for the page and for Prometheus.

Imported only when serving: prometheus-client belongs to the extra `serve`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from ..events import FrameEvent, SourceEvent
from ..health import ImageHealth, Pace

METRICS_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""Content type of `metrics_text`."""

_WINDOW = 64  # frames that FPS and mean stage times are taken over …
_WINDOW_S = 10.0  # … and no older than this


STATUSES = ("waiting", "tracking", "lost", "ended", "failed")
"""What a source can be: not yet giving frames, giving them, being reconnected, done."""

_STATUS_AFTER = {
    "waiting": "waiting",
    "opened": "waiting",
    "returned": "waiting",
    "lost": "lost",
    "ended": "ended",
    "failed": "failed",
}

_HEALTH = {
    "brightness": "Mean of the image, 0 to 255, of live sources.",
    "frozen": "1 while the image has been the very same for 10 s, else 0.",
    "covered": "1 while nothing has been to be seen for 10 s, else 0.",
}


class SourceStats:
    """Counts and recent times of one source. Not thread-safe: the hub locks.

    Args:
        source: Its short name.
        now: Monotonic seconds.

    Attributes:
        status: One of `STATUSES`.
    """

    def __init__(self, source: str, now: float = 0.0) -> None:
        self.source = source
        self.status = "waiting"
        self._quiet_since = now  # when the last frame came, or the source was first heard of
        self.frames = 0
        self.dropped = 0
        self.losses = 0
        self.up = True
        self.message = ""
        self.size_hw: tuple[int, int] | None = None
        self.health: ImageHealth | None = None
        self.pace: Pace | None = None
        self.detect_every = 1
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
        self.status = "tracking"
        self._quiet_since = now
        self.size_hw = event.frame.size_hw
        self.health, self.pace, self.detect_every = event.health, event.pace, event.detect_every
        self.tracks = {task: len(tracks) for task, tracks in event.tracks.items()}
        self._times.append(now)
        for stage, seconds in event.stages_s.items():
            self.stage_sums_s[stage] = self.stage_sums_s.get(stage, 0.0) + seconds
            self._recent_s.setdefault(stage, deque(maxlen=_WINDOW)).append(seconds)

    def add_event(self, event: SourceEvent) -> None:
        """Count an event of the source."""
        self.message = event.message
        self.status = _STATUS_AFTER.get(event.kind, self.status)
        if event.kind in ("waiting", "lost", "ended", "failed"):
            self.up = False
        elif event.kind in ("opened", "returned", "changed"):
            self.up = True
        self.losses += event.kind == "lost"

    def fps(self, now: float) -> float:
        """Frames per second over the last seconds; falls towards 0 while none come.

        Args:
            now: Monotonic seconds.
        """
        times = [t for t in self._times if now - t <= _WINDOW_S]
        if len(times) < 2:
            return 0.0
        return (len(times) - 1) / max(times[-1] - times[0], now - times[-1], 1e-6)

    def quiet_s(self, now: float) -> float:
        """Seconds since the last frame, or without any since the source was first heard of.

        Args:
            now: Monotonic seconds.
        """
        return max(0.0, now - self._quiet_since)

    def state(self, now: float) -> dict[str, Any]:
        """Plain data for the page; stages are mean milliseconds over the last frames.

        Args:
            now: Monotonic seconds.
        """
        return {
            "source": self.source,
            "up": self.up,
            "status": self.status,
            "quiet_s": round(self.quiet_s(now), 1),
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


class _SourceCollector(Collector):
    def __init__(
        self, sources: Sequence[SourceStats], now: float, refused: Mapping[str, int]
    ) -> None:
        self._sources = sources
        self._now = now
        self._refused = refused

    def collect(self) -> list[Metric]:
        by_source = ["source"]
        up = GaugeMetricFamily(
            "unitrack_up", "1 while the source delivers frames, else 0.", labels=by_source
        )
        frames = CounterMetricFamily("unitrack_frames", "Frames tracked.", labels=by_source)
        dropped = CounterMetricFamily(
            "unitrack_dropped_frames", "Frames dropped to keep up.", labels=by_source
        )
        losses = CounterMetricFamily(
            "unitrack_source_losses", "Number of times that the source was lost.", labels=by_source
        )
        fps = GaugeMetricFamily(
            "unitrack_fps", "Frames tracked per second, over the last seconds.", labels=by_source
        )
        tracks = GaugeMetricFamily(
            "unitrack_tracks", "Tracks in the last frame.", labels=["source", "task"]
        )
        stages = CounterMetricFamily(
            "unitrack_stage_seconds",
            "Seconds spent in a stage, over all frames.",
            labels=["source", "stage"],
        )
        status = GaugeMetricFamily(
            "unitrack_source_status",
            "1 for what the source is, 0 for what else it could be.",
            labels=["source", "status"],
        )
        quiet = GaugeMetricFamily(
            "unitrack_last_frame_age_seconds",
            "Seconds since the source's last frame, or since it was first waited for.",
            labels=by_source,
        )
        refused = CounterMetricFamily(
            "unitrack_refused_requests", "Requests to this server refused.", labels=["reason"]
        )
        for reason, count in self._refused.items():
            refused.add_metric([reason], count)
        health = {
            name: GaugeMetricFamily(f"unitrack_image_{name}", text, labels=by_source)
            for name, text in _HEALTH.items()
        }
        every = GaugeMetricFamily(
            "unitrack_detect_every",
            "In every how manieth frame the detector runs, of live sources.",
            labels=by_source,
        )
        scale = GaugeMetricFamily(
            "unitrack_image_scale",
            "Side of the images that models look at, as a share of the usual one.",
            labels=by_source,
        )
        steps = CounterMetricFamily(
            "unitrack_degrade_steps",
            "Steps taken to keep up with the source, down and back up.",
            labels=["source", "direction"],
        )
        for stats in self._sources:
            label = [stats.source]
            up.add_metric(label, stats.up)
            frames.add_metric(label, stats.frames)
            dropped.add_metric(label, stats.dropped)
            losses.add_metric(label, stats.losses)
            fps.add_metric(label, stats.fps(self._now))
            quiet.add_metric(label, stats.quiet_s(self._now))
            for name in STATUSES:
                status.add_metric([stats.source, name], name == stats.status)
            if stats.health is not None:
                for name, metric in health.items():
                    metric.add_metric(label, getattr(stats.health, name))
            if stats.pace is not None:
                every.add_metric(label, stats.detect_every)
                scale.add_metric(label, stats.pace.scale)
                steps.add_metric([stats.source, "down"], stats.pace.down)
                steps.add_metric([stats.source, "up"], stats.pace.up)
            for task, count in stats.tracks.items():
                tracks.add_metric([stats.source, task], count)
            for stage, seconds in stats.stage_sums_s.items():
                stages.add_metric([stats.source, stage], seconds)
        # Files have none of these, and a run of files no such metrics.
        known = [m for m in (*health.values(), every, scale, steps) if m.samples]
        return [up, status, quiet, frames, dropped, losses, fps, tracks, stages, refused, *known]


def metrics_text(
    sources: Sequence[SourceStats], now: float, refused: Mapping[str, int] | None = None
) -> bytes:
    """The statistics in Prometheus' text format; its content type is `METRICS_TYPE`.

    Args:
        sources: Of the run.
        now: Monotonic seconds.
        refused: Requests that the server refused, by reason.
    """
    registry = CollectorRegistry()
    registry.register(_SourceCollector(sources, now, refused or {}))
    return generate_latest(registry)
