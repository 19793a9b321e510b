"""The data sets that `cli eval` and `cli compare` read, one row a layout.

A row imports the reader and the metrics of its layout when it is looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import DetectionError
from ..metrics.scores import Score, combine, mean_score
from . import result_files
from .base import Sequence


@dataclass(frozen=True, slots=True)
class DatasetFormat:
    """How a benchmark is read, tracked and scored.

    Attributes:
        task: A key of `tracking.registry.TASKS`.
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
        """The results of a sequence, made by another program or by `cli track`.

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


def _otb() -> DatasetFormat:
    from . import otb

    return DatasetFormat(
        task="sot",
        read=otb.read_otb,
        result="{}.txt",
        written="tracks.txt",
        collect=result_files.move,
        score=otb.score_otb,
        combine=mean_score,
        columns=otb.COLUMNS,
        headline="AUC",
    )


def _davis() -> DatasetFormat:
    from . import davis

    return DatasetFormat(
        task="vos",
        read=davis.read_davis,
        result="{}",
        written="masks",
        collect=result_files.rename_masks,
        score=davis.score_davis,
        combine=mean_score,
        columns=davis.COLUMNS,
        headline="J&F",
    )


def _mot() -> DatasetFormat:
    from . import mot

    return DatasetFormat(
        task="mot",
        read=mot.read_mot,
        result="{}.txt",
        written="tracks.txt",
        collect=result_files.renumber_rows,
        score=mot.score_mot_files,
        combine=combine,
        columns=mot.COLUMNS,
        headline="IDF1",
    )


def _mots() -> DatasetFormat:
    from . import mots

    return DatasetFormat(
        task="mots",
        read=mots.read_mots_data,
        result="{}.txt",
        written="tracks.txt",
        collect=result_files.renumber_rows,
        score=mots.score_mots_files,
        combine=combine,
        columns=mots.COLUMNS,
        headline="IDF1",
    )


def _posetrack() -> DatasetFormat:
    from ..metrics import pose
    from . import posetrack

    return DatasetFormat(
        task="posetrack",
        read=posetrack.read_posetrack,
        result="{}.json",
        written="tracks.json",
        collect=result_files.renumber_images,
        score=pose.score_posetrack,
        combine=pose.combine_posetrack,
        columns=pose.COLUMNS,
        headline="IDF1",
    )


class _Formats(Mapping[str, DatasetFormat]):
    """Rows by name; each is made when it is first looked up."""

    def __init__(self, makers: dict[str, Callable[[], DatasetFormat]]) -> None:
        self._makers = makers
        self._rows: dict[str, DatasetFormat] = {}

    def __getitem__(self, name: str) -> DatasetFormat:
        if name not in self._rows:
            self._rows[name] = self._makers[name]()
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


FORMATS: Mapping[str, DatasetFormat] = _Formats(
    {"otb": _otb, "davis": _davis, "mot": _mot, "mots": _mots, "posetrack": _posetrack}
)
"""By the name that `--format` takes."""

FORMAT_OF_TASK = {
    "sot": "otb",
    "vos": "davis",
    "mot": "mot",
    "mots": "mots",
    "posetrack": "posetrack",
}
"""Which layout a task's data has."""
