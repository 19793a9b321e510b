"""Every error that a user can meet.

A message is one line: what happened, what was got and what was expected, and the command or flag
that fixes it.  The command line prints it and exits with status 1, or 2 for `RequestError`: what a
file or a machine lacks is 1, what no file could make right is 2.
"""

from __future__ import annotations

import re
import signal

# Control characters of both sets, those that turn the direction of text around, and what stands for
# bytes of a file name that are no text, which OpenCV does not survive.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """One line that a terminal shows as it is.

    Text of files, streams and models may hold sequences that a terminal obeys; their characters
    are shown by their numbers.
    """
    line = " ".join(text.split("\n"))
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), line)


def one_line(error: Exception) -> str:
    """A library's error on one line, cut at 300 characters."""
    return " ".join(str(error).split())[:300]


def count(number: int, one: str, many: str) -> str:
    """`1 box`, `3 boxes`."""
    return f"{number} {one if number == 1 else many}"


class UnitrackError(Exception):
    """Base of all errors raised on purpose; its text is written for the person at the terminal."""


class SourceError(UnitrackError):
    """A source of frames is missing, cannot be decoded, or broke off."""


class SourceAbsentError(SourceError):
    """A camera or stream does not answer now, and may later."""


class DetectionError(UnitrackError):
    """Detections, masks, keypoints or a detector are unusable; names the file and the line."""


class BundleError(UnitrackError):
    """A bundle is missing, incomplete, changed since it was written, or of another version."""


class BackendError(UnitrackError):
    """An inference backend is absent, or was given something that its graph does not take."""


class ExportError(UnitrackError):
    """A backbone could not be turned into a bundle: weights, architecture or graph check."""


class BuildError(UnitrackError):
    """A TensorRT engine could not be built, or not in the precision that was promised."""


class CalibrationError(UnitrackError):
    """A model could not be made int8: unusable frames or layers, or it lost too much by it."""


class OutputError(UnitrackError):
    """Results could not be written.

    Attributes:
        lost: Frames that are in no result for it, mostly the one at hand.
    """

    lost = 1


class RequestError(UnitrackError):
    """A value of an option that cannot be, or options that contradict one another.

    The command line exits with status 2.
    """


SAME_REQUEST_S = 1.0
"""Within so many seconds, a signal that comes again is no second request to stop: `timeout` and
other supervisors send one to a process and to its group."""


class Stopped(KeyboardInterrupt):
    """The user or the system asks the program to end.

    Args:
        number: Of the signal; Ctrl-C is SIGINT.

    Attributes:
        status: What the process exits with, as shells say it: 128 and the signal's number.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number
        self.status = 128 + number

    def __str__(self) -> str:
        if self.number == signal.SIGINT:
            return "interrupted"
        return f"stopped by {signal.Signals(self.number).name}"

    @staticmethod
    def of(error: KeyboardInterrupt) -> Stopped:
        """The same; Python's own is of Ctrl-C."""
        return error if isinstance(error, Stopped) else Stopped()
