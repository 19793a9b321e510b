"""The data sets that `cli eval` and `cli compare` read, one row a layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...errors import DetectionError
from ..metrics import pose as posetrack_scores
from ..metrics import scores as trackeval_scores
from ..metrics.scores import Score, mean_score
from . import davis as davis_data
from . import mot as mot_data
from . import mots as mots_data
from . import otb as otb_data
from . import posetrack as posetrack_data
from . import result_files
from .base import Sequence


@dataclass(frozen=True, slots=True)
class DatasetFormat:
    """How a benchmark is read, tracked and scored.

    Attributes:
        task: Of `tasks.HEADS`.
        read: Root folder and split → sequences.
        result: What a result file or folder is called: `{}` stands for the sequence.
        written: What `cli track` calls it in its own folder.
        collect: Brings what `cli track` wrote into the benchmark's form: sequence, from, to.
        score: Sequence with truth and its results → scores, one an object or class.
        combine: Scores of one group → one score, as the official tool does it.
        columns: Of a table of scores.
        headline: The column that sequences and backbones are compared by.
    """

    task: str
    read: Callable[[Path, str | None], list[Sequence]]
    result: str
    written: str
    collect: Callable[[Sequence, Path, Path], None]
    score: Callable[[Sequence, Path], list[Score]]
    combine: Callable[[list[Score]], Score]
    columns: tuple[str, ...]
    headline: str

    def find_results(self, folder: Path, sequence: Sequence) -> Path:
        """The results of a sequence that somebody else made, or `cli track` did.

        Raises:
            DetectionError: There are none.
        """
        places = (folder / self.result.format(sequence.name), folder / sequence.name / self.written)
        for place in places:
            if place.exists():
                return place
        raise DetectionError(
            f"--results {folder}: nothing for {sequence.name}, expected {places[0].name} in it, or "
            f"{sequence.name}/{self.written}"
        )


FORMATS: dict[str, DatasetFormat] = {
    "otb": DatasetFormat(
        task="sot",
        read=otb_data.read_otb,
        result="{}.txt",
        written="tracks.txt",
        collect=result_files.move,
        score=otb_data.score_otb,
        combine=mean_score,
        columns=otb_data.COLUMNS,
        headline="AUC",
    ),
    "davis": DatasetFormat(
        task="vos",
        read=davis_data.read_davis,
        result="{}",
        written="masks",
        collect=result_files.rename_masks,
        score=davis_data.score_davis,
        combine=mean_score,
        columns=davis_data.COLUMNS,
        headline="J&F",
    ),
    "mot": DatasetFormat(
        task="mot",
        read=mot_data.read_mot,
        result="{}.txt",
        written="tracks.txt",
        collect=result_files.renumber_rows,
        score=mot_data.score_mot_files,
        combine=trackeval_scores.combine,
        columns=mot_data.COLUMNS,
        headline="IDF1",
    ),
    "mots": DatasetFormat(
        task="mots",
        read=mots_data.read_mots_data,
        result="{}.txt",
        written="tracks.txt",
        collect=result_files.renumber_rows,
        score=mots_data.score_mots_files,
        combine=trackeval_scores.combine,
        columns=mots_data.COLUMNS,
        headline="IDF1",
    ),
    "posetrack": DatasetFormat(
        task="posetrack",
        read=posetrack_data.read_posetrack,
        result="{}.json",
        written="tracks.json",
        collect=result_files.renumber_images,
        score=posetrack_scores.score_posetrack,
        combine=posetrack_scores.combine_posetrack,
        columns=posetrack_scores.COLUMNS,
        headline="IDF1",
    ),
}
"""By the name that `--format` takes."""

FORMAT_OF_TASK = {row.task: name for name, row in FORMATS.items()}
"""Which layout a task's data has."""
