"""What a sequence lost between two bundles: scores side by side, and the drop that counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import DetectionError, RequestError, SourceError, UnitrackError
from ...heads.config import MotConfig
from ...runtime.bundle.bundle import Bundle
from ...runtime.formats.detections import find_format
from ...runtime.formats.mot import read_mot_results
from ...runtime.paths import exists, is_folder
from ...runtime.sources.open import open_source
from ...tracking.config import DetectorConfig, RunConfig, SourceConfig, TrackConfig
from ...tracking.registry import TASKS
from ...tracking.session import track
from ..datasets.base import Sequence, check_trackable, first_frames
from ..datasets.detection import DETECTION_FORMATS
from ..datasets.mot import is_challenge_folder
from ..datasets.registry import FORMATS
from ..metrics.agreement import agreement, box_agreement
from .detection import DetectorChoice, measure
from .jobs import SequenceJob, SequenceRecord, run_job

BOUNDED = {
    "otb": ("AUC",),
    "davis": ("J",),
    "mot": ("IDF1", "HOTA"),
    "mots": ("IDF1", "HOTA"),
    "posetrack": ("IDF1", "HOTA"),
    "detect": ("AP50", "PCKh"),
}
"""The scores that may not fall, by format; `detect`: of a detector alone."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One sequence, tracked with two bundles.

    Attributes:
        name: Of the sequence.
        format: A key of `datasets.registry.FORMATS`, `video`, or `detect`.
        frames: How many were tracked.
        before: Scores of the reference; empty where there is no truth.
        after: Scores of the other bundle, under the same names.
        agreement: Of the other's results with the reference's, 1 is the same; None where the
            format has no such comparison.
    """

    name: str
    format: str
    frames: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    agreement: float | None

    @property
    def drop(self) -> float | None:
        """The largest fall of a score that counts, negative where all rose; None without truth."""
        return max((self.before[name] - self.after[name] for name in self._counted()), default=None)

    def _counted(self) -> list[str]:
        return [n for n in BOUNDED.get(self.format, ()) if n in self.before and n in self.after]

    def loss(self, max_drop: float, least_agreement: float) -> str | None:
        """What was lost beyond a bound, in words; None where nothing was.

        Args:
            max_drop: Largest fall of a score that counts.
            least_agreement: Lowest agreement where there is no truth. Tracks may differ and be as
                right, so that this bound is wider.
        """
        if self.drop is None:
            if self.agreement is None or self.agreement >= least_agreement:
                return None
            return (
                f"the tracks agree to {self.agreement:.3f} with those of the float bundle, "
                f"expected --min-agreement {least_agreement:g} or more"
            )
        if self.drop <= max_drop:
            return None
        name = max(self._counted(), key=lambda n: self.before[n] - self.after[n])
        return (
            f"{name} falls from {self.before[name]:.3f} to {self.after[name]:.3f}, by more than "
            f"--max-drop {max_drop:g}"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "drop": self.drop}


_EMPTY = "--validate: got an empty value, expected a data set, a sequence or a video"

VIDEO = "video"
"""What is neither of the layouts: tracked with the motion detector, compared without truth."""


@dataclass(frozen=True, slots=True)
class ValidationItem:
    """One sequence to compare on.

    Attributes:
        format: A key of `datasets.registry.FORMATS`, or `VIDEO`.
        name: For people.
        sequence: None for a plain video.
        source: The video, as on the command line.
        max_frames: Of a plain video.
    """

    format: str
    name: str
    sequence: Sequence | None
    source: str = ""
    max_frames: int | None = None


def validation_items(texts: tuple[str, ...], max_frames: int | None) -> list[ValidationItem]:
    """What `--validate` names.

    Args:
        texts: `[FORMAT:]PATH` each: a data set or one sequence of it in the layout of `cli eval`,
            or any source of `cli track`.
        max_frames: First frames of every sequence; None: all.

    Raises:
        UnitrackError: Nothing there, or nothing to start from.
    """
    items: list[ValidationItem] = []
    for text in texts:
        name, path = _format_of(text)
        if name == VIDEO:
            _check_video(path)
            items.append(ValidationItem(VIDEO, Path(path).name, None, path, max_frames))
            continue
        _check_there(path)
        sequences = FORMATS[name].read(Path(path), None)
        check_trackable(sequences)
        items += [ValidationItem(name, s.name, first_frames(s, max_frames)) for s in sequences]
    return items


def _check_there(path: str) -> None:
    if not exists(Path(path)):
        raise DetectionError(f"--validate {path}: there is no such file or folder")


def _check_video(text: str) -> None:
    """Raise RequestError or SourceError where a source cannot be tracked twice."""
    if not text:
        raise RequestError(_EMPTY)
    try:
        with open_source(text) as source:
            if source.info.live:
                raise RequestError(f"--validate {text} is live: record a video of it first")
    except SourceError as error:
        raise SourceError(f"--validate: {error}") from None


def _format_of(text: str) -> tuple[str, str]:
    prefix, colon, rest = text.partition(":")
    if colon and prefix in (*FORMATS, VIDEO):
        return prefix, rest
    path = Path(text)
    if not text or not is_folder(path):
        return VIDEO, text
    if is_folder(path / "JPEGImages"):
        return "davis", text
    if is_challenge_folder(path):
        detections = path / "det" / "det.txt"
        return (find_format(detections) if detections.is_file() else "mot"), text
    if is_folder(path / "img"):
        return "otb", text
    return VIDEO, text


def compare_bundles(
    item: ValidationItem, reference: Path, other: Path, work: Path, threads: int = 0
) -> Comparison:
    """Track one sequence with both bundles.

    What an earlier run recorded below `work` is not tracked again.

    Args:
        item: The sequence.
        reference: Folder of a bundle.
        other: Folder of the bundle that is compared with it.
        work: Folder for results and records.
        threads: Of the CPU; 0: all.

    Raises:
        UnitrackError: The sequence cannot be tracked or scored.
        Stopped: The user asked to stop.
    """
    if item.sequence is None:
        return _compare_videos(item, reference, other, work, threads)
    sequence, row = item.sequence, FORMATS[item.format]
    records, results = [], []
    for name, bundle in (("before", reference), ("after", other)):
        output = work / item.format / name
        config = TASKS[row.task].config()
        job = SequenceJob(sequence, item.format, config, bundle, "cpu", threads, output)
        records.append(run_job(job))
        results.append(output / "results" / row.result.format(sequence.name))
    before, after = (_scores(item.format, record) for record in records)
    alike = agreement(item.format, sequence, results[0], results[1])
    return Comparison(sequence.name, item.format, len(sequence.images), before, after, alike)


def _scores(format_name: str, record: SequenceRecord) -> dict[str, float]:
    row = FORMATS[format_name]
    return dict(row.combine(list(record.scores)).values) if record.scores else {}


def _compare_videos(
    item: ValidationItem, reference: Path, other: Path, work: Path, threads: int
) -> Comparison:
    runs = [
        _track_video(item, bundle, work / VIDEO / name / item.name, threads)
        for name, bundle in (("before", reference), ("after", other))
    ]
    tracks = [read_mot_results(folder / "tracks.txt") for folder, _ in runs]
    if not tracks[0]:
        raise UnitrackError(
            f"--validate {item.source}: the motion detector found nothing to track in it, so "
            "nothing can be compared; give a folder with img1/ and det/det.txt, or another video"
        )
    frames = int(runs[0][1]["frames"])
    return Comparison(item.name, VIDEO, frames, {}, {}, box_agreement(tracks[0], tracks[1]))


def _track_video(
    item: ValidationItem, bundle: Path, output: Path, threads: int
) -> tuple[Path, dict[str, Any]]:
    config = TrackConfig(
        (SourceConfig(item.source),),
        (MotConfig(),),
        RunConfig(
            bundle=bundle,
            output=output,
            threads=threads,
            max_frames=item.max_frames,
            overwrite=True,
        ),
        DetectorConfig("motion"),
    )
    report = track(config)
    report.raise_if_stopped()
    return output, report.data


def detection_items(texts: tuple[str, ...], max_frames: int | None) -> list[ValidationItem]:
    """What `--validate` names, of a detector: sequences with true boxes.

    Args:
        texts: `[FORMAT:]PATH` each, in a layout of `cli eval --task detect`.
        max_frames: First frames of every sequence; None: all.

    Raises:
        UnitrackError: Nothing there, or no truth.
    """
    items = []
    for text in texts:
        if not text:
            raise RequestError(_EMPTY)
        name, colon, rest = text.partition(":")
        if not colon or name not in DETECTION_FORMATS:
            name, rest = "coco" if text.endswith(".json") else "mot", text
        _check_there(rest)
        for sequence in DETECTION_FORMATS[name].read(Path(rest), None):
            if sequence.truth is None or not sequence.images:
                lacking = "images" if sequence.truth is not None else "true boxes"
                known = ", ".join(f"{one}:PATH" for one in DETECTION_FORMATS)
                raise DetectionError(
                    f"--validate {text}: {sequence.name} has no {lacking} to measure a detector "
                    f"with: give {known}"
                )
            items.append(ValidationItem(name, sequence.name, first_frames(sequence, max_frames)))
    return items


def compare_detectors(item: ValidationItem, reference: Path, other: Path) -> Comparison:
    """Measure the detectors of two bundles on one sequence with true boxes.

    Raises:
        UnitrackError: A detector fails, or an image cannot be read.
    """
    if item.sequence is None:
        raise RequestError(f"{item.name}: a detector is compared on true boxes")
    objects = DETECTION_FORMATS[item.format].objects(item.sequence)
    before, after = (
        measure(DetectorChoice(DetectorConfig(str(bundle))), objects).values()
        for bundle in (reference, other)
    )
    names = [name for name in ("AP50", "recall", "precision", "PCKh") if before[name] is not None]
    scores = [{name: float(side[name] or 0) for name in names} for side in (before, after)]
    return Comparison(item.name, "detect", len(objects), scores[0], scores[1], None)


Tick = Callable[[int, str], None]
"""Called with the number of sequences that are done, and the name of the next."""


def compare_all(
    items: list[ValidationItem], reference: Path, other: Path, work: Path, tick: Tick
) -> list[Comparison]:
    """Compare on every sequence, one after the other; see `compare_bundles`.

    Bundles of detectors: see `compare_detectors`.
    """
    detectors = Bundle.load(reference).spec.kind == "detector"
    comparisons = []
    for number, item in enumerate(items):
        tick(number, item.name)
        if detectors:
            comparisons.append(compare_detectors(item, reference, other))
        else:
            comparisons.append(compare_bundles(item, reference, other, work))
    tick(len(items), "")
    return comparisons
