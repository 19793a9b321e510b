"""Sources that GStreamer reads: the CSI cameras of a Jetson, and pipelines of the user's own.

They need an OpenCV built with GStreamer, as JetPack and Debian have it; the wheels of
opencv-python are built without.
"""

from __future__ import annotations

import cv2

from ...errors import SourceError

# The size and rate that every CSI module of NVIDIA's list has a mode near to; the driver picks it.
_CSI = (
    "nvarguscamerasrc sensor-id={sensor} ! "
    "video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1 ! "
    "nvvidconv ! video/x-raw,format=BGRx"
)


# The queue of the sink is one frame deep: what nobody takes in time must not pile up in it.
_SINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"


def csi_pipeline(sensor: int) -> str:
    """The pipeline of the CSI camera with a number: 1280x720 at 30 frames a second, BGR."""
    return f"{_CSI.format(sensor=sensor)} ! {_SINK}"


def with_sink(pipeline: str) -> str:
    """A pipeline that ends in an `appsink` for BGR pictures; one that has an appsink stays."""
    text = pipeline.strip().rstrip("!").rstrip()
    return text if "appsink" in text else f"{text} ! {_SINK}"


def open_pipeline(pipeline: str, name: str) -> cv2.VideoCapture:
    """Starts a pipeline.

    Args:
        pipeline: In the language of gst-launch-1.0, with an appsink.
        name: What messages call it; no credentials in it.

    Raises:
        SourceError: OpenCV has no GStreamer, or GStreamer refuses the pipeline.
    """
    require_gstreamer(name)
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        capture.release()
        raise SourceError(
            f"{name}: GStreamer refuses the pipeline (unknown element, wrong caps, or no camera "
            "there); try it with gst-launch-1.0 and fakesink in place of the appsink"
        )
    return capture


def require_gstreamer(name: str) -> None:
    """Find out before a pipeline is opened whether OpenCV can do it.

    Raises:
        SourceError: It cannot.
    """
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            f"{name} needs an OpenCV with GStreamer, and this one ({cv2.__version__}) has none: "
            "use JetPack's or the distribution's python3-opencv in place of pip's, or name the "
            "camera as camera0 or by its rtsp:// URL"
        )
