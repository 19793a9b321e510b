"""Which way to run a task keeps up with a clip on this machine, and what it costs in accuracy.

The full setting runs first: the whole frame, every frame, no shortcut. Every other one is run on
the same frames in the pipeline of `cli track`, decoder and detector included, and its tracks are
compared with those of the full setting. Without a truth that is all that can be said; where the two
differ, either may be right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...errors import RequestError, UnitrackError
from ...heads.config import NETWORK_HW, TaskConfig, TrackedConfig
from ...records import Frame, Tracks
from ...runtime.bundle.bundle import Bundle
from ...runtime.events import StopRequest
from ...runtime.inference.onnxruntime import available_cores
from ...runtime.inference.registry import BACKENDS
from ...runtime.inference.runner import GraphRunner
from ...runtime.sources.base import SourceInfo
from ...runtime.sources.open import is_live
from ...runtime.tables import TextTable
from ...tracking.config import SourceConfig, TrackConfig
from ...tracking.registry import DEFAULT_FPS, TASKS
from ...tracking.session import SourceRun
from ..metrics.agreement import agreement_of_tracks
from ..metrics.scores import trackeval_metrics
from .workload import full_and_default

Progress = Callable[[str, int, int], None]
"""Called with the setting that runs, how many of its frames are done, and of how many."""

FULL_SHARE = 0.4
"""Of the budget, that the full setting may take: where it is slow, fewer frames are compared."""

LEAST_FRAMES = 10
"""Fewer frames say nothing."""

ALIKE = 0.005
"""Settings whose agreement differs by less are equally good, and the fastest of them is chosen."""

GOOD = 0.99
"""Where a setting keeps up and agrees so far with the full one, no other is looked for."""

_WARM_UP = 2
_LOADING_S = 1.5
_EVERY = (2, 3, 4, 6, 8)
_SHARES = (0.75, 0.5)
"""Of the full network image's height and width."""


@dataclass(frozen=True, slots=True)
class TuneRequest:
    """What is to be tuned.

    Attributes:
        config: One source, one task, and what the user wants to be kept.
        fps: Frames a second to keep up with; None: the source's own.
        budget_s: Seconds that all runs together may take.
        frames: Of the clip, at most.
        backends: That may be proposed; the first one runs the full setting.
    """

    config: TrackConfig
    fps: float | None = None
    budget_s: float = 120.0
    frames: int = 100
    backends: tuple[str, ...] = ("cpu",)


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run the task.

    Attributes:
        method: What is looked at, for people: `full`, `focus auto`, `456x816`.
        task: The task's parameters.
        backend: What runs the graphs.
        threads: Of the CPU; 0: all.
        every: The detector runs in every so many frames.
    """

    method: str
    task: TaskConfig
    backend: str
    threads: int = 0
    every: int = 1

    @property
    def name(self) -> str:
        """For people."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        parts = (
            (self.method, True),
            (self.backend, self.backend != "cpu"),
            (threads, self.threads > 0),
            (f"detector every {self.every} frames", self.every > 1),
        )
        return ", ".join(text for text, shown in parts if shown)

    def of(self, config: TrackConfig) -> TrackConfig:
        """The run that a config asks for, with this setting."""
        return replace(
            config,
            tasks=(self.task,),
            run=replace(config.run, backend=self.backend, threads=self.threads),
            detector=replace(config.detector, detect_every=str(self.every)),
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting that was run.

    Attributes:
        setting: It.
        fps: Frames a second, after the first ones.
        cpu_ms: Processor time of a frame, of all threads.
        agreement: With the full setting; see `metrics.agreement.agreement_of_tracks`.
        pixels: That the backbone saw in a frame, on average.
        without_backbone: Share of the frames in which it did not run.
    """

    setting: Setting
    fps: float
    cpu_ms: float
    agreement: Mapping[str, float]
    pixels: float
    without_backbone: float

    @property
    def score(self) -> float:
        """The lowest measure of its agreement."""
        return min(self.agreement.values())


@dataclass(slots=True)
class Tuned:
    """What came of it.

    Attributes:
        clip: Name, size and rate of the source.
        frames: That every setting was run on.
        wanted_fps: What is to be kept up with.
        trials: In the order in which they ran; the first is the full setting.
        not_tried: Names of settings for which there was no time.
        failed: Why a setting could not be run, by its name.
        spent_s: Seconds that all took.
    """

    clip: SourceInfo
    frames: int
    wanted_fps: float
    trials: list[Trial] = field(default_factory=list)
    not_tried: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    spent_s: float = 0.0

    @property
    def keeping_up(self) -> list[Trial]:
        """Those as fast as is wanted."""
        return [trial for trial in self.trials if trial.fps >= self.wanted_fps]

    @property
    def proposed(self) -> Trial:
        """Of those that keep up, the fastest of those that agree best; else the fastest of all."""
        keeping = self.keeping_up
        best = max((trial.score for trial in keeping), default=0.0)
        good = [trial for trial in keeping if trial.score >= best - ALIKE]
        return max(good or self.trials, key=lambda trial: trial.fps)

    def keeps_up(self, base: Setting) -> bool:
        """Whether a setting keeps up, with the detector in every frame or in some."""
        return any(replace(trial.setting, every=1) == base for trial in self.keeping_up)

    @property
    def is_good(self) -> bool:
        """Whether there is nothing better to be found."""
        return any(trial.score >= GOOD for trial in self.keeping_up)


@dataclass(slots=True)
class _Run:
    """What a run gave: every frame's tracks and the time they came at."""

    info: SourceInfo
    tracks: list[Tracks] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    pixels: float = 0.0
    without_backbone: float = 0.0
    cut: bool = False

    def per_frame(self, times: Sequence[float]) -> float:
        """Mean seconds of a frame, the first ones left out."""
        kept = times[min(_WARM_UP, len(times) - 2) :]
        return (kept[-1] - kept[0]) / (len(kept) - 1)


def tune(request: TuneRequest, progress: Progress = lambda _setting, _done, _of: None) -> Tuned:
    """Run the full setting and then others until one is good or the budget is spent.

    Raises:
        RequestError: The source is a camera or stream, which cannot be run again.
        UnitrackError: The full setting cannot be run, is too slow for the budget, or TrackEval,
            which compares tracks, is not installed.
        Stopped: The user asked to stop.
    """
    return _Tuner(request, progress).run()


def check_clip(clip: SourceConfig) -> None:
    """Check that a source can be run again for every setting.

    Raises:
        RequestError: It is a camera or stream.
    """
    if is_live(clip.source):
        raise RequestError(
            f"--source {clip.shown}: a camera or stream cannot be run again; "
            "record a clip of it with `cli track … --save-video`, and give that"
        )


class _Tuner:
    """Runs settings; see `tune`."""

    def __init__(self, request: TuneRequest, progress: Progress) -> None:
        config, (task,) = request.config, request.config.tasks
        check_clip(config.sources[0])
        if TASKS[task.task].prompt is None:
            trackeval_metrics()
        self._request, self._progress = request, progress
        self._bundle = Bundle.load(config.run.bundle_path)
        self._start = time.perf_counter()
        self._reference: Sequence[Tracks] = ()
        self._tuned: Tuned

    def run(self) -> Tuned:
        """See `tune`."""
        full = self._run_full()
        self._try_all(full)
        self._tuned.spent_s = time.perf_counter() - self._start
        return self._tuned

    def _run_full(self) -> Setting:
        request, (task,) = self._request, self._request.config.tasks
        # For a bundle of fixed sizes, the full setting is the largest that it takes.
        _, config, _ = full_and_default(_largest(self._bundle)).get(task.task, ("", task, task))
        setting = Setting("full", config, request.backends[0])
        run = self._once(setting, request.frames, FULL_SHARE * request.budget_s)
        if len(run.tracks) < LEAST_FRAMES:
            why = (
                f"in {FULL_SHARE:.0%} of --budget {request.budget_s:g} seconds: give more"
                if run.cut
                else "in the whole source: give a longer one"
            )
            raise UnitrackError(
                f"the full setting did {len(run.tracks)} frames {why}; expected at least "
                f"{LEAST_FRAMES} to compare"
            )
        self._reference = run.tracks
        wanted = request.fps or run.info.fps or DEFAULT_FPS
        self._tuned = Tuned(run.info, len(run.tracks), wanted)
        self._keep(setting, run)
        return setting

    def _try_all(self, full: Setting) -> None:
        usual = TASKS[full.task.task].config()
        methods = full_and_default(None)
        base = full
        if full.task.task in methods:
            base = replace(full, method=methods[full.task.task][0], task=usual)
            self._try(base, always=True)
        for backend in self._request.backends[1:]:
            self._try(replace(base, backend=backend))
        base = self._fastest(base)
        if BACKENDS[base.backend].onnx_device == "cpu":
            for threads in _fewer(available_cores()):
                self._try(replace(base, threads=threads))
        base = self._fastest(base)
        if self._request.config.detector.detector is not None:
            for every in _EVERY:
                if self._tuned.keeps_up(base):
                    break
                self._try(replace(base, every=every))
        for name, task in smaller(full.task, self._bundle):
            self._try(replace(self._fastest(full), method=name, task=task))

    def _fastest(self, base: Setting) -> Setting:
        """Of those that ran with the method of `base`, the backend and threads of the fastest."""
        plain = replace(base, threads=0)
        same = [
            trial
            for trial in self._tuned.trials
            if replace(trial.setting, backend=base.backend, threads=0) == plain
        ]
        return max(same, key=lambda trial: trial.fps).setting if same else base

    def _try(self, setting: Setting, *, always: bool = False) -> None:
        """Run a setting if there is time, and no good one yet unless it is to run `always`."""
        tuned, left = self._tuned, self._left()
        if tuned.is_good and not always:
            return
        expected = _LOADING_S + tuned.frames / max(trial.fps for trial in tuned.trials)
        if left < expected:
            tuned.not_tried.append(setting.name)
            return
        try:
            run = self._once(setting, tuned.frames, left)
        except UnitrackError as error:
            tuned.failed[setting.name] = str(error)
            return
        if run.cut:
            tuned.not_tried.append(f"{setting.name} (cut off after {len(run.tracks)} frames)")
        else:
            self._keep(setting, run)

    def _keep(self, setting: Setting, run: _Run) -> None:
        agreement = agreement_of_tracks(setting.task.task, self._reference, run.tracks)
        self._tuned.trials.append(
            Trial(
                setting,
                1 / run.per_frame(run.ends),
                run.per_frame(run.cpu) * 1e3,
                agreement,
                run.pixels,
                run.without_backbone,
            )
        )

    def _left(self) -> float:
        return self._request.budget_s - (time.perf_counter() - self._start)

    def _once(self, setting: Setting, frames: int, most_s: float) -> _Run:
        """Run a setting over so many frames, or as many as the time allows."""
        config = setting.of(self._request.config)
        start = time.perf_counter()
        with (
            GraphRunner(self._bundle, setting.backend, setting.threads) as graphs,
            SourceRun("tune", config, config.sources[0], Path(), ()) as source,
            StopRequest() as stop,
        ):
            source.is_there()
            source.open_task_runners(graphs, None)
            run = _Run(source.source.info)

            def note(_frame: Frame, tracks: Sequence[Tracks]) -> None:
                run.ends.append(time.perf_counter())
                run.cpu.append(time.process_time())
                run.tracks.append(_compared(tracks[0]))
                self._progress(setting.name, len(run.tracks), frames)
                if run.ends[-1] - start > most_s and len(run.tracks) < frames and not stop.is_set:
                    run.cut = stop.is_set = True

            pipeline = source.pipeline
            pipeline.run(stop, max_frames=frames, on_frame=note)
        if not run.cut:
            stop.raise_if_set()
        count = max(1, pipeline.frames)
        run.pixels = pipeline.backbone_pixels / count
        run.without_backbone = pipeline.without_backbone / count
        return run


def smaller(full: TaskConfig, bundle: Bundle) -> Iterator[tuple[str, TaskConfig]]:
    """The full setting with smaller network images: of the bundle's sizes, or shares of its own."""
    if isinstance(full, TrackedConfig):
        sizes = sorted(bundle.spec.sizes_hw, key=lambda hw: -hw[0] * hw[1]) or [
            (_cells(full.height * share), _cells(full.width * share)) for share in _SHARES
        ]
        for height, width in sizes:
            if height * width < full.height * full.width:
                yield f"{height}x{width}", replace(full, height=height, width=width)
    elif not bundle.spec.sizes_hw:
        side: Any = getattr(full, "short_side", 0)
        for share in _SHARES if side else ():
            chosen: Any = full
            yield (
                f"short side {round(side * share)}",
                replace(chosen, short_side=round(side * share)),
            )


def _cells(pixels: float) -> int:
    """Whole cells of the network's stride."""
    return max(1, round(pixels / 8)) * 8


def _largest(bundle: Bundle) -> tuple[int, int] | None:
    """The largest image that a bundle takes; None: any."""
    sizes = bundle.spec.sizes_hw
    if not sizes or NETWORK_HW in sizes:
        return None
    return max(sizes, key=lambda hw: hw[0] * hw[1])


def _fewer(cores: int) -> list[int]:
    """Thread counts below that of the cores, 1, 2, 4, …: more graphs then work side by side."""
    return [1 << power for power in range(cores.bit_length()) if 1 << power < cores]


def _compared(tracks: Tracks) -> Tracks:
    """What agreement needs of a frame's tracks: masks of a detector would fill the memory."""
    return replace(tracks, detections=replace(tracks.detections, masks=None))


def tune_table(tuned: Tuned) -> TextTable:
    """A row a setting, in the order in which they ran."""
    full, proposed = tuned.trials[0], tuned.proposed
    rows = []
    for trial in tuned.trials:
        pixels = f"{trial.pixels / full.pixels:.1%}" if full.pixels else "–"
        rows.append(
            (
                trial.setting.name,
                "proposed" if trial is proposed else "",
                f"{trial.fps:.1f}",
                "yes" if trial.fps >= tuned.wanted_fps else "no",
                f"{trial.cpu_ms:.1f}",
                *(f"{value:.3f}" for value in trial.agreement.values()),
                pixels,
                f"{trial.without_backbone:.0%}",
            )
        )
    head = ("setting", "", "FPS", "keeps up", "CPU ms a frame", *full.agreement)
    return TextTable((*head, "backbone's pixels", "frames without it"), rows, left=2)
