"""What the benchmarks track: images and objects without files, or a clip of the user's."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..errors import SourceError
from ..evaluation.synthetic.scene import Scene, SceneConfig
from ..records import Detections, Frame, UInt8Array

_PAN = 3, 2
_SMALL_HW = 96, 128


def walking_clip(height: int, width: int, frames: int) -> tuple[list[Frame], UInt8Array]:
    """A procedural clip, and the first frame's (H, W) map with its largest figure as object 1."""
    scene = Scene(SceneConfig(frames=frames, height=height, width=width))
    masks = scene.truth(0).masks
    largest = masks[masks.sum(axis=(1, 2)).argmax()]
    return [scene.frame(index) for index in range(frames)], largest.astype(np.uint8)


def clip_of_folder(folder: Path, mask: Path, frames: int) -> tuple[list[Frame], UInt8Array]:
    """The first frames of a folder of images, and the map of object 1 from a 0/255 mask.

    Raises:
        SourceError: Too few images, or one that cannot be read.
    """
    paths = sorted(p for p in folder.glob("*") if p.suffix in (".jpg", ".png"))[:frames]
    images = [cv2.imread(str(path)) for path in paths]
    grey = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
    if len(paths) < frames or grey is None or any(image is None for image in images):
        raise SourceError(
            f"{folder} has {len(paths)} images, the benchmark needs {frames} readable ones and "
            f"a mask at {mask}: give others with --frames and --mask, or a smaller --rounds"
        )
    listed = [
        Frame(index, index / 25, np.asarray(image, np.uint8)) for index, image in enumerate(images)
    ]
    return listed, (grey > 127).astype(np.uint8)


def panning_crowd(
    height: int, width: int, frames: int, objects: int
) -> list[tuple[Frame, Detections]]:
    """A camera that pans over a still scene, and boxes of people's shape that stand still in it.

    Every object is seen in every frame, so that as many tracklets meet as many detections.
    """
    step_x, step_y = _PAN
    scene = Scene(
        SceneConfig(
            frames=1,
            height=height + step_y * frames,
            width=width + step_x * frames,
            objects=objects,
        )
    )
    still = scene.frame(0).image
    # Behind the figures of the scene, which stand in one another's way, boxes come in rows.
    columns = -(-objects // 3)
    number = np.arange(objects)
    rng = np.random.default_rng(0)
    box_w = width * rng.uniform(0.035, 0.06, objects)
    box_h = box_w * rng.uniform(2.2, 3.0, objects)
    left = width * (0.06 + 0.85 * (number % columns) / columns)
    top = height * (0.06 + 0.3 * (number // columns))
    boxes = np.column_stack([left, top, left + box_w, top + box_h])
    clip = []
    for index in range(frames):
        x, y = step_x * index, step_y * index
        image = np.ascontiguousarray(still[y : y + height, x : x + width])
        seen = Detections(
            (boxes - (x, y, x, y)).astype(np.float32),
            np.ones(objects, np.float32),
            np.zeros(objects, np.int64),
        )
        clip.append((Frame(index, index / 25, image), seen))
    return clip


def write_clip(folder: Path, frames: int) -> Path:
    """A video of so many small frames; the clip runs forth and back so that nothing jumps."""
    path = folder / "long.avi"
    (height, width), clip = _SMALL_HW, 200
    config = SceneConfig(frames=clip, height=height, width=width, objects=4)
    images = [frame.image for frame in Scene(config)]
    there_and_back = [*images, *images[-2:0:-1]]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (width, height))
    for number in range(frames):
        writer.write(there_and_back[number % len(there_and_back)])
    writer.release()
    return path
