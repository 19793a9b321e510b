"""The gallery: one image per task from the procedural scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ...errors import OutputError
from ...records import Frame, Tracks, UInt8Array
from ...runtime.drawing.annotate import draw_tracks
from ...runtime.drawing.trails import Trails
from ...runtime.pipeline import OnFrame
from ...runtime.sources.base import SourceInfo
from ...runtime.tables import TextTable
from ...runtime.writers.base import write_atomic
from ...tracking.config import RunConfig, SourceConfig, TrackConfig
from ...tracking.registry import TASKS
from ...tracking.session import RunReport, Watch, track
from .files import write_scene, write_task_files
from .scene import Scene, SceneConfig
from .scores import TARGET, score

LAST_FRAME = {"sot": 80, "vos": 23, "mot": 80, "mots": 80, "posetrack": 80, "pose": 24}
"""How many frames each task is followed for; the image is the last of them."""

SIZE_HW = 480, 854
"""Of the clip: that of DAVIS."""

WIDTH = 640
"""Of the images."""

GIVEN_ONCE = ("sot", "vos", "pose")
"""Tasks that are given the first frame alone: their images show it in a corner."""

JPEG_QUALITY = 82
_INSET = 0.28
_BORDER = (255, 255, 255)


@dataclass(slots=True)
class Exhibit:
    """What a task did on the scene, gathered frame by frame."""

    task: str
    tracks: list[Tracks] = field(default_factory=list)
    trails: Trails = field(default_factory=Trails)
    first: UInt8Array | None = None
    image: UInt8Array | None = None

    def add(self, frame: Frame, tracks: Tracks) -> None:
        """Draw the next frame, and keep it as the image."""
        self.tracks.append(tracks)
        caption = f"{self.task}  frame {frame.index + 1}"
        if self.task in GIVEN_ONCE:
            if self.first is None:
                self.first = draw_tracks(frame.image, tracks)
            drawn = draw_tracks(frame.image, tracks, caption=caption)
            self.image = _with_inset(drawn, self.first)
        else:
            trails = self.trails.update(tracks)
            self.image = draw_tracks(frame.image, tracks, trails=trails, caption=caption)

    def write(self, path: Path) -> int:
        """Write the image as JPEG; gives back its bytes.

        Raises:
            OutputError: There is none, or it cannot be written.
        """
        if self.image is None:
            raise OutputError(f"{path}: task {self.task} gave no frame, there is nothing to show")
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        image = _scaled(self.image, WIDTH / self.image.shape[1])
        good, data = cv2.imencode(".jpg", image, quality)
        if not good:
            raise OutputError(f"{path}: the image cannot be encoded as JPEG")
        write_atomic(path, data.tobytes())
        return len(data)


def _with_inset(image: UInt8Array, first: UInt8Array) -> UInt8Array:
    """The first frame, with what was given in it, small in the upper right corner."""
    no_tracks = Tracks(0, np.zeros(0, np.int64))
    small = draw_tracks(_scaled(first, _INSET), no_tracks, caption="given: frame 1")
    framed = cv2.copyMakeBorder(small, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=_BORDER)
    rows, columns = framed.shape[:2]
    margin = max(2, len(image) // 60)
    image[margin : margin + rows, -margin - columns : -margin] = framed
    return image


def _scaled(image: UInt8Array, factor: float) -> UInt8Array:
    smaller = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, np.uint8)


@dataclass(frozen=True, slots=True)
class GalleryImage:
    """An image of the gallery: its file and size, and what the run came to."""

    report: RunReport
    score: str
    path: Path
    size_bytes: int


def make_gallery(
    bundle: Path,
    folder: Path,
    frames: int | None,
    output: Path,
    progress: Callable[[str], AbstractContextManager[Watch]],
) -> list[GalleryImage]:
    """Track the demo clip with every task, and write one image of each.

    Stops where a run was interrupted, whose report comes last.

    Args:
        bundle: Folder of the bundle.
        folder: Where `sot.jpg` and the others go; made if need be.
        frames: At most so many of the clip; None: up to where each image is best.
        output: Folder of the clip and of the results, which are replaced.
        progress: Shows how far a task is, given its name.

    Raises:
        UnitrackError: One line that says what is wrong.
    """
    most = max(LAST_FRAME.values())
    length = most if frames is None else min(frames, most)
    scene = Scene(SceneConfig(length, *SIZE_HW))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--gallery {folder}: cannot be made ({error.strerror})") from None
    hung: list[GalleryImage] = []
    for config in _runs(scene, bundle, output):
        (task,) = config.task_names
        exhibit = Exhibit(task)
        with progress(task) as watch:
            report = _track(config, exhibit, watch)
        path = folder / f"{task}.jpg"
        if report.data["interrupted"]:
            return [*hung, GalleryImage(report, "", path, 0)]
        size = exhibit.write(path)
        hung.append(GalleryImage(report, score(scene, task, exhibit.tracks), path, size))
    return hung


def gallery_table(images: Sequence[GalleryImage]) -> TextTable:
    """A row an image: its run, score and file."""
    rows = [
        (
            one.report.data["task"],
            str(one.report.data["frames"]),
            f"{one.report.data['fps']:.1f}",
            one.score,
            f"{one.path}  {one.size_bytes / 1000:.0f} kB",
        )
        for one in images
    ]
    return TextTable(("task", "frames", "FPS", "score against the truth", "image"), rows)


def _runs(scene: Scene, bundle: Path, output: Path) -> list[TrackConfig]:
    """The clip on disk, and a run of every task on it."""
    clip = write_scene(scene, output / "clip", form="images", overwrite=True)
    starts = write_task_files(scene, clip.folder, target=TARGET)
    given: dict[str, dict[str, Path]] = {
        "sot": {"init": starts.init_box},
        "vos": {"init": clip.init_mask},
        "mot": {"detections": clip.detections},
        "mots": {"detections": starts.masks},
        "posetrack": {"detections": starts.poses},
        "pose": {"init": starts.init_poses},
    }
    return [
        TrackConfig(
            (
                SourceConfig(
                    str(clip.source),
                    init=str(start["init"]) if "init" in start else None,
                    detections=start.get("detections"),
                    fps=scene.config.fps,
                ),
            ),
            (TASKS[task].config(),),
            RunConfig(
                bundle=bundle,
                output=output / task,
                max_frames=LAST_FRAME[task],
                save_video=True,
                overwrite=True,
            ),
        )
        for task, start in given.items()
    ]


def _track(config: TrackConfig, exhibit: Exhibit, watch: Watch) -> RunReport:
    def gather(info: SourceInfo) -> OnFrame:
        show = watch(info)

        def on_frame(frame: Frame, tracks: Sequence[Tracks]) -> None:
            show(frame, tracks)
            exhibit.add(frame, tracks[0])

        return on_frame

    return track(config, gather)
