"""Images as a source: one file, a folder in natural order, a pattern; every page of each file."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from ...errors import DetectionError, RequestError, SourceError, count, one_line
from ...records import Frame, UInt8Array
from ..paths import is_folder
from .base import (
    FILE_FPS,
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    SourceInfo,
    natural_key,
    silence_opencv,
)
from .image_files.decode import count_images, read_images
from .image_files.levels import Levels, Scaling
from .image_files.numbering import numbers_in_names
from .read_ahead import FileSource, OneSize


def images_in_folder(folder: Path, name: str) -> list[Path]:
    """The images of a folder in natural order, hidden files left out.

    Raises:
        SourceError: The folder cannot be read or holds no image.
    """
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"{name}: cannot be read: {error.strerror}") from None
    files = [path for path in entries if not path.is_dir()]
    images = list(filter(is_image, files))
    if images:
        return sorted(images, key=natural_key)
    folders = sorted(path for path in entries if path.is_dir())
    inner = next(filter(_holds_image, folders), None)
    hint = "" if inner is None else f"; {inner} has some"
    video = min((path for path in files if is_video(path)), default=None)
    hint += "" if video is None else f"; it holds videos: name them one by one, such as {video}"
    raise SourceError(
        f"{name}: no image in this folder ({count(len(files), 'other file', 'other files')}, "
        f"{count(len(folders), 'folder', 'folders')}); expected {_suffixes()}{hint}"
    )


def files_of_pattern(pattern: str) -> list[Path]:
    """The files that a pattern matches; `**` goes into folders."""
    found = glob.glob(os.path.expanduser(pattern), recursive=True)  # noqa: PTH111, PTH207 absolute
    return [path for path in map(Path, found) if not is_folder(path)]


def images_of_pattern(pattern: str) -> list[Path]:
    """The images that a pattern matches, in natural order; `**` goes into folders.

    Raises:
        SourceError: It matches no image.
    """
    files = files_of_pattern(pattern)
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if images:
        return sorted(images, key=natural_key)
    raise SourceError(
        f"the pattern {pattern!r} matches no image ({len(files)} other files); "
        f"expected {_suffixes()}"
    )


def is_image(path: Path) -> bool:
    """Whether a file is called like an image, and not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def is_video(path: Path) -> bool:
    """Whether a file is called like a video, and not hidden."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def _holds_image(folder: Path) -> bool:
    try:
        return any(map(is_image, folder.iterdir()))
    except OSError:
        return False


def _suffixes() -> str:
    return " ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))


# Of these a file may hold several images; so may a PNG, which only its content shows.
_PAGED_SUFFIXES = frozenset({".gif", ".tif", ".tiff", ".webp", ".apng", ".avif"})


def open_folder(
    folder: Path, name: str, *, fps: float | None = None, levels: Levels | None = None
) -> FileSource:
    """Opens the images of a folder, or those of a sequence in MOTChallenge's layout.

    Of the latter, which holds no image itself, they are in `img1`, or what `seqinfo.ini` names, and
    have its rate where `fps` is None. Where both hold images, a note says which are left out.

    Raises:
        SourceError: As `images_in_folder` and `open_images`, or `seqinfo.ini` cannot be read.
    """
    if _holds_image(folder):
        also = folder / "img1"
        notes = [f"{name}: its own images are tracked; name {also} for those in there"]
        return open_images(
            images_in_folder(folder, name),
            name,
            fps=fps,
            levels=levels,
            notes=notes if _holds_image(also) else [],
        )
    from ..formats.mot import read_seqinfo

    try:
        info = read_seqinfo(folder / "seqinfo.ini")
    except (DetectionError, OSError) as error:
        hint = f"mend it, or name the folder of the images, such as {folder / 'img1'}"
        raise SourceError(f"{one_line(error)}: {hint}") from None
    inner = folder / info.get("imdir", "img1")
    if not _holds_image(inner):
        if "imdir" in info:
            raise SourceError(f"{name}: no image in {inner}, which its seqinfo.ini names as imDir")
        inner = folder
    images = images_in_folder(inner, name)
    note = f"{name} is a sequence of MOTChallenge's layout: the images are those in {inner}"
    if fps is None and "framerate" in info:
        fps = float(info["framerate"])
        note += f", at {fps:g} frames a second, as its seqinfo.ini says"
    return open_images(images, name, fps=fps, levels=levels, notes=[note])


def open_images(
    paths: Sequence[Path],
    name: str,
    *,
    fps: float | None = None,
    levels: Levels | None = None,
    notes: Sequence[str] = (),
) -> FileSource:
    """Opens a sequence of images; those of another size are scaled into the first one's.

    A file of several images (TIFF, GIF, WebP, AVIF, animated PNG) gives a frame for each. Pixels
    of more than 8 bits are scaled to bytes, all by one rule.

    Args:
        paths: In order; at least one.
        name: What messages call the sequence.
        fps: Frames per second; None: the times of a single animated file, else 25.
        levels: What becomes black and white in images of more than 8 bits; None: `Levels.of` the
            first ones.
        notes: What else is to be said, a line each.

    Raises:
        SourceError: The first image cannot be read.
        RequestError: It has 8 bits, and yet `levels` are given.
    """
    silence_opencv()
    scaling = Scaling(levels)
    images = scaling.apply(
        (pixels, (path, seconds)) for path in paths for pixels, seconds in read_images(path)
    )
    first = next(images)
    if levels is not None and scaling.used is None:
        raise RequestError(
            f"--range belongs to images of more than 8 bits, and {paths[0]} has 8: leave it out"
        )
    image, (_, shown_s) = first
    seconds = shown_s if len(paths) == 1 else None
    rate = fps or (1 / seconds if seconds else FILE_FPS)
    frames_known = sum(
        count_images(path) if len(paths) == 1 or path.suffix.lower() in _PAGED_SUFFIXES else 1
        for path in paths
    )
    size_hw = (int(image.shape[0]), int(image.shape[1]))
    one_each = frames_known == len(paths)
    names = tuple(path.name for path in paths) if one_each else None
    info = SourceInfo(
        *(name, "images", size_hw, rate, frames_known),
        live=False,
        numbers=numbers_in_names(names) if names else None,
        counted=True,
        names=names,
    )
    own_times = bool(seconds) and fps is None
    one_size = OneSize(name, size_hw)
    frames = _image_frames(chain([first], images), one_size, 1 / rate, own_times=own_times)
    replaced = [f"--fps {fps:g} in place of the file's own times"] if seconds and fps else []

    def all_notes() -> list[str]:
        return [*notes, *replaced, *scaling.notes(), *one_size.notes()]

    return FileSource(info, frames, lambda: None, all_notes)


def _image_frames(
    images: Iterable[tuple[UInt8Array, tuple[Path, float | None]]],
    one_size: OneSize,
    interval_s: float,
    *,
    own_times: bool,
) -> Iterator[Frame]:
    time_s = 0.0
    for index, (image, (path, seconds)) in enumerate(images):
        image = one_size.apply(image, index, f" ({path.name})")
        at_s = time_s if own_times else index * interval_s
        # Pages have no names, as the frames of a video have none.
        yield Frame(index, at_s, image, name=path.name if seconds is None else "")
        time_s += seconds or interval_s
