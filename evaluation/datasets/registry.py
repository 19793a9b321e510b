"""The data sets that `cli eval` and `cli compare` read, one row a layout.

A row imports the reader and the metrics of its layout when it is looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import DetectionError
from ..metrics.scores import Score, combine, mean_score
from . import result_files
from .base import Reader, Sequence, of_existing


@dataclass(frozen=True, slots=True)
class DatasetFormat:
    """How a benchmark is read, tracked and scored.

    Attributes:
        task: A key of `tracking.registry.TASKS`.
        read: Root folder and split → sequences.
        score: Sequence with truth and its results → scores, one an object or class.
        columns: Of a table of scores.
        headline: The column that sequences and backbones are compared by.
        result: What a result file or folder is called: `{}` stands for the sequence.
        written: What `cli track` calls it in its own folder.
        collect: Brings what `cli track` wrote into the benchmark's form: sequence, from, to.
        combine: Scores of one group → one score, as the official tool does it.
        result_format: What `cli track --format` is given, where the benchmark's results are not the
            task's own.
        overall: Whether the benchmark's own score is the mean over the groups.
    """

    task: str
    read: Reader
    score: Callable[[Sequence, Path], list[Score]]
    columns: tuple[str, ...]
    headline: str
    result: str = "{}.txt"
    written: str = "tracks.txt"
    collect: Callable[[Sequence, Path, Path], None] = result_files.move
    combine: Callable[[list[Score]], Score] = mean_score
    result_format: str | None = None
    overall: bool = False

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
        score=otb.score_otb,
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
        columns=davis.COLUMNS,
        headline="J&F",
    )


def _mot() -> DatasetFormat:
    from . import mot

    return DatasetFormat(
        task="mot",
        read=mot.read_mot,
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


def _lasot() -> DatasetFormat:
    from . import single_object

    return DatasetFormat(
        task="sot",
        read=single_object.read_lasot,
        score=single_object.score_ope,
        columns=single_object.COLUMNS,
        headline="AUC",
    )


def _trackingnet() -> DatasetFormat:
    from . import single_object

    return DatasetFormat(
        task="sot",
        read=single_object.read_trackingnet,
        score=single_object.score_ope,
        columns=single_object.COLUMNS,
        headline="AUC",
    )


def _got10k() -> DatasetFormat:
    from . import single_object

    return DatasetFormat(
        task="sot",
        read=single_object.read_got10k,
        score=single_object.score_got10k,
        combine=single_object.combine_got10k,
        columns=single_object.GOT_COLUMNS,
        headline="AO",
    )


def _youtube_vos() -> DatasetFormat:
    from . import davis

    return DatasetFormat(
        task="vos",
        read=davis.read_youtube_vos,
        result="{}",
        written="masks",
        collect=result_files.rename_masks,
        score=davis.score_youtube_vos,
        columns=davis.COLUMNS,
        headline="J&F",
        overall=True,
    )


def _kitti() -> DatasetFormat:
    from . import kitti

    return DatasetFormat(
        task="mot",
        read=kitti.read_kitti_data,
        collect=result_files.renumber_rows_from_zero,
        score=kitti.score_kitti_files,
        combine=combine,
        columns=kitti.COLUMNS,
        headline="IDF1",
        result_format="kitti",
    )


class _Formats(Mapping[str, DatasetFormat]):
    """Rows by name; each is made when it is first looked up."""

    def __init__(self, makers: dict[str, Callable[[], DatasetFormat]]) -> None:
        self._makers = makers
        self._rows: dict[str, DatasetFormat] = {}

    def __getitem__(self, name: str) -> DatasetFormat:
        if name not in self._rows:
            row = self._makers[name]()
            self._rows[name] = replace(row, read=of_existing(row.read))
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


FORMATS: Mapping[str, DatasetFormat] = _Formats(
    {
        "otb": _otb,
        "lasot": _lasot,
        "got10k": _got10k,
        "trackingnet": _trackingnet,
        "davis": _davis,
        "youtube-vos": _youtube_vos,
        "mot": _mot,
        "kitti": _kitti,
        "mots": _mots,
        "posetrack": _posetrack,
    }
)
"""By the name that `--format` takes."""

FORMAT_OF_TASK = {
    "sot": "otb",
    "vos": "davis",
    "mot": "mot",
    "mots": "mots",
    "posetrack": "posetrack",
}
"""Which layout a task's data has, where nothing says that it is another."""


def _other_layouts(task: str) -> list[tuple[str, Callable[[Path, str | None], bool]]]:
    """The layouts that are told from the task's first one by what a folder holds."""
    if task == "sot":
        from . import single_object as sot

        return [
            ("trackingnet", sot.holds_trackingnet),
            ("lasot", sot.holds_lasot),
            ("got10k", sot.holds_got10k),
        ]
    if task == "vos":
        from .davis import holds_youtube_vos

        return [("youtube-vos", holds_youtube_vos)]
    return [("kitti", _holds_kitti)] if task == "mot" else []


def _holds_kitti(root: Path, split: str | None) -> bool:
    """Whether a folder, or its folder `split`, is of KITTI's layout; its reader is not loaded."""
    folder = root / split if split else root
    return (folder / "image_02").is_dir() or (folder / "label_02").is_dir()


UNSUPPORTED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("VOT", ("list.txt", "*/color")),
    ("VOT", ("list.txt", "sequences")),
    ("VisDrone", ("sequences/*/*.jpg", "annotations/*.txt")),
    ("BDD100K", ("labels/box_track_20",)),
    ("TAO or BURST", ("annotations/validation.json", "frames")),
    ("UAV123", ("anno/UAV123",)),
    ("NfS", ("*/30/*.txt",)),
    ("nuScenes", ("v1.0-*",)),
    ("Waymo", ("*.tfrecord",)),
    ("TrackingNet, still packed", ("zips",)),
)
"""Layouts that are known and not read: name, and patterns of paths that all must be there."""


def format_of(task: str, root: Path, split: str | None) -> str:
    """Which layout a data set has.

    Args:
        task: A key of `FORMAT_OF_TASK`.
        root: Folder of the data.
        split: As `--split` takes it.

    Raises:
        DetectionError: A layout that is known and not supported.
    """
    for name, holds in _other_layouts(task):
        if holds(root, split):
            return name
    for name, patterns in UNSUPPORTED:
        if root.is_dir() and all(next(root.glob(p), None) is not None for p in patterns):
            raise DetectionError(
                f"--data {root}: this is the layout of {name}, which is not supported; "
                f"{known_layouts(task)}"
            )
    return FORMAT_OF_TASK[task]


def known_layouts(task: str) -> str:
    """The layouts of a task, for messages."""
    names = [name for name, row in FORMATS.items() if row.task == task]
    return f"--task {task} reads {', '.join(names)} (docs/evaluation.md)"


def read_sequences(task: str, name: str | None, root: Path, split: str | None) -> list[Sequence]:
    """The sequences of a data set.

    Args:
        task: A key of `FORMAT_OF_TASK`.
        name: A key of `FORMATS`, as `format_of` gives it; None: an unknown layout's error names
            those that are known.
        root: Folder of the data.
        split: As `--split` takes it.

    Raises:
        DetectionError: Another layout, or a damaged one.
        RequestError: No such split.
    """
    chosen = name or format_of(task, root, split)
    try:
        return FORMATS[chosen].read(root, split)
    except DetectionError as error:
        if name is not None or not str(error).startswith(f"--data {root}"):
            raise
        raise DetectionError(f"{error}; {known_layouts(task)}") from None
