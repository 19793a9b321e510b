"""Which frames of a source are worth calibrating on: spread over its length and its scenes.

The choice is deterministic: the same source gives the same frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import CalibrationError, RequestError, SourceError
from ..errors import count as count_of
from ..records import Frame, UInt8Array
from ..runtime.detectors.decoded import DetectorFacts
from ..runtime.detectors.decoded import network_size as detector_size
from ..runtime.detectors.image import Canvas, ImageRule
from ..runtime.paths import at_home, is_folder
from ..runtime.preprocessing import Letterbox, network_size
from ..runtime.sources.base import PolledSource, Source, natural_key
from ..runtime.sources.images import files_of_pattern, is_image, is_video
from ..runtime.sources.open import is_pattern, open_source

FEWEST = 8
"""Different frames below which ranges mean nothing."""

SHORT_SIDE = 608
"""Larger images are made smaller, since no head looks at more by default."""

SCENE_CHANGE = 16.0
"""Mean difference of two frames' small images, in grey levels, that a cut exceeds."""

CUT_OVER_MOTION = 2.5
"""And by how much it exceeds the differences around it, which fast cameras make large as well."""

DUPLICATE = 0.6
"""Mean difference, in grey levels, up to which two frames are the same for our purpose."""

ONE_COLOUR = 2.0
"""Standard deviation, in grey levels, up to which a frame shows nothing."""

_SMALL_WH = (48, 27)
_HELD_OUT_EVERY, _MOST_HELD_OUT, _FEW_HELD_OUT = 8, 8, 4
Float32 = npt.NDArray[np.float32]

Prepare = Callable[[UInt8Array], UInt8Array]
"""From a source's image to the network's, both (H, W, 3) uint8 BGR."""

Tick = Callable[[int, int | None], None]
"""Called with how much is done, and of how much, where that is known."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The frames that a calibration sees.

    Attributes:
        images: (H, W, 3) uint8 BGR each, at the network's size.
        names: Source and number of each, for the report.
        seen: Frames that the sources have.
        scenes: Scenes that they fall into.
        one_colour: Frames left out because they show nothing.
        duplicates: Frames left out because they look like another one.
    """

    images: tuple[UInt8Array, ...]
    names: tuple[str, ...]
    seen: int
    scenes: int
    one_colour: int
    duplicates: int

    @property
    def fitted(self) -> tuple[UInt8Array, ...]:
        """Those that ranges are taken from."""
        held = set(self._held_rows())
        return tuple(image for row, image in enumerate(self.images) if row not in held)

    @property
    def held_out(self) -> tuple[UInt8Array, ...]:
        """Those that only judge the result."""
        return tuple(self.images[row] for row in self._held_rows())

    def _held_rows(self) -> list[int]:
        rows = range(_HELD_OUT_EVERY // 2, len(self.images), _HELD_OUT_EVERY)
        chosen = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_HELD_OUT)).round().astype(int)
        return [rows[at] for at in chosen]

    def notes(self, asked: int) -> tuple[str, ...]:
        """What the user should know of the frames.

        Args:
            asked: How many frames were wanted.
        """
        notes = []
        if self.one_colour:
            notes.append(f"{self.one_colour} frames of one colour were left out")
        if self.duplicates:
            notes.append(f"{self.duplicates} frames were left out: they look like another one")
        if len(self.images) < asked:
            notes.append(
                f"{len(self.images)} different frames were found where --count {asked} were "
                "wanted: more footage of what the camera will see makes the ranges safer"
            )
        held = len(self._held_rows())
        if held < _FEW_HELD_OUT:
            least = _HELD_OUT_EVERY * (_FEW_HELD_OUT - 1) + _HELD_OUT_EVERY // 2 + 1
            notes.append(
                f"{count_of(held, 'frame', 'frames')} of {len(self.images)} held out to judge the "
                f"result, which is a guess: {least} or more hold out {_FEW_HELD_OUT}"
            )
        return tuple(notes)


def sample_frames(
    sources: Sequence[str],
    count: int,
    prepare: Prepare | None = None,
    tick: Tick = lambda _done, _of: None,
) -> Sample:
    """Choose frames, evenly and from every scene, and read them.

    Args:
        sources: As on the command line; files only. Of a folder, and of a pattern, all images and
            all videos.
        count: How many frames at most.
        prepare: Makes the network's image of a frame; None: as for a backbone of any image size.
        tick: Called after every frame that was read.

    Raises:
        RequestError: A source is live.
        SourceError: A source is missing, or a frame of it cannot be read.
        CalibrationError: Fewer than `FEWEST` different frames that show anything.
    """
    asked, sources = sources, [one for text in sources for one in _files_of(text)]
    smalls, lengths = _look_through(sources, tick)
    useful = np.flatnonzero(smalls.std(axis=1) > ONE_COLOUR)
    scenes = _scenes(smalls, useful, np.cumsum(lengths))
    spread = _spread(scenes, count)
    chosen = _different(smalls, spread)
    if len(chosen) < FEWEST:
        raise CalibrationError(
            f"--frames {' '.join(asked)}: of {len(smalls)} frames, {len(smalls) - len(useful)} "
            f"are of one colour and {len(chosen)} of those chosen differ, expected {FEWEST} or "
            "more: record what the camera will really see, at different moments"
        )
    images, names = _read(sources, lengths, chosen, prepare or backbone_images(()))
    return Sample(
        tuple(images),
        tuple(names),
        seen=len(smalls),
        scenes=len(scenes),
        one_colour=len(smalls) - len(useful),
        duplicates=len(spread) - len(chosen),
    )


def _files_of(text: str) -> list[str]:
    """A source for the images of a folder or pattern, and one for each of its videos.

    Raises:
        RequestError: The text is empty.
    """
    if not text:
        raise RequestError("--frames: got an empty value, expected a video, a folder or a pattern")
    if is_folder(at_home(text)):
        files = list(filter(Path.is_file, at_home(text).iterdir()))
    elif is_pattern(text):
        files = files_of_pattern(text)
    else:
        return [text]
    videos = [str(path) for path in sorted(files, key=natural_key) if is_video(path)]
    # Without videos, who opens the images says what else there is.
    images = not videos or any(map(is_image, files))
    return [text, *videos] if images else videos


def _look_through(sources: Sequence[str], tick: Tick) -> tuple[Float32, list[int]]:
    """A small grey image (cells,) of every frame, and how many frames each source has."""
    smalls: list[Float32] = []
    lengths = []
    for text in sources:
        before = len(smalls)
        with _open(text) as source:
            if source.info.live:
                raise RequestError(
                    f"--frames {source.info.name} is live, and calibrating reads its frames twice: "
                    "record a video of it first"
                )
            for frame in _all_frames(source):
                smalls.append(_small(frame.image))
                tick(len(smalls), source.info.frame_count if len(sources) == 1 else None)
        lengths.append(len(smalls) - before)
    return np.stack(smalls), lengths


def _open(text: str) -> PolledSource:
    try:
        return open_source(text)
    except SourceError as error:
        raise SourceError(f"--frames: {error}") from None


def _all_frames(source: Source) -> Iterator[Frame]:
    """Every frame; one that cannot be read is an error, since the others alone are of no use."""
    yield from source
    if source.ended_early is not None:
        raise SourceError(f"--frames: {source.ended_early}; leave it out or repair it")


def _small(image: UInt8Array) -> Float32:
    shrunk = cv2.resize(image, _SMALL_WH, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(shrunk, cv2.COLOR_BGR2GRAY), np.float32).ravel()


def _scenes(
    smalls: Float32, useful: npt.NDArray[np.intp], ends: npt.NDArray[np.intp]
) -> list[npt.NDArray[np.intp]]:
    """The useful frames, scene by scene; a source's end ends a scene."""
    change = np.abs(np.diff(smalls[useful], axis=0)).mean(axis=1)
    cut = [
        value > SCENE_CHANGE and value > CUT_OVER_MOTION * _motion_around(change, at)
        for at, value in enumerate(change)
    ]
    source = np.searchsorted(ends, useful, side="right")
    cuts = np.flatnonzero(np.array(cut, bool) | (np.diff(source) > 0)) + 1
    return [scene for scene in np.split(useful, cuts) if len(scene)]


def _motion_around(change: Float32, at: int) -> float:
    """Median of the differences before and after this one."""
    around = np.concatenate([change[max(0, at - 8) : at], change[at + 1 : at + 9]])
    return float(np.median(around)) if len(around) else 0.0


def _spread(scenes: list[npt.NDArray[np.intp]], count: int) -> list[int]:
    """Up to `count` frames: one of every scene, the rest by their lengths, evenly inside each."""
    if len(scenes) > count:
        scenes = [scenes[(2 * at + 1) * len(scenes) // (2 * count)] for at in range(count)]
    shares = [1] * len(scenes)
    for _ in range(count - len(scenes)):
        # The next frame goes where they stand farthest apart.
        gaps = [len(s) / n if n < len(s) else 0 for s, n in zip(scenes, shares, strict=True)]
        if not gaps or max(gaps) == 0:
            break
        shares[int(np.argmax(gaps))] += 1
    return [
        int(scene[(2 * at + 1) * len(scene) // (2 * share)])
        for scene, share in zip(scenes, shares, strict=True)
        for at in range(share)
    ]


def _different(smalls: Float32, chosen: list[int]) -> list[int]:
    """Those that look like none before them."""
    kept: list[int] = []
    for row in chosen:
        if not kept or np.abs(smalls[kept] - smalls[row]).mean(axis=1).min() > DUPLICATE:
            kept.append(row)
    return kept


def _read(
    sources: Sequence[str],
    lengths: list[int],
    chosen: list[int],
    prepare: Prepare,
) -> tuple[list[UInt8Array], list[str]]:
    wanted = set(chosen)
    images, names = [], []
    first = 0
    for text, length in zip(sources, lengths, strict=True):
        mine = {row - first for row in wanted if first <= row < first + length}
        first += length
        if not mine:
            continue
        with _open(text) as source:
            for frame in source:
                if frame.index in mine:
                    images.append(prepare(frame.image))
                    names.append(f"{source.info.name}#{frame.index}")
                if frame.index >= max(mine):
                    break
    return images, names


def backbone_images(sizes_hw: tuple[tuple[int, int], ...]) -> Prepare:
    """Images as the heads would make them.

    Args:
        sizes_hw: Image sizes that the bundle takes; empty: any.
    """

    def prepare(image: UInt8Array) -> UInt8Array:
        height, width = image.shape[:2]
        ratio = min(1.0, SHORT_SIDE / min(height, width))
        wanted = round(height * ratio), round(width * ratio)
        size = network_size(sizes_hw, wanted, (height, width))
        return np.ascontiguousarray(Letterbox.fit((height, width), size).apply(image))

    return prepare


def detector_images(facts: DetectorFacts, sizes_hw: tuple[tuple[int, int], ...]) -> Prepare:
    """Images as the detector would make them.

    Args:
        facts: Of the detector.
        sizes_hw: The image size that its graph takes; empty: it follows the source.
    """
    canvas = Canvas(ImageRule("bgr-255", facts.fit, facts.pad, facts.smooth))

    def prepare(image: UInt8Array) -> UInt8Array:
        height, width = image.shape[:2]
        size = sizes_hw[0] if sizes_hw else detector_size((height, width), facts)
        placed, _ = canvas.put(image, size)
        return np.array(placed)

    return prepare


def shrunk(images: Sequence[UInt8Array], short_side: int) -> tuple[UInt8Array, ...]:
    """The images with a short side of at most so many pixels."""
    small = []
    for image in images:
        ratio = min(1.0, short_side / min(image.shape[:2]))
        size = round(image.shape[1] * ratio), round(image.shape[0] * ratio)
        small.append(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8))
    return tuple(small)
