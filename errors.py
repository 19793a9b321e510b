"""Every error that a user can meet.

A message is one line: what happened, what was got and what was expected, and the command or flag
that fixes it.  The command line prints it as it is and exits with status 1.
"""

from __future__ import annotations


class UnitrackError(Exception):
    """Base of all errors raised on purpose; its text is written for the person at the terminal."""


class SourceError(UnitrackError):
    """A source of frames is missing, cannot be decoded, or broke off."""


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
    """A backbone could not be made int8: unusable frames or layers, or it lost too much by it."""


class OutputError(UnitrackError):
    """Results could not be written."""


class RequestError(UnitrackError):
    """What was asked for contradicts itself; the command line exits with status 2."""
