"""Parameters of every head; light to import, because the command line lists them all.

The help text of a parameter stands beside it: `cli track --<task>-<parameter>` is made from here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import ClassVar, TypeAlias

from ..errors import RequestError
from .mask_configs import MotsConfig, PoseConfig, PosetrackConfig
from .sot_config import SotConfig
from .tracked_config import TrackedConfig


@dataclass(frozen=True, slots=True)
class MotConfig(TrackedConfig):
    """Parameters of multi-object tracking; the defaults are the authors'."""

    task: ClassVar[str] = "mot"

    confirm_limit: float = field(
        default=0.7, metadata={"help": "Largest 1 - IoU at which a new track is confirmed."}
    )
    min_area: float = field(
        default=200.0, metadata={"help": "Smaller boxes are tracked, not reported (px²)."}
    )
    max_aspect: float = field(
        default=1.6, metadata={"help": "Wider people (width / height) are not reported; 0: all."}
    )
    roi_height: int = field(default=4, metadata={"help": "Rows of points per box."})
    roi_width: int = field(default=10, metadata={"help": "Columns of points per box."})

    def __post_init__(self) -> None:
        TrackedConfig.__post_init__(self)
        rows, columns = self.roi_height, self.roi_width
        if not 1 <= min(rows, columns) <= max(rows, columns) <= 64:
            raise RequestError(f"mot: got RoI {rows}x{columns}, expected 1 to 64 a side")


@dataclass(frozen=True, slots=True)
class VosConfig:
    """Parameters of mask propagation; the defaults are the authors'."""

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

    def __post_init__(self) -> None:
        if self.top_k < 1 or not 0 <= self.memory <= 100 or not 0 <= self.short_side <= 8192:
            raise RequestError(
                f"vos: got top-k {self.top_k}, memory {self.memory}, short side {self.short_side}; "
                "expected at least 1, 0 to 100 and 0 to 8192"
            )
        if not (0 < self.temperature < inf and self.radius > 0 and self.first_radius >= 0):
            raise RequestError(
                f"vos: got temperature {self.temperature}, radius {self.radius}, first radius "
                f"{self.first_radius}; expected positive numbers (first radius: 0 or more)"
            )


HeadConfig: TypeAlias = (
    MotConfig | VosConfig | MotsConfig | PosetrackConfig | PoseConfig | SotConfig
)

CONFIGS: dict[str, type[HeadConfig]] = {
    "sot": SotConfig,
    "vos": VosConfig,
    "mot": MotConfig,
    "mots": MotsConfig,
    "posetrack": PosetrackConfig,
    "pose": PoseConfig,
}
"""By task."""
