"""What the parameters of mot, mots and posetrack have in common; light to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any, ClassVar

from ..errors import RequestError

SIMILARITIES = ("rsm", "pooled", "flattened")
"""How the appearance of two objects is compared; see `similarity.SIMILARITIES`."""


@dataclass(frozen=True, slots=True)
class TrackedConfig:
    """Parameters of a task that gives identities to what an observer sees.

    The defaults are the authors' for boxes and masks.
    """

    task: ClassVar[str]

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
    duplicate_limit: float = field(
        default=0.15, metadata={"help": "A found and a lost track nearer than this are one."}
    )
    buffer: float = field(
        default=30.0, metadata={"help": "Frames a lost track is kept, counted at 30 FPS."}
    )
    use_motion: bool = field(
        default=True, metadata={"help": "Motion and overlap count too; off: appearance alone."}
    )
    rsm_scale: float = field(
        default=100.0, metadata={"help": "Scale s of the reconstruction similarity's softmax."}
    )
    similarity: str = field(
        default="rsm",
        metadata={
            "help": "Appearance: rsm, or for comparison pooled (mean of the points) or flattened "
            "(point by point, task mot only)."
        },
    )
    height: int = field(default=608, metadata={"help": "Height of the network's image."})
    width: int = field(default=1088, metadata={"help": "Width of the network's image."})

    def __post_init__(self) -> None:
        image = self.height, self.width
        if not 32 <= min(image) <= max(image) <= 8192:
            raise RequestError(
                f"{self.task}: got image {image[0]}x{image[1]}, expected 32 to 8192 a side"
            )
        if self.similarity not in SIMILARITIES:
            raise RequestError(
                f"{self.task}: got similarity {self.similarity!r}, expected one of "
                f"{', '.join(SIMILARITIES)}"
            )
        if self.similarity == "flattened" and self.task != "mot":
            raise RequestError(
                f"{self.task}: similarity flattened compares objects of as many points each, which "
                "masks and poses are not: give rsm or pooled"
            )
        weight, buffer, scale = self.appearance_weight, self.buffer, self.rsm_scale
        if not (0 <= weight <= 1 and 0 <= buffer < inf and 0 < scale < inf):
            raise RequestError(
                f"{self.task}: got appearance weight {weight}, buffer {buffer}, RSM scale {scale}; "
                "expected 0 to 1, 0 or more, and above 0"
            )


def otherwise(name: str, default: float) -> Any:
    """The field `name` of `TrackedConfig` with another default."""
    return field(default=default, metadata=TrackedConfig.__dataclass_fields__[name].metadata)
