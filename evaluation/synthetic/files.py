"""A scene written to a folder, laid out like the public data sets, with each task's inputs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from ...errors import OutputError, SourceError
from ...records import Detections, Frame, IntArray, Tracks
from ...runtime.boxes import xyxy_to_xywh
from ...runtime.drawing.colors import davis_palette
from ...runtime.formats.davis import encode_palette_png
from ...runtime.formats.mots import MotsWriter
from ...runtime.formats.otb import OtbWriter
from ...runtime.formats.posetrack import PoseTrackWriter
from ...runtime.writers.video import VideoWriter
from .detector import CLASS_NAMES, DetectorNoise, noisy_masks, noisy_poses
from .scene import Scene, SceneTruth

JPEG_QUALITY = 95

MIN_TRUTH_VISIBLE = 0.1
"""Figures of which less shows are flagged 0 in gt.txt: a tracker need not find them."""

_PEDESTRIAN = 1


@dataclass(frozen=True, slots=True)
class SceneFiles:
    """Where the parts of a written scene are.

    Attributes:
        folder: The folder that holds them all.
        source: `clip.mp4` or the folder `img1`.
        detections: `det.txt`.
        truth: `gt.txt`.
        init_mask: `init_mask.png`.
        masks: The folder `masks`.
    """

    folder: Path
    source: Path
    detections: Path
    truth: Path
    init_mask: Path
    masks: Path


def scene_files(folder: Path, form: Literal["video", "images"] = "video") -> SceneFiles:
    """The paths of a scene written to `folder`; nothing is read."""
    source = folder / ("clip.mp4" if form == "video" else "img1")
    names = ("det.txt", "gt.txt", "init_mask.png", "masks")
    return SceneFiles(folder, source, *(folder / name for name in names))


def write_scene(
    scene: Scene,
    folder: Path | str,
    *,
    form: Literal["video", "images"] = "video",
    detection_seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SceneFiles:
    """Write frames, detections and truth of a scene.

    The folder appears, or is replaced, when all is written; an interruption leaves things as they
    were.

    Args:
        scene: What to write.
        folder: Where to; its parent is made if need be.
        form: "video" for `clip.mp4` (H.264), "images" for JPEGs in `img1`.
        detection_seed: Seed of the detector's errors.
        overwrite: Whether a folder that is there already may be replaced.
        progress: Called with the number of frames written and of all frames.

    Returns:
        The paths of what was written.

    Raises:
        OutputError: The folder exists, or something could not be written.
    """
    target = Path(folder)
    if form == "video" and (scene.config.height % 2 or scene.config.width % 2):
        raise OutputError(
            f"scene of {scene.config.height}x{scene.config.width} pixels: a video needs an even "
            "height and width; change the size or write images"
        )
    with _replacing(target, overwrite) as partial:
        paths = scene_files(partial, form)
        paths.masks.mkdir()
        write_frames = _write_video if form == "video" else _write_images
        detections, truth = [], []
        with closing(write_frames(scene, paths.source)) as frames:
            for done, frame in enumerate(frames, start=1):
                real = scene.truth(frame.index)
                detections += detection_rows(
                    frame.index, scene.detections(frame.index, detection_seed)
                )
                truth += truth_rows(real)
                labels = encode_palette_png(real.label_map(), davis_palette())
                (paths.masks / f"{frame.index:05d}.png").write_bytes(labels)
                if progress is not None:
                    progress(done, len(scene))
        paths.detections.write_text("".join(detections), encoding="ascii")
        paths.truth.write_text("".join(truth), encoding="ascii")
        shutil.copyfile(paths.masks / "00000.png", paths.init_mask)
    return scene_files(target, form)


def detection_rows(frame_index: int, detections: Detections) -> list[str]:
    """MOTChallenge rows `frame,-1,x,y,w,h,score,class,-1` of detections, each with its line end."""
    boxes = xyxy_to_xywh(detections.boxes_xyxy.astype(np.float64))
    return [
        f"{frame_index + 1},-1,{x + 1:.2f},{y + 1:.2f},{w:.2f},{h:.2f},"
        f"{score:.4f},{_PEDESTRIAN},-1\n"
        for (x, y, w, h), score in zip(boxes, detections.scores, strict=True)
    ]


def truth_rows(truth: SceneTruth) -> list[str]:
    """MOTChallenge rows `frame,id,x,y,w,h,flag,class,visibility`, each with its line end.

    The flag is 0 for figures of which less than `MIN_TRUTH_VISIBLE` shows.
    """
    boxes = xyxy_to_xywh(truth.boxes_xyxy.astype(np.float64))
    return [
        f"{truth.frame_index + 1},{number},{x + 1:g},{y + 1:g},{w:g},{h:g},"
        f"{int(visible >= MIN_TRUTH_VISIBLE)},{_PEDESTRIAN},{visible:.4f}\n"
        for number, (x, y, w, h), visible in zip(truth.ids, boxes, truth.visible, strict=True)
    ]


@contextmanager
def _replacing(target: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place if the block ends well."""
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file, expected a folder or nothing; name another folder")
    if target.exists() and any(target.iterdir()) and not overwrite:
        raise OutputError(f"{target} exists already; name another folder or pass --overwrite")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise OutputError(f"{target.parent}: cannot write there: {error.strerror}") from error
    try:
        partial, former = scratch / "new", scratch / "former"
        partial.mkdir()
        yield partial
        if target.exists():
            target.rename(former)
        try:
            partial.rename(target)
        finally:
            if former.exists() and not target.exists():
                former.rename(target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_images(scene: Scene, folder: Path) -> Generator[Frame, None, None]:
    folder.mkdir()
    for frame in scene:
        path = folder / f"{frame.name}.jpg"
        good, data = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not good:
            raise OutputError(f"{path}: the frame cannot be encoded as JPEG")
        path.write_bytes(data.tobytes())
        yield frame


def _write_video(scene: Scene, path: Path) -> Generator[Frame, None, None]:
    no_tracks = Tracks(0, np.zeros(0, np.int64))
    with VideoWriter(path, scene.config.fps, lambda image, _: image) as writer:
        for frame in scene:
            writer.write(frame, no_tracks)
            yield frame


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """Where the starts of the tasks are.

    Attributes:
        masks: `masks.txt`.
        poses: `poses.json`.
        init_box: `init_box.txt`.
        init_poses: `init_poses.json`.
    """

    masks: Path
    poses: Path
    init_box: Path
    init_poses: Path


def write_task_files(
    scene: Scene,
    folder: Path,
    *,
    target: int,
    seed: int = 0,
    noise: DetectorNoise | None = None,
) -> TaskFiles:
    """Write what every task of a scene starts from.

    Args:
        scene: The clip.
        folder: Where to; it exists.
        target: Id of the figure whose box is given.
        seed: Seed of the detectors' errors.
        noise: How the detectors of masks and poses err.

    Returns:
        The paths of what was written.

    Raises:
        SourceError: The target is not in the first frame.
        OutputError: Something could not be written.
    """
    noise = noise or DetectorNoise()
    names = ("masks.txt", "poses.json", "init_box.txt", "init_poses.json")
    files = TaskFiles(*(folder / name for name in names))
    with MotsWriter(files.masks) as masks, PoseTrackWriter(files.poses) as poses:
        for index in range(len(scene)):
            frame, truth = scene.frame(index), scene.truth(index)
            rng = np.random.default_rng([seed, 108, index])
            masks.write(
                frame, _numbered(index, noisy_masks(truth.masks, truth.visible, noise, rng))
            )
            found = noisy_poses(truth.keypoints, truth.visible, noise, rng)
            poses.write(frame, _numbered(index, found))
    first, truth = scene.frame(0), scene.truth(0)
    _write_box(files.init_box, first, truth, target)
    with PoseTrackWriter(files.init_poses) as people:
        people.write(first, Tracks(0, truth.ids, _detected(truth)))
    return files


def _write_box(path: Path, first: Frame, truth: SceneTruth, target: int) -> None:
    (rows,) = np.nonzero(truth.ids == target)
    if not len(rows):
        raise SourceError(
            f"scene: figure {target} is not in its first frame, expected one of "
            f"{truth.ids.tolist()}"
        )
    with OtbWriter(path) as box:
        box.write(first, Tracks(0, np.ones(1, np.int64), _detected(truth)[rows]))


def _detected(truth: SceneTruth) -> Detections:
    """The truth as a detector without error would report it."""
    count = len(truth.ids)
    scores, classes = np.ones(count, np.float32), np.zeros(count, np.int64)
    poses, names = truth.keypoints, CLASS_NAMES
    return Detections(truth.boxes_xyxy, scores, classes, keypoints=poses, class_names=names)


def _numbered(index: int, seen: Detections) -> Tracks:
    """Detections in the form that writers take: numbers that say nothing about identity."""
    ids: IntArray = np.arange(1, len(seen) + 1)
    return Tracks(index, ids, seen)
