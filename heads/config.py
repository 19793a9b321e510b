"""Parameters of every head; light to import, because the command line lists them all.

The help text of a parameter stands beside it: `cli track --<task>-<parameter>` is made from here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TypeAlias

from ..errors import RequestError
from .mask_configs import MotsConfig, PoseConfig, PosetrackConfig
from .sot_config import SotConfig


@dataclass(frozen=True, slots=True)
class MotConfig:
    """Parameters of multi-object tracking; the defaults are the authors'."""

    confidence: float = field(
        default=0.5, metadata={"help": "Detections below this score are left out."}
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
    confirm_limit: float = field(
        default=0.7, metadata={"help": "Largest 1 - IoU at which a new track is confirmed."}
    )
    duplicate_limit: float = field(
        default=0.15, metadata={"help": "A found and a lost track nearer than this are one."}
    )
    buffer: float = field(
        default=30.0, metadata={"help": "Frames a lost track is kept, counted at 30 FPS."}
    )
    use_motion: bool = field(
        default=True, metadata={"help": "Kalman filter, gate and overlap; off: appearance alone."}
    )
    rsm_scale: float = field(
        default=100.0, metadata={"help": "Scale s of the reconstruction similarity's softmax."}
    )
    min_area: float = field(
        default=200.0, metadata={"help": "Smaller boxes are tracked, not reported (px²)."}
    )
    max_aspect: float = field(
        default=1.6, metadata={"help": "Wider people (width / height) are not reported; 0: all."}
    )
    roi_height: int = field(default=4, metadata={"help": "Rows of points per box."})
    roi_width: int = field(default=10, metadata={"help": "Columns of points per box."})
    height: int = field(default=608, metadata={"help": "Height of the network's image."})
    width: int = field(default=1088, metadata={"help": "Width of the network's image."})

    def __post_init__(self) -> None:
        roi, image = (self.roi_height, self.roi_width), (self.height, self.width)
        if not (1 <= min(roi) <= max(roi) <= 64 and 32 <= min(image) <= max(image) <= 8192):
            raise RequestError(
                f"mot: got RoI {roi[0]}x{roi[1]} and image {image[0]}x{image[1]}; "
                "expected 1 to 64 and 32 to 8192 a side"
            )
        if not (
            0 <= self.appearance_weight <= 1 and 0 <= self.buffer < inf and 0 < self.rsm_scale < inf
        ):
            raise RequestError(
                f"mot: got appearance weight {self.appearance_weight}, buffer {self.buffer}, RSM "
                f"scale {self.rsm_scale}; expected 0 to 1, 0 or more, and above 0"
            )


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
