"""Parameters of single-object tracking; see `config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

from ..errors import RequestError

SOT_HEADS = ("dcf", "xcorr")


@dataclass(frozen=True, slots=True)
class SotConfig:
    """Parameters of single-object tracking; the defaults are the authors'.

    The crop's size is none of them: it is that of the bundle's graphs, 65 × 65 cells.
    """

    task: ClassVar[str] = "sot"

    head: str = field(
        default="dcf", metadata={"help": "dcf: correlation filter that learns; xcorr: template."}
    )
    padding: float = field(
        default=3.5, metadata={"help": "Surroundings of a crop, in widths of the target."}
    )
    scale_step: float = field(
        default=1.0275, metadata={"help": "Ratio of the scales that are searched."}
    )
    scale_penalty: float = field(
        default=0.985, metadata={"help": "Factor on the response of another scale."}
    )
    min_scale: float = field(
        default=0.2, metadata={"help": "Smallest size, as a share of the first."}
    )
    max_scale: float = field(
        default=5.0, metadata={"help": "Largest size, as a multiple of the first."}
    )
    regularisation: float = field(
        default=1e-4, metadata={"help": "dcf: λ of the filter's closed form."}
    )
    sigma: float = field(
        default=0.1, metadata={"help": "dcf: width of the wanted peak, as a share of the target."}
    )
    learning_rate: float = field(
        default=0.01, metadata={"help": "dcf: share of the newest frame; 0 saves its crop's time."}
    )

    def __post_init__(self) -> None:
        if self.head not in SOT_HEADS:
            raise RequestError(
                f"sot: got head {self.head!r}, expected one of {', '.join(SOT_HEADS)}"
            )
        if not (0 <= self.padding < 100 and 1 <= self.scale_step < 2):
            raise RequestError(
                f"sot: got padding {self.padding} and scale step {self.scale_step}; "
                "expected 0 to 100, and 1 to 2"
            )
        if not (0 < self.scale_penalty <= 1 and 0 < self.min_scale <= 1 <= self.max_scale < 1000):
            raise RequestError(
                f"sot: got scale penalty {self.scale_penalty}, smallest scale {self.min_scale}, "
                f"largest {self.max_scale}; expected above 0 to 1, above 0 to 1, and 1 to 1000"
            )
        if not (
            0 < self.regularisation < inf and 0 < self.sigma < inf and 0 <= self.learning_rate <= 1
        ):
            raise RequestError(
                f"sot: got regularisation {self.regularisation}, sigma {self.sigma}, learning rate "
                f"{self.learning_rate}; expected above 0, above 0, and 0 to 1"
            )
