"""`cli demo --gallery`: all six tasks on the demo clip, a picture and a score of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import OutputError
from ..evaluation.gallery import LAST_FRAME, SIZE_HW, Exhibit
from ..evaluation.scene import Scene, SceneConfig
from ..evaluation.scene_files import write_scene
from ..evaluation.scene_scores import TARGET, score
from ..evaluation.scene_tasks import write_task_files
from ..heads.config import CONFIGS
from ..records import Frame, Tracks
from ..runtime.pipeline import OnFrame
from ..runtime.sources import SourceInfo
from ..session import TrackReport, track
from ..tasks import TrackRequest
from .progress import watch_run


@dataclass(frozen=True, slots=True)
class Hung:
    """A picture of the gallery: its file and size, and what the run came to."""

    report: TrackReport
    score: str
    path: Path
    size_bytes: int


def make_gallery(bundle: Path, folder: Path, frames: int | None, output: Path) -> list[Hung]:
    """Track the demo clip with every task, and write one picture of each.

    Stops where a run was interrupted, whose report comes last.

    Args:
        bundle: Folder of the bundle.
        folder: Where `sot.jpg` and the others go; made if need be.
        frames: At most so many of the clip; None: up to where each picture is best.
        output: Folder of the clip and of the results, which are replaced.

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
    hung: list[Hung] = []
    for request in _requests(scene, bundle, output):
        exhibit = Exhibit(request.task)
        report = _track(request, exhibit)
        path = folder / f"{request.task}.jpg"
        if report.data["interrupted"]:
            return [*hung, Hung(report, "", path, 0)]
        size = exhibit.write(path)
        hung.append(Hung(report, score(scene, request.task, exhibit.tracks), path, size))
    return hung


def show_gallery(hung: Sequence[Hung]) -> None:
    """Print a table of the pictures and scores."""
    from rich.console import Console
    from rich.table import Table

    table = Table("task", "frames", "FPS", "score against the truth", "picture", box=None)
    for one in hung:
        data = one.report.data
        picture = f"{one.path}  {one.size_bytes / 1000:.0f} kB"
        table.add_row(data["task"], str(data["frames"]), f"{data['fps']:.1f}", one.score, picture)
    Console(highlight=False).print(table)


def _requests(scene: Scene, bundle: Path, output: Path) -> list[TrackRequest]:
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
        replace(
            TrackRequest(str(clip.source), task, CONFIGS[task](), bundle, output / task),
            init=str(start["init"]) if "init" in start else None,
            detections=start.get("detections"),
            fps=scene.config.fps,
            max_frames=LAST_FRAME[task],
            save_video=True,
            overwrite=True,
        )
        for task, start in given.items()
    ]


def _track(request: TrackRequest, exhibit: Exhibit) -> TrackReport:
    with watch_run(request.task) as watch:

        def gather(info: SourceInfo) -> OnFrame:
            show = watch(info)

            def on_frame(frame: Frame, tracks: Sequence[Tracks]) -> None:
                show(frame, tracks)
                exhibit.add(frame, tracks[0])

            return on_frame

        return track(request, gather)
