"""How `cli eval` and `cli compare` track a sequence: as `cli track` would, without its words."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ..evaluation.formats import FORMATS
from ..evaluation.sequence_jobs import Inputs, SequenceJob, SequenceRecord, run_sequence
from ..session import track
from ..tasks import TrackRequest, check_request


def track_sequence(job: SequenceJob, inputs: Inputs, output: Path) -> dict[str, Any]:
    """Run the head of a job over its sequence.

    Returns:
        The contents of `run.json`.

    Raises:
        UnitrackError: The sequence cannot be tracked.
        KeyboardInterrupt: The user asked to stop.
    """
    request = TrackRequest(
        source=inputs.source,
        task=FORMATS[job.format].task,
        config=job.config,
        bundle=job.bundle,
        output=output,
        backend=job.backend,
        threads=job.threads,
        init=inputs.init,
        detections=inputs.detections,
        fps=job.sequence.fps,
        max_frames=inputs.max_frames,
        overwrite=True,
    )
    check_request(request)
    report = track(request)
    if report.data["interrupted"]:
        # What is half tracked is neither scored nor recorded.
        raise KeyboardInterrupt
    return report.data


run_job: partial[SequenceRecord] = partial(run_sequence, track=track_sequence)
"""Does one job; executors hand it to other processes by its parts' names."""
