"""The small clip that tests of `cli track` run on, and what they ask of a run."""

from __future__ import annotations

import cv2

from .command_line import video_of

FRAMES, HEIGHT, WIDTH = 12, 96, 160
NETWORK = ("--mot-height", HEIGHT, "--mot-width", WIDTH)


def refused(run, here, *arguments, **options):
    """The one line of a run that could not begin, which leaves no folder behind."""
    said = run(*arguments, status=1, **options)
    assert not (here / "out").exists()
    return said


def motion_jpeg(path, source, count=40):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (WIDTH, HEIGHT))
    images = video_of(source)
    for index in range(count):
        writer.write(images[index % len(images)])
    writer.release()
    return path
