"""Parameters of the tasks whose objects are masks or poses; see `config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

from ..errors import RequestError
from .tracked_config import TrackedConfig, otherwise


@dataclass(frozen=True, slots=True)
class MotsConfig(TrackedConfig):
    """Parameters of multi-object tracking and segmentation; the defaults are the authors'."""

    task: ClassVar[str] = "mots"

    overlap_removal: float = field(
        default=0.7, metadata={"help": "Of two boxes of a larger IoU, the better one stays."}
    )
    max_area: int = field(default=200, metadata={"help": "Most points per mask."})

    def __post_init__(self) -> None:
        TrackedConfig.__post_init__(self)
        _check_area(self)


@dataclass(frozen=True, slots=True)
class PosetrackConfig(TrackedConfig):
    """Parameters of pose tracking; the defaults are the authors'."""

    task: ClassVar[str] = "posetrack"

    confidence: float = otherwise("confidence", 0.0)
    appearance_weight: float = otherwise("appearance_weight", 0.9999)
    duplicate_limit: float = otherwise("duplicate_limit", 0.2)
    max_area: int = field(default=400, metadata={"help": "Most points per person."})

    def __post_init__(self) -> None:
        TrackedConfig.__post_init__(self)
        _check_area(self)


def _check_area(config: MotsConfig | PosetrackConfig) -> None:
    if config.max_area < 1:
        raise RequestError(
            f"{config.task}: got max area {config.max_area}, expected at least 1 point an object"
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
    reach: float = field(
        default=12.0, metadata={"help": "How far a joint moves in a frame, in cells; 0: anywhere."}
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
            and 0 <= self.reach < inf
        ):
            raise RequestError(
                f"pose: got temperature {self.temperature}, radius {self.radius}, first radius "
                f"{self.first_radius}, sigma {self.sigma}, reach {self.reach}; expected positive "
                "numbers (first radius and reach: 0 or more)"
            )
