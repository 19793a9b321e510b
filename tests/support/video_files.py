"""Videos of every kind, written by FFmpeg through PyAV."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np


def grey_levels(count, size_hw=(48, 64)):
    """Flat images that tell their number by their brightness."""
    return [np.full((*size_hw, 3), 30 + 12 * number % 200, np.uint8) for number in range(count)]


def level_of(image):
    """The number of an image of `grey_levels` of at most 16."""
    return round((float(image.mean()) - 30) / 12)


def write_video(
    path,
    images,
    codec="libx264",
    pix_fmt="yuv420p",
    times_s=None,
    fps=10,
    degrees=None,
    container=None,
    **options,
):
    """A video of images, at given times or evenly spaced.

    `degrees` is the rotation that a player applies, counterclockwise; `container` has options of
    the file's format, and the others are the encoder's.
    """
    height, width = images[0].shape[:2]
    with av.open(str(path), "w", container_options=container or {}) as container:
        video = container.add_stream(
            codec, rate=fps, options={k: str(v) for k, v in options.items()}
        )
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        if times_s is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        if degrees is not None:
            video.set_display_rotation(degrees)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, "bgr24")
            frame.pts = number if times_s is None else round(1000 * times_s[number])
            frame.time_base = 1 / Fraction(fps) if times_s is None else Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def copy_packets(source, path, change=lambda packets: packets, before=lambda _container: None):
    """The packets of a video in another container, changed; `before` adds streams to it first."""
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        first = before(written)
        video = written.add_stream_from_template(read.streams.video[0])
        packets = [packet for packet in read.demux(video=0) if packet.size]
        if first is not None:
            first()
        for packet in change(packets):
            packet.stream = video
            written.mux(packet)
    return path
