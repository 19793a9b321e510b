"""Our association and other packages' trackers on the same detections of the same frames.

All trackers see a frame before the next one is read, so a sequence is decoded once, and those of
ours that look at whole frames share one run of the backbone.  Scored as `cli eval` scores.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ...errors import DetectionError
from ...heads.config import MotConfig
from ...heads.mot import MotHead
from ...records import Detections, Frame, Tracks
from ...runtime.formats.detections import open_detections
from ...runtime.inference.base import Graphs
from ...runtime.preprocessing import FeatureExtractor, FeatureMap
from ...runtime.sources.open import open_source
from ...runtime.tables import TextTable
from ...tracking.registry import DEFAULT_FPS, TASKS
from ..datasets.base import Sequence as DataSequence
from ..datasets.registry import FORMATS
from ..metrics.scores import Score
from ..runner.jobs import Inputs
from ..runner.report import cell, plain_number
from .peers import Peer, Update

COLUMNS = ("HOTA", "IDF1", "MOTA", "IDs")
FORMAT = "mot"
OURS = {
    "ours": MotConfig(),
    "ours, --mot-appearance always": MotConfig(appearance="always"),
    "ours, --mot-preset unitrack": MotConfig(preset="unitrack"),
}
"""By the options that `cli track` needs for it."""

SURE = 0.5
"""A detector's usual threshold, for trackers that do not look at scores."""


@dataclass(frozen=True, slots=True)
class Result:
    """A tracker on a sequence.

    Attributes:
        tracker: Its name.
        scores_as: Which scores of the detections it was given: "probabilities", "raw", or "alike".
        score: What TrackEval says.
        update_ms: Median time of a frame: everything but decoding, detecting and the features of
            whole frames.  Of objects that a tracker looks at one by one, as ours does by default,
            the backbone counts.
    """

    tracker: str
    scores_as: str
    score: Score
    update_ms: float


@dataclass(slots=True)
class _Run:
    """A tracker while it runs; a peer that fails is not asked again."""

    tracker: str
    scores_as: str
    is_ours: bool
    update: Callable[[Frame, Detections, FeatureMap], Tracks]
    found: list[tuple[Frame, Tracks]] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    failed: str | None = None

    def step(self, frame: Frame, seen: Detections, features: FeatureMap) -> None:
        """Take in one frame."""
        if self.failed is not None:
            return
        start = perf_counter()
        try:
            tracks = self.update(frame, seen, features)
        except Exception as error:
            if self.is_ours:
                raise
            # Another package's code: its failure is a line of the report.
            self.failed = f"{type(error).__name__}: {error}"
            return
        self.times_s.append(perf_counter() - start)
        self.found.append((_without_image(frame), tracks))


def compare_sequence(
    graphs: Graphs, sequence: DataSequence, inputs: Inputs, peers: Iterable[Peer]
) -> tuple[list[Result], list[str]]:
    """Run and score every tracker on one sequence.

    Peers are run with the detections' scores as probabilities, with those of 0.5 and more as if all
    were sure, and where a file holds raw scores with these; the result of the highest HOTA counts.

    Args:
        graphs: Of the bundle, for ours.
        sequence: With truth and detections.
        inputs: Its frames and detections, see `jobs.prepare_sequence`.
        peers: Those installed.

    Returns:
        The results, ours first; and notes, on trackers that failed and on the backbone's time.

    Raises:
        DetectionError: The sequence has no detections or no truth.
    """
    if inputs.detections is None or sequence.truth is None:
        lacks = "detections" if inputs.detections is None else "ground truth"
        raise DetectionError(f"{sequence.name}: no {lacks}, so trackers cannot be compared on it")
    with ExitStack() as stack:
        source = stack.enter_context(open_source(inputs.source, fps=sequence.fps))
        fps = source.info.fps or DEFAULT_FPS
        files = {
            name: stack.enter_context(
                open_detections(
                    inputs.detections,
                    calibrate_scores=name == "probabilities",
                    default_class="person",
                )
            )
            for name in ("probabilities", "raw")
        }
        is_raw = bool(files["probabilities"].notes())
        runs = _opened(graphs, fps, peers, both=is_raw)
        extractor = FeatureExtractor(graphs)
        whole, backbone_s = OURS["ours, --mot-appearance always"], []
        for frame in islice(source, len(sequence.images)):
            start = perf_counter()
            image, letterbox = extractor.prepare(frame, (whole.height, whole.width))
            features = extractor.extract(image, letterbox)
            backbone_s.append(perf_counter() - start)
            seen = {name: file.detect(frame) for name, file in files.items()}
            seen["alike"] = _alike(seen["probabilities"])
            for run in runs:
                run.step(frame, seen[run.scores_as], features)
    notes = [f"{sequence.name}: {run.tracker} failed ({run.failed})" for run in runs if run.failed]
    if backbone_s:
        notes.append(
            f"{sequence.name}: whole frames, which always and unitrack look at, take the backbone"
            f" {1e3 * float(np.median(backbone_s)):.1f} ms more"
        )
    results = [_scored(sequence, run) for run in runs if run.failed is None]
    return list(_best(results)), list(dict.fromkeys(notes))


def _opened(graphs: Graphs, fps: float, peers: Iterable[Peer], *, both: bool) -> list[_Run]:
    runs = []
    for name, config in OURS.items():
        scores_as = "probabilities" if config.calibrates_scores else "raw"
        head = MotHead(graphs, config, fps)
        runs.append(_Run(name, scores_as, is_ours=True, update=_own(head)))
    for peer in peers:
        ways = ["probabilities", "alike"] + ["raw"] * (both and peer.takes_raw)
        for scores_as in ways:
            runs.append(_Run(peer.title, scores_as, is_ours=False, update=_others(peer, fps)))
    return runs


def _alike(seen: Detections) -> Detections:
    """Detections of score 0.5 and more, all of score 1."""
    good = seen[seen.scores >= SURE]
    return replace(good, scores=np.ones(len(good), np.float32))


def _own(head: MotHead) -> Callable[[Frame, Detections, FeatureMap], Tracks]:
    return lambda frame, seen, features: head.step(frame, features, seen)


def _others(peer: Peer, fps: float) -> Callable[[Frame, Detections, FeatureMap], Tracks]:
    opened: list[Update] = []

    def update(frame: Frame, seen: Detections, features: FeatureMap) -> Tracks:
        del features
        if not opened:
            opened.append(peer.open(fps))
        return opened[0](frame, seen)

    return update


def _without_image(frame: Frame) -> Frame:
    """What writers look at, without holding a video in memory."""
    small = np.broadcast_to(frame.image[:1, :1], frame.image.shape)
    return Frame(frame.index, frame.time_s, small, frame.name)


def _scored(sequence: DataSequence, run: _Run) -> Result:
    row, spec = FORMATS[FORMAT], TASKS[FORMAT]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with spec.open_writer(folder / spec.result) as writer:
            for frame, tracks in run.found:
                writer.write(frame, tracks)
        row.collect(sequence, folder / spec.result, folder / "result.txt")
        score = row.score(sequence, folder / "result.txt")[0]
    return Result(run.tracker, run.scores_as, score, 1e3 * float(np.median(run.times_s)))


def _best(results: Sequence[Result]) -> Iterator[Result]:
    """Of a tracker's results the one of the higher HOTA, trackers in their order."""
    for name in dict.fromkeys(result.tracker for result in results):
        same = [result for result in results if result.tracker == name]
        yield max(same, key=lambda result: result.score.values["HOTA"])


def comparison_table(results: dict[str, list[Result]]) -> TextTable:
    """A row a sequence and tracker.

    Args:
        results: Of every sequence by its name.
    """
    rows = [
        [
            name,
            result.tracker,
            *(cell(column, result.score.values[column]) for column in COLUMNS),
            f"{result.update_ms:.1f}",
        ]
        for name, found in results.items()
        for result in found
    ]
    return TextTable(["sequence", "tracker", *COLUMNS, "ms"], rows, left=2)


def comparison_data(results: dict[str, list[Result]], notes: list[str]) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "sequences": {
            name: [
                {
                    "tracker": result.tracker,
                    "detection_scores": result.scores_as,
                    "scores": {k: plain_number(v) for k, v in result.score.values.items()},
                    "update_ms": result.update_ms,
                }
                for result in found
            ]
            for name, found in results.items()
        },
        "notes": notes,
    }
