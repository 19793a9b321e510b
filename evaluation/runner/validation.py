"""What a sequence lost between two bundles: scores side by side, and the drop that counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import RequestError, UnitrackError
from ...heads.config import MotConfig
from ...runtime.formats.detections import find_format
from ...runtime.formats.mot import read_mot_results
from ...runtime.sources.open import open_source
from ...tracking.config import DetectorConfig, RunConfig, SourceConfig, TrackConfig
from ...tracking.registry import TASKS
from ...tracking.session import track
from ..datasets.base import Sequence, check_trackable, first_frames
from ..datasets.mot import is_challenge_folder
from ..datasets.registry import FORMATS
from ..metrics.agreement import agreement, box_agreement
from .jobs import SequenceJob, SequenceRecord, run_job

BOUNDED = {
    "otb": ("AUC",),
    "davis": ("J",),
    "mot": ("IDF1", "HOTA"),
    "mots": ("IDF1", "HOTA"),
    "posetrack": ("IDF1", "HOTA"),
}
"""The scores that may not fall, by format."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One sequence, tracked with two bundles.

    Attributes:
        name: Of the sequence.
        format: A key of `datasets.registry.FORMATS`, or `video`.
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
            with open_source(path) as source:
                if source.info.live:
                    raise RequestError(f"--validate {path} is live: record a video of it first")
            items.append(ValidationItem(VIDEO, Path(path).name, None, path, max_frames))
            continue
        sequences = FORMATS[name].read(Path(path), None)
        check_trackable(sequences)
        items += [ValidationItem(name, s.name, first_frames(s, max_frames)) for s in sequences]
    return items


def _format_of(text: str) -> tuple[str, str]:
    prefix, colon, rest = text.partition(":")
    if colon and prefix in (*FORMATS, VIDEO):
        return prefix, rest
    path = Path(text)
    if (path / "JPEGImages").is_dir():
        return "davis", text
    if path.is_dir() and is_challenge_folder(path):
        detections = path / "det" / "det.txt"
        return (find_format(detections) if detections.is_file() else "mot"), text
    if (path / "img").is_dir():
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
        KeyboardInterrupt: The user asked to stop.
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
    if report.data["interrupted"]:
        raise KeyboardInterrupt
    return output, report.data


Tick = Callable[[int, str], None]
"""Called with the number of sequences that are done, and the name of the next."""


def compare_all(
    items: list[ValidationItem], reference: Path, other: Path, work: Path, tick: Tick
) -> list[Comparison]:
    """Compare on every sequence, one after the other; see `compare_bundles`."""
    comparisons = []
    for number, item in enumerate(items):
        tick(number, item.name)
        comparisons.append(compare_bundles(item, reference, other, work))
    tick(len(items), "")
    return comparisons
