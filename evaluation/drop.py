"""What a sequence lost between two bundles: scores side by side, and the drop that counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

BOUNDED = {
    "otb": ("AUC",),
    "davis": ("J",),
    "mot": ("IDF1", "HOTA"),
    "mots": ("IDF1", "HOTA"),
    "posetrack": ("IDF1", "HOTA"),
}
"""The scores that may not fall, by format."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One sequence, tracked with two bundles.

    Attributes:
        name: Of the sequence.
        format: A key of `formats.FORMATS`, or `video`.
        frames: How many were tracked.
        before: Scores of the reference; empty where there is no truth.
        after: Scores of the other bundle, under the same names.
        agreement: Of the other's results with the reference's, 1 is the same; None where the
            format has no such comparison.
    """

    name: str
    format: str
    frames: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    agreement: float | None

    @property
    def drop(self) -> float | None:
        """The largest fall of a score that counts, negative where all rose; None without truth."""
        return max((self.before[name] - self.after[name] for name in self._counted()), default=None)

    def _counted(self) -> list[str]:
        return [n for n in BOUNDED.get(self.format, ()) if n in self.before and n in self.after]

    def loss(self, max_drop: float, least_agreement: float) -> str | None:
        """What was lost beyond a bound, in words; None where nothing was.

        Args:
            max_drop: Largest fall of a score that counts.
            least_agreement: Lowest agreement where there is no truth. Tracks may differ and be as
                right, so that this bound is wider.
        """
        if self.drop is None:
            if self.agreement is None or self.agreement >= least_agreement:
                return None
            return (
                f"the tracks agree to {self.agreement:.3f} with those of the float bundle, "
                f"expected --min-agreement {least_agreement:g} or more"
            )
        if self.drop <= max_drop:
            return None
        name = max(self._counted(), key=lambda n: self.before[n] - self.after[n])
        return (
            f"{name} falls from {self.before[name]:.3f} to {self.after[name]:.3f}, by more than "
            f"--max-drop {max_drop:g}"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "drop": self.drop}
