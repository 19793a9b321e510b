"""DAVIS' layout: `JPEGImages/480p/NAME/00000.jpg`, `Annotations/480p/NAME/00000.png`.

Splits are the lists `ImageSets/YEAR/SPLIT.txt`.  Of DAVIS-2016 all objects are one; of 2017 every
label is an object.  The first mask is given to the tracker; the first and the last frame do not
count.  YouTube-VOS, annotated every few frames, has the same layout without the resolution's
folder; only annotated frames are scored.  There an object starts with the mask that shows it first,
which may be a later one and is given to the tracker, and counts from the next one on.  Where
`meta.json` of the split and of `train` name categories, objects of those that `train` has are
scored apart from the others, and the benchmark's score is the mean of both.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import DetectionError, RequestError
from ...records import UInt8Array
from ...runtime.formats.davis import read_label_png
from ...runtime.formats.keypoints import load_json
from ..metrics.davis import VOID, region_and_contour, statistics
from ..metrics.scores import Score
from .base import ONE_OBJECT, Sequence, dirs, frame_names, images_in, numbers_of

COLUMNS = ("J&F", "J", "J recall", "J decay", "F", "F recall", "F decay")


YOUTUBE = "youtube"
"""Variant in which an object starts in the first frame that shows it and counts after it, up to the
last one."""

_RESOLUTIONS = ("480p", "Full-Resolution", "1080p")


def read_davis(root: Path, split: str | None) -> list[Sequence]:
    """The sequences of a data set.

    Args:
        root: Holds `JPEGImages` and `Annotations`.
        split: `val`, or `2016/val` where several years have one; None: all sequences.

    Raises:
        DetectionError: Another layout, or a sequence without its first mask.
        RequestError: No such split.
    """
    if not (root / "JPEGImages").is_dir():
        raise DetectionError(
            f"--data {root}: holds no JPEGImages, expected DAVIS' JPEGImages/480p/NAME and "
            "Annotations/480p/NAME"
        )
    images, truths = (_resolution(root / name) for name in ("JPEGImages", "Annotations"))
    names, year = [path.name for path in dirs(images)], ""
    if split is not None:
        names, year = _split(root, split)
    return [_sequence(name, images / name, truths / name, year) for name in names]


def holds_youtube_vos(root: Path, split: str | None) -> bool:
    """Whether a folder, or its folder `split`, holds sequences without a resolution's folder."""
    folder = root / split if split else root
    if not (folder / "JPEGImages").is_dir() or (root / "ImageSets").is_dir():
        return False
    return _resolution(folder / "JPEGImages") == folder / "JPEGImages"


def read_youtube_vos(root: Path, split: str | None) -> list[Sequence]:
    """The sequences of YouTube-VOS.

    Args:
        root: Holds `JPEGImages` and `Annotations`, or folders of splits that do.
        split: `train`, `valid`; None: all sequences of `root`.

    Raises:
        DetectionError: Another layout, or a sequence without its first mask.
    """
    folder = root / split if split else root
    images, truths = folder / "JPEGImages", folder / "Annotations"
    if not images.is_dir():
        raise DetectionError(f"--data {folder}: holds no JPEGImages/NAME and Annotations/NAME")
    found = [_sequence(path.name, path, truths / path.name, YOUTUBE) for path in dirs(images)]
    own, train = (place / "meta.json" for place in (folder, folder.absolute().parent / "train"))
    if own.absolute() == train or not (own.is_file() or train.is_file()):
        return found
    if absent := next((path for path in (own, train) if not path.is_file()), None):
        note = f"{absent} is not there: seen and unseen categories are not told apart"
        return [replace(sequence, notes=(note,)) for sequence in found]
    kinds, trained = _categories(own), _categories(train)
    seen = {kind for video in trained.values() for kind in video.values()}
    return [
        replace(
            sequence,
            groups=tuple(
                (label, "seen" if kind in seen else "unseen")
                for label, kind in kinds.get(sequence.name, {}).items()
            ),
        )
        for sequence in found
    ]


def _categories(path: Path) -> dict[str, dict[int, str]]:
    """The category of every object, by label, of every video of a `meta.json`.

    Raises:
        DetectionError: It is malformed.
    """
    try:
        kinds = {
            name: {int(label): thing["category"] for label, thing in video["objects"].items()}
            for name, video in load_json(path)["videos"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        kinds = None
    if kinds is None or not all(
        isinstance(k, str) for kind in kinds.values() for k in kind.values()
    ):
        raise DetectionError(
            f"{path}: expected 'videos' with the 'objects' of each, by label, and their 'category'"
        )
    return kinds


def _resolution(folder: Path) -> Path:
    for name in _RESOLUTIONS:
        if (folder / name).is_dir():
            return folder / name
    return folder


def _split(root: Path, split: str) -> tuple[list[str], str]:
    lists = sorted((root / "ImageSets").glob("*/*.txt"))
    known = {f"{path.parent.name}/{path.stem}": path for path in lists}
    fits = [key for key in known if key == split or key.partition("/")[2] == split]
    if len(fits) != 1:
        what = "there is none" if not fits else "several years have one"
        raise RequestError(
            f"--split {split}: {what}; {root / 'ImageSets'} has {', '.join(known) or 'no lists'}"
        )
    path = known[fits[0]]
    # Lists of 2016 name every image; those of 2017 the sequences.
    rows = [line.split()[0] for line in path.read_text("utf-8").splitlines() if line.strip()]
    names = [Path(row).parent.name if "/" in row else row for row in rows]
    return list(dict.fromkeys(names)), path.parent.name


def _sequence(name: str, folder: Path, truth: Path, year: str) -> Sequence:
    images = images_in(folder)
    masks = [path for path in images if (truth / f"{path.stem}.png").is_file()]
    late = year == YOUTUBE and masks
    if images and images[0] not in masks and not late:
        raise DetectionError(
            f"{truth / images[0].stem}.png: there is no such mask, and the tracker starts from it"
        )
    if not images:
        if not truth.is_dir():
            raise DetectionError(f"{folder}: no image, and no mask in {truth}")
        # Results of another program can be scored against the masks alone.
        masks = list(images_in(truth))
    variant = year if year in (ONE_OBJECT, YOUTUBE) else ""
    numbers = numbers_of(images or masks, 0)
    files = [truth / f"{mask.stem}.png" for mask in masks]
    known = _shows_again(files) if variant == YOUTUBE else len(files) > 1
    return Sequence(
        name,
        images,
        numbers,
        truth if known else None,
        init=str(truth if variant == YOUTUBE else files[0]),
        variant=variant,
    )


def _shows_again(masks: list[Path]) -> bool:
    """Whether masks are a truth; those of a test split show every object where it starts alone."""
    shown: set[int] = set()
    for mask in masks:
        labels = {int(label) for label in np.unique(read_label_png(mask))} - {0, VOID}
        if labels & shown:
            return True
        shown |= labels
    return False


def read_labels(path: Path, variant: str) -> UInt8Array:
    """A mask of the data set or of a tracker, with one object where the variant has only one.

    Raises:
        DetectionError: It cannot be read.
    """
    labels = read_label_png(path)
    return (labels > 0).astype(np.uint8) if variant == ONE_OBJECT else labels


def score_davis(sequence: Sequence, results: Path) -> list[Score]:
    """J and F of every object of one sequence.

    Args:
        sequence: With truth.
        results: Folder of masks called like those of the data set.

    Raises:
        DetectionError: A mask is missing or of another size, or no frame counts.
    """
    if sequence.truth is None:
        return []
    folder = sequence.truth
    names = [n for n in frame_names(sequence)[1:-1] if (folder / n).is_file()]
    if not names:
        raise DetectionError(
            f"{folder}: no mask between the first and the last frame of {sequence.name}, "
            "which do not count: there is nothing to score"
        )
    # All objects count in all frames, also before they appear and after they are gone.
    given = read_labels(folder / frame_names(sequence)[0], sequence.variant)
    truths = [read_labels(folder / name, sequence.variant) for name in names]
    objects = sorted(
        {int(label) for mask in (given, *truths) for label in np.unique(mask)} - {0, VOID}
    )
    scores: list[dict[int, tuple[float, float]]] = []
    for name, truth in zip(names, truths, strict=True):
        found = read_labels(results / name, sequence.variant)
        scores.append({k: region_and_contour(found, truth, k) for k in objects})
    return [_object_score([frame[k] for frame in scores]) for k in objects]


def score_youtube_vos(sequence: Sequence, results: Path) -> list[Score]:
    """J and F of every object, in the annotated frames after the first that shows it.

    Args:
        sequence: With truth.
        results: Folder of masks called like those of the data set.

    Raises:
        DetectionError: A mask is missing or of another size, or no frame counts.
    """
    if sequence.truth is None:
        return []
    folder = sequence.truth
    names = [n for n in frame_names(sequence) if (folder / n).is_file()]
    shown: dict[int, list[tuple[float, float]]] = {}
    for name in names:
        truth = read_labels(folder / name, sequence.variant)
        found = read_labels(results / name, sequence.variant) if shown else truth
        for label, scores in shown.items():
            scores.append(region_and_contour(found, truth, label))
        new = {int(label) for label in np.unique(truth)} - {0, VOID, *shown}
        shown |= {label: [] for label in new}
    counted = {label: scores for label, scores in sorted(shown.items()) if scores}
    if not counted:
        raise DetectionError(f"{folder}: no mask after the first frame of {sequence.name}")
    groups = dict(sequence.groups) or dict.fromkeys(counted, "")
    if unknown := set(counted) - set(groups):
        raise DetectionError(
            f"{folder.parent.parent / 'meta.json'}: no category of object {min(unknown)} of "
            f"{sequence.name!r}"
        )
    return [_object_score(scores, groups[label]) for label, scores in counted.items()]


def _object_score(frames: list[tuple[float, float]], group: str = "") -> Score:
    j, f = (statistics([pair[which] for pair in frames]) for which in (0, 1))
    return Score(dict(zip(COLUMNS, ((j[0] + f[0]) / 2, *j, *f), strict=True)), group)
