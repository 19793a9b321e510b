"""One sequence of an evaluation: tracked, brought into the benchmark's form, scored, recorded.

A record is written last and at once, and says what its scores depend on: it is done work for as
long as the bundle, the parameters, the data and this toolkit are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import OutputError, UnitrackError
from ...heads.config import TaskConfig
from ...runtime.bundle.bundle import Bundle
from ...runtime.formats.detections import find_format
from ...runtime.sources.images import images_in_folder
from ...runtime.writers.base import output_error, write_atomic, write_json_atomic
from ...tracking.config import RunConfig, SourceConfig, TrackConfig
from ...tracking.session import track
from ...version import __version__
from ..datasets.base import ONE_OBJECT, Sequence, fingerprint
from ..datasets.registry import FORMATS
from ..datasets.result_files import counts_from, renumbered_detections
from ..metrics.scores import Score


@dataclass(frozen=True, slots=True)
class SequenceJob:
    """What is to be done for one sequence.

    Attributes:
        sequence: The sequence.
        format: A key of `datasets.registry.FORMATS`.
        config: The head's parameters.
        bundle: Folder of the bundle.
        backend: A key of `runtime.inference.registry.BACKENDS`.
        threads: CPU threads.
        output: Folder of `results`, `records` and `runs`.
    """

    sequence: Sequence
    format: str
    config: TaskConfig
    bundle: Path
    backend: str
    threads: int
    output: Path


@dataclass(frozen=True, slots=True)
class Inputs:
    """What `cli track` is given for a sequence; see `tracking.config.SourceConfig`."""

    source: str
    detections: Path | None
    init: str | None
    max_frames: int | None


@dataclass(frozen=True, slots=True)
class SequenceRecord:
    """The result of a sequence.

    Attributes:
        name: The sequence's.
        scores: One an object or class; none where there is no truth.
        frames: How many were tracked or scored.
        notes: One-line notes.
        fps: Frames per second of the tracking run; None where results were only scored.
        fresh: Whether it was done now, and not taken from an earlier run.
    """

    name: str
    scores: tuple[Score, ...]
    frames: int
    notes: tuple[str, ...]
    fps: float | None = None
    fresh: bool = True


Track = Callable[[SequenceJob, Inputs, Path], dict[str, Any]]
"""Tracks a sequence into a folder and gives back the contents of `run.json`."""


def score_results(sequence: Sequence, format_name: str, folder: Path) -> SequenceRecord:
    """Score results that are there already.

    Raises:
        DetectionError: There are none, or they do not fit the sequence.
        UnitrackError: TrackEval is not installed.
    """
    row = FORMATS[format_name]
    path = row.find_results(folder, sequence)
    return _record(sequence, row.score(sequence, path), ())


def run_sequence(job: SequenceJob, track: Track) -> SequenceRecord:
    """Track and score a sequence, or take both from the record of an earlier run.

    Args:
        job: What to do.
        track: Runs the head; given by the command, which knows the sessions.

    Raises:
        UnitrackError: The sequence cannot be tracked or scored.
        OutputError: Results cannot be written.
    """
    row, sequence = FORMATS[job.format], job.sequence
    result = job.output / "results" / row.result.format(sequence.name)
    record = job.output / "records" / f"{sequence.name}.json"
    key = job_key(job)
    known = _read_record(record, key) if result.exists() else None
    if known is not None:
        return known
    run = job.output / "runs" / sequence.name
    _make_folders(result.parent, record.parent, run)
    # What is half done must not look done: the old record goes first.
    record.unlink(missing_ok=True)
    data = track(job, prepare_sequence(sequence, run), run)
    if data["frames"] != len(sequence.images):
        raise UnitrackError(
            f"{data['source']['ended_early'] or 'the run ended early'}: {data['frames']} of "
            f"{len(sequence.images)} frames were tracked"
        )
    row.collect(sequence, run / row.written, result)
    done = _record(sequence, row.score(sequence, result), data["notes"], data["fps"])
    write_json_atomic(record, {"key": key, "what": _what(job), **_to_json(done)})
    return done


def _make_folders(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(folder, error) from None


def job_key(job: SequenceJob) -> str:
    """sha256 of everything that the results of a job depend on."""
    return hashlib.sha256(json.dumps(_what(job), sort_keys=True).encode()).hexdigest()


def _what(job: SequenceJob) -> dict[str, Any]:
    spec = Bundle.load(job.bundle).spec
    return {
        "toolkit": __version__,
        "format": job.format,
        "bundle": {name: graph.sha256 for name, graph in sorted(spec.graphs.items())},
        "preprocessing": repr(spec.preprocessing),
        "parameters": asdict(job.config),
        "backend": job.backend,
        "sequence": fingerprint(job.sequence),
    }


def prepare_sequence(sequence: Sequence, folder: Path) -> Inputs:
    """What `cli track` is to be given, with stand-ins in `folder` where the data needs them.

    Raises:
        OutputError: A stand-in cannot be written.
        DetectionError: A file of detections cannot be read.
    """
    first = sequence.images[0].parent
    every = images_in_folder(first, str(first))
    count = len(sequence.images)
    source, most = str(first), count if count < len(every) else None
    if tuple(every[:count]) != sequence.images:
        source, most = str(_linked(sequence, folder / "frames")), None
    detections, init = sequence.detections, sequence.init
    if detections is not None and detections.suffix != ".json":
        counted = 0 if find_format(detections) == "kitti" else 1
        if not counts_from(sequence, counted):
            # `cli track` knows frames by their place among the images.
            renumbered = folder / "detections.txt"
            renumbered_detections(sequence, detections, renumbered, counted)
            detections = renumbered
    if init is not None and sequence.variant == ONE_OBJECT:
        init = str(_one_object(Path(init), folder / "first-mask.png"))
    return Inputs(source, detections, init, most)


def _linked(sequence: Sequence, folder: Path) -> Path:
    """A folder of links to the sequence's images, where it is not simply the first of one."""
    for old in folder.glob("*"):
        old.unlink()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for image in sequence.images:
            (folder / image.name).symlink_to(image.absolute())
    except OSError as error:
        raise OutputError(
            f"{folder}: links to the images of {sequence.name} cannot be made "
            f"({error.strerror}): give an --output on a file system with symbolic links"
        ) from None
    return folder


def _one_object(mask: Path, target: Path) -> Path:
    from ...runtime.drawing.colors import davis_palette
    from ...runtime.formats.davis import encode_palette_png
    from ..datasets.davis import read_labels

    labels = read_labels(mask, ONE_OBJECT)
    write_atomic(target, encode_palette_png(labels, davis_palette()))
    return target


def _record(
    sequence: Sequence,
    scores: list[Score],
    notes: tuple[str, ...] | list[str],
    fps: float | None = None,
) -> SequenceRecord:
    warnings = [*sequence.notes, *notes, *(note for score in scores for note in score.notes)]
    clear = [score.counts["CLEAR"] for score in scores if "CLEAR" in score.counts]
    if clear and not any(c["CLR_TP"] + c["CLR_FN"] for c in clear):
        warnings.append(f"{sequence.name}: the truth holds no object, so that nothing is measured")
    elif clear and not any(c["CLR_TP"] + c["CLR_FP"] for c in clear):
        warnings.append(f"{sequence.name}: the results hold no object")
    if sequence.truth is None:
        warnings.append(f"{sequence.name}: no ground truth, not scored")
    return SequenceRecord(
        sequence.name, tuple(scores), len(sequence.numbers), tuple(dict.fromkeys(warnings)), fps
    )


def _to_json(record: SequenceRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "scores": [score.to_json() for score in record.scores],
        "frames": record.frames,
        "notes": list(record.notes),
        "fps": record.fps,
    }


def _read_record(path: Path, key: str) -> SequenceRecord | None:
    """The record of a job; None where it is another one's, damaged or not there."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["key"] != key:
            return None
        scores = tuple(Score.from_json(score) for score in data["scores"])
        notes = tuple(data["notes"])
        return SequenceRecord(data["name"], scores, data["frames"], notes, data["fps"], fresh=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def track_sequence(job: SequenceJob, inputs: Inputs, output: Path) -> dict[str, Any]:
    """Run the head of a job over its sequence.

    Returns:
        The contents of `run.json`.

    Raises:
        UnitrackError: The sequence cannot be tracked.
        Stopped: The user asked to stop.
    """
    config = TrackConfig(
        (
            SourceConfig(
                inputs.source,
                inputs.init,
                inputs.detections,
                "person" if job.format == "mot" else None,
                fps=job.sequence.fps,
            ),
        ),
        (job.config,),
        RunConfig(
            bundle=job.bundle,
            output=output,
            backend=job.backend,
            threads=job.threads,
            max_frames=inputs.max_frames,
            overwrite=True,
            format=FORMATS[job.format].result_format,
        ),
    )
    report = track(config)
    # What is half tracked is neither scored nor recorded.
    report.raise_if_stopped()
    return report.data


run_job: partial[SequenceRecord] = partial(run_sequence, track=track_sequence)
"""Does one job; executors hand it to other processes by its parts' names."""
