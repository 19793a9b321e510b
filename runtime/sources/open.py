"""The forms a source can be named in, and `open_source`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import RequestError, SourceError
from ..paths import at_home, check_regular, exists, is_folder
from .base import IMAGE_SUFFIXES, LiveOptions, PolledSource
from .redact import redact, with_secrets

if TYPE_CHECKING:
    from .image_files.levels import Levels

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "http", "https"})
_REMOTE_FILE = re.compile(r"https?://[^?#]+\.(mp4|mkv|avi|mov|webm)([?#].*)?$", re.IGNORECASE)
_CAMERA = re.compile(r"(?:camera|/dev/video)(\d+)$")
_CSI = re.compile(r"csi(\d+)$")
_GST = "gst:"
_MOST_FPS = 1_000_000


@dataclass(frozen=True, slots=True)
class SourceForm:
    """One way to name a source.

    Attributes:
        example: How it looks on the command line.
        matches: Whether a text has this form; tried in the order of `SOURCES`.
        open: Opens it; takes the text, the options of files, and those of sources that do not wait.
    """

    example: str
    matches: Callable[[str], bool]
    open: Callable[[str, FileOptions, LiveOptions], PolledSource]


@dataclass(frozen=True, slots=True)
class FileOptions:
    """What a user may say of files.

    Attributes:
        fps: Frames per second, in place of a file's own times.
        levels: What becomes black and white in images of more than 8 bits.
    """

    fps: float | None = None
    levels: Levels | None = None


def open_source(
    text: str,
    *,
    fps: float | None = None,
    value_range: str | None = None,
    options: LiveOptions | None = None,
) -> PolledSource:
    """Opens the source that a text names.

    Args:
        text: A video file, an image (of one or several pages), a folder of images, a pattern such
            as 'frames/*.jpg', camera0 … cameraN, csi0 … csiN, gst:PIPELINE, or an rtsp, rtmp or
            http(s) URL. A URL that ends in .mp4, .mkv, .avi, .mov or .webm is read as a file (every
            frame), any other one as live. `{secret:NAME}` in it is filled in; see `with_secrets`.
        fps: Frames per second of a file source, in place of its own timestamps (of images: 25 a
            second, where they have none).
        value_range: `LOW,HIGH`: what becomes black and white in pixels of more than 8 bits; None:
            a rule by the first images.
        options: Of sources that do not wait.

    Returns:
        The open source; the caller closes it, best as a context manager. Frames are BGR uint8,
        turned upright as EXIF or the container's rotation tag says.

    Raises:
        RequestError: `fps` or `value_range` is no such value, or the source takes none.
        SourceError: Nothing there, not decodable, or without any frame.
    """
    options, files = options or LiveOptions(), file_options(text, fps, value_range)
    for form in SOURCES.values():
        if form.matches(text):
            source = form.open(with_secrets(text), files, options)
            return _paced(source) if options.realtime and not source.info.live else source
    scheme = _URL.match(text)
    if scheme:
        raise SourceError(
            f"source {redact(text)!r}: unknown scheme {scheme[1]!r}, expected one of "
            + ", ".join(sorted(_LIVE_SCHEMES))
        )
    examples = ", ".join(form.example for form in SOURCES.values())
    raise SourceError(
        f"no file or folder {redact(text)!r} (relative to the current folder); a source is "
        f"{examples}"
    )


def file_options(text: str, fps: float | None, value_range: str | None) -> FileOptions:
    """What is said of a source of files; see `open_source`.

    Raises:
        RequestError: No such value, or the source is live.
    """
    if fps is not None and not 0 < fps <= _MOST_FPS:
        raise RequestError(f"--fps {fps:g}: expected a number above 0, at most {_MOST_FPS}")
    levels = None
    if value_range is not None:
        from .image_files.levels import Levels

        levels = Levels.parse(value_range)
    files = FileOptions(fps, levels)
    if is_live(text):
        _refuse_file_options(text, files)
    return files


def _is_file(text: str) -> bool:
    return exists(at_home(text)) and not is_folder(at_home(text))


def is_pattern(text: str) -> bool:
    """Whether a text is a pattern of files, and no file is called so."""
    return not _URL.match(text) and any(c in text for c in "*?[") and not exists(at_home(text))


def _is_live_url(text: str) -> bool:
    scheme = _URL.match(text)
    return scheme is not None and scheme[1].lower() in _LIVE_SCHEMES


def is_live(text: str) -> bool:
    """Whether a text names a source that runs at its own rate, whatever happens here."""
    form = next((name for name, row in SOURCES.items() if row.matches(text)), "")
    return form in ("camera", "CSI camera", "GStreamer pipeline", "stream")


def _paced(source: PolledSource) -> PolledSource:
    from .pacing import PacedSource

    return PacedSource(source)


def _open_camera(text: str, files: FileOptions, options: LiveOptions) -> PolledSource:  # noqa: ARG001
    from .live import open_camera

    match = _CAMERA.match(text)
    return open_camera(int(match[1]) if match else 0, options)


def _open_csi(text: str, files: FileOptions, options: LiveOptions) -> PolledSource:  # noqa: ARG001
    from .gstreamer import csi_pipeline, open_gstreamer

    match = _CSI.match(text)
    return open_gstreamer(csi_pipeline(int(match[1]) if match else 0), text, "camera", options)


def _open_gst(text: str, files: FileOptions, options: LiveOptions) -> PolledSource:  # noqa: ARG001
    from .gstreamer import open_gstreamer, with_sink

    pipeline = text[len(_GST) :].strip()
    if not pipeline:
        raise SourceError("gst: without a pipeline; expected, for instance, 'gst:v4l2src'")
    return open_gstreamer(with_sink(pipeline), redact(text), "stream", options)


def _open_stream(text: str, files: FileOptions, options: LiveOptions) -> PolledSource:  # noqa: ARG001
    from .live import open_stream

    return open_stream(text, options)


def _open_video(text: str, files: FileOptions, options: LiveOptions) -> PolledSource:  # noqa: ARG001
    from .files import open_video

    if not _URL.match(text):
        _check_file(text)
    location = text if _URL.match(text) else os.fspath(at_home(text).absolute())
    return open_video(location, redact(text), fps=files.fps, levels=files.levels)


def _open_image(text: str, files: FileOptions, options: LiveOptions) -> PolledSource:  # noqa: ARG001
    from .images import open_images

    _check_file(text)
    return open_images([at_home(text)], text, fps=files.fps, levels=files.levels)


def _open_folder(text: str, files: FileOptions, options: LiveOptions) -> PolledSource:  # noqa: ARG001
    from .images import open_folder

    return open_folder(at_home(text), text, fps=files.fps, levels=files.levels)


def _open_pattern(text: str, files: FileOptions, options: LiveOptions) -> PolledSource:  # noqa: ARG001
    from .images import images_of_pattern, open_images

    return open_images(images_of_pattern(text), text, fps=files.fps, levels=files.levels)


def _check_file(text: str) -> None:
    try:
        check_regular(at_home(text))
    except OSError as error:
        raise SourceError(f"{redact(text)}: {error.strerror}") from None


def _refuse_file_options(text: str, files: FileOptions) -> None:
    if files.fps is not None:
        raise RequestError(
            f"{redact(text)} is live and runs at its own rate: leave out --fps {files.fps:g}"
        )
    if files.levels is not None:
        raise RequestError(f"{redact(text)} is live: --range belongs to files; leave it out")


SOURCES: dict[str, SourceForm] = {
    "camera": SourceForm("camera0 … cameraN", lambda t: bool(_CAMERA.match(t)), _open_camera),
    "CSI camera": SourceForm("csi0 … csiN (Jetson)", lambda t: bool(_CSI.match(t)), _open_csi),
    "GStreamer pipeline": SourceForm("gst:PIPELINE", lambda t: t.startswith(_GST), _open_gst),
    "remote file": SourceForm(
        "http(s)://host/video.mp4", lambda t: bool(_REMOTE_FILE.match(t)), _open_video
    ),
    "stream": SourceForm("an rtsp://, rtmp:// or http(s):// URL", _is_live_url, _open_stream),
    "image": SourceForm(
        "an image",
        lambda t: _is_file(t) and at_home(t).suffix.lower() in IMAGE_SUFFIXES,
        _open_image,
    ),
    "video": SourceForm("a video file", _is_file, _open_video),
    "folder": SourceForm(
        "a folder of images", lambda t: bool(t) and is_folder(at_home(t)), _open_folder
    ),
    "pattern": SourceForm("a quoted pattern 'frames/*.jpg'", is_pattern, _open_pattern),
}
