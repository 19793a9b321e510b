"""Recording for days: results cut into segments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...errors import OutputError, RequestError
from ...records import Frame, Tracks
from .base import EarlierFileError, MakeWriter, Writer


def segment_path(path: Path, number: int) -> Path:
    """Where a segment of an output goes: `video.mp4` becomes `video-0003.mp4`.

    Args:
        path: The output, as it would be called in one piece.
        number: Of the segment, from 1.
    """
    return path.with_name(f"{path.stem}-{number:04d}{path.suffix}")


def check_minutes(minutes: float) -> None:
    """Whether segments can be of a length.

    Raises:
        RequestError: It is not a positive number of minutes.
    """
    if not 0.01 <= minutes <= 1e6:
        raise RequestError(f"--segment {minutes:g}: expected minutes, 0.01 to 1000000")


class Segments(Writer):
    """One writer after the other, each for the same length of time.

    Segment n holds the frames from minute (n - 1) * `minutes` of the source up to n * `minutes`:
    the same video gives the same segments, and a camera that was away leaves its numbers out.

    Args:
        path: The output in one piece; see `segment_path`.
        make: Opens the writer of a segment.
        minutes: Length of a segment.
        on_new: Called with the path of every segment that is begun.

    Raises:
        RequestError: The length is not a positive number.
    """

    def __init__(
        self,
        path: Path,
        make: MakeWriter,
        minutes: float,
        on_new: Callable[[Path], None] = lambda _path: None,
    ) -> None:
        check_minutes(minutes)
        self._on_new = on_new
        self._path = path
        self._make = make
        self._seconds = 60 * minutes
        self._number = 0
        self._writer: Writer | None = None

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Write one frame, to the next segment where its time has come.

        Raises:
            EarlierFileError: The segment before could not be completed; the frame is written.
            OutputError: As the writers.
        """
        number, failure = self.number_of(frame), None
        if self._writer is None or number > self._number:
            try:
                self.close()
            except OutputError as error:
                failure = EarlierFileError(str(error))
            self._number = number
            path = segment_path(self._path, number)
            self._on_new(path)
            self._writer = self._make(path)
        self._writer.write(frame, tracks)
        if failure is not None:
            raise failure

    def number_of(self, frame: Frame) -> int:
        """The segment that a frame belongs to."""
        return 1 + int(frame.time_s / self._seconds)

    def close(self) -> None:
        """Complete the current segment.

        Raises:
            OutputError: As the writers.
        """
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
