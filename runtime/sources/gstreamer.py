"""GStreamer pipelines, of which the CSI cameras of a Jetson are one, as live sources.

They need an OpenCV built with GStreamer, as JetPack and Debian have it; the wheels of opencv-python
are built without.
"""

from __future__ import annotations

from typing import Literal

import cv2

from ...errors import SourceAbsentError, SourceError, printable
from .base import Capture, LiveOptions, silence_opencv
from .live import LiveSource, OpenCVCapture, open_live

# The size and rate that every CSI module of NVIDIA's list has a mode near to; the driver picks it.
_CSI = (
    "nvarguscamerasrc sensor-id={sensor} ! "
    "video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1 ! "
    "nvvidconv ! video/x-raw,format=BGRx"
)

# The appsink's queue is one frame deep: frames that are not read in time must not pile up.
_SINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"


def csi_pipeline(sensor: int) -> str:
    """The pipeline of the CSI camera with a number: 1280x720 at 30 frames a second, BGR."""
    return f"{_CSI.format(sensor=sensor)} ! {_SINK}"


def with_sink(pipeline: str) -> str:
    """A pipeline that ends in an `appsink` for BGR images; one that has an appsink stays."""
    text = pipeline.strip().rstrip("!").rstrip()
    return text if "appsink" in text else f"{text} ! {_SINK}"


def open_gstreamer(
    pipeline: str,
    name: str,
    kind: Literal["camera", "stream"],
    options: LiveOptions | None = None,
) -> LiveSource:
    """Opens a GStreamer pipeline that ends in an appsink.

    Raises:
        SourceAbsentError: GStreamer refuses it, or it gives no frame.
        SourceError: OpenCV has no GStreamer.
    """
    silence_opencv()
    first = [open_pipeline(pipeline, name)]

    def attempt() -> Capture | None:
        if first:
            return first.pop()
        try:
            return open_pipeline(pipeline, name)
        except SourceError:
            return None

    return open_live(name, kind, attempt, options, "")


def open_pipeline(pipeline: str, name: str) -> OpenCVCapture:
    """Starts a pipeline.

    Args:
        pipeline: In the language of gst-launch-1.0, with an appsink.
        name: What messages call it; no credentials in it.

    Raises:
        SourceAbsentError: GStreamer refuses the pipeline.
        SourceError: OpenCV has no GStreamer.
    """
    require_gstreamer(name)
    if printable(pipeline) != pipeline:
        raise SourceError(f"{name}: a pipeline cannot hold control characters or names of no text")
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        capture.release()
        raise SourceAbsentError(
            f"{name}: GStreamer refuses the pipeline (unknown element, wrong caps, or no camera "
            "there); try it with gst-launch-1.0 and fakesink in place of the appsink"
        )
    return OpenCVCapture(capture)


def require_gstreamer(name: str) -> None:
    """Check that OpenCV has GStreamer before a pipeline is opened.

    Raises:
        SourceError: It cannot.
    """
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            f"{name} needs an OpenCV with GStreamer, and this one ({cv2.__version__}) has none: "
            "use JetPack's or the distribution's python3-opencv in place of pip's, or name the "
            "camera as camera0 or by its rtsp:// URL"
        )
