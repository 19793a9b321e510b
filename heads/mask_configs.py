"""Parameters of the tasks whose objects are masks or poses; see `config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

from ..errors import RequestError


@dataclass(frozen=True, slots=True)
class MotsConfig:
    """Parameters of multi-object tracking and segmentation; the defaults are the authors'."""

    task: ClassVar[str] = "mots"

    confidence: float = field(
        default=0.5, metadata={"help": "Detections below this score are left out."}
    )
    overlap_removal: float = field(
        default=0.7, metadata={"help": "Of two boxes of a larger IoU, the better one stays."}
    )
    appearance_weight: float = field(
        default=0.98, metadata={"help": "Share of appearance against motion, 0 to 1."}
    )
    cost_limit: float = field(
        default=0.7, metadata={"help": "Largest cost of a match by appearance and motion."}
    )
    overlap_limit: float = field(
        default=0.5, metadata={"help": "Largest 1 - IoU of a match by overlap."}
    )
    duplicate_limit: float = field(
        default=0.15, metadata={"help": "A found and a lost track nearer than this are one."}
    )
    buffer: float = field(
        default=30.0, metadata={"help": "Frames a lost track is kept, counted at 30 FPS."}
    )
    use_motion: bool = field(
        default=True, metadata={"help": "Kalman filter and overlap; off: appearance alone."}
    )
    rsm_scale: float = field(
        default=100.0, metadata={"help": "Scale s of the reconstruction similarity's softmax."}
    )
    max_area: int = field(default=200, metadata={"help": "Most points per mask."})
    height: int = field(default=608, metadata={"help": "Height of the network's image."})
    width: int = field(default=1088, metadata={"help": "Width of the network's image."})

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True)
class PosetrackConfig:
    """Parameters of pose tracking; the defaults are the authors'."""

    task: ClassVar[str] = "posetrack"

    confidence: float = field(
        default=0.0, metadata={"help": "Detections below this score are left out."}
    )
    appearance_weight: float = field(
        default=0.9999, metadata={"help": "Share of appearance against motion, 0 to 1."}
    )
    cost_limit: float = field(
        default=0.7, metadata={"help": "Largest cost of a match by appearance and motion."}
    )
    overlap_limit: float = field(
        default=0.5, metadata={"help": "Largest 1 - IoU of a match by overlap."}
    )
    duplicate_limit: float = field(
        default=0.2, metadata={"help": "A found and a lost track nearer than this are one."}
    )
    buffer: float = field(
        default=30.0, metadata={"help": "Frames a lost track is kept, counted at 30 FPS."}
    )
    use_motion: bool = field(
        default=True, metadata={"help": "Kalman filter and overlap; off: appearance alone."}
    )
    rsm_scale: float = field(
        default=100.0, metadata={"help": "Scale s of the reconstruction similarity's softmax."}
    )
    max_area: int = field(default=400, metadata={"help": "Most points per person."})
    height: int = field(default=608, metadata={"help": "Height of the network's image."})
    width: int = field(default=1088, metadata={"help": "Width of the network's image."})

    def __post_init__(self) -> None:
        _check(self)


def _check(config: MotsConfig | PosetrackConfig) -> None:
    task = config.task
    if min(config.max_area, config.height // 32, config.width // 32) < 1:
        raise RequestError(
            f"{task}: got max area {config.max_area} and image {config.height}x{config.width}; "
            "expected at least 1 and 32x32"
        )
    weight, buffer, scale = config.appearance_weight, config.buffer, config.rsm_scale
    if not (0 <= weight <= 1 and 0 <= buffer < inf and 0 < scale < inf):
        raise RequestError(
            f"{task}: got appearance weight {weight}, buffer {buffer}, RSM scale {scale}; "
            "expected 0 to 1, 0 or more, and above 0"
        )


@dataclass(frozen=True, slots=True)
class PoseConfig:
    """Parameters of pose propagation: those of mask propagation, and of belief maps."""

    task: ClassVar[str] = "pose"

    top_k: int = field(default=10, metadata={"help": "Keys kept per cell."})
    temperature: float = field(default=0.05, metadata={"help": "Temperature of the softmax."})
    radius: float = field(
        default=12.0, metadata={"help": "Neighbourhood in recent frames, in feature cells."}
    )
    first_radius: float = field(
        default=0.0, metadata={"help": "Neighbourhood in the first frame; 0: all of it."}
    )
    memory: int = field(default=5, metadata={"help": "Recent frames kept besides the first."})
    short_side: int = field(
        default=480, metadata={"help": "Short side of the network's image, in pixels; 0: source."}
    )
    sigma: float = field(
        default=0.1,
        metadata={"help": "Variance of a belief map (cells²) per body size (cells)."},
    )
    top_cells: int = field(
        default=3, metadata={"help": "Cells of a belief map that a joint is read from."}
    )

    def __post_init__(self) -> None:
        if min(self.top_k, self.top_cells) < 1 or min(self.memory, self.short_side) < 0:
            raise RequestError(
                f"pose: got top-k {self.top_k}, top cells {self.top_cells}, memory {self.memory}, "
                f"short side {self.short_side}; expected at least 1, 1, 0 and 0"
            )
        if not (
            0 < self.temperature < inf
            and self.radius > 0
            and self.first_radius >= 0
            and 0 < self.sigma < inf
        ):
            raise RequestError(
                f"pose: got temperature {self.temperature}, radius {self.radius}, first radius "
                f"{self.first_radius}, sigma {self.sigma}; expected positive numbers (first "
                "radius: 0 or more)"
            )
