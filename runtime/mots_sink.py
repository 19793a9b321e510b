"""Results with masks as MOTS text."""

from __future__ import annotations

from ..errors import OutputError
from ..records import Frame, Tracks
from .rle import encode_rle
from .sinks import RowFile

PEDESTRIAN = 2
"""MOTS' number for people: written where the observer knows no class above 0."""


class MotsRows(RowFile):
    """MOTSChallenge rows `frame id class H W RLE`, one for each track.

    Frames count from 1.  Ids are the tracks' own, and unique over all classes; the truth of KITTI
    and MOTSChallenge numbers its objects class * 1000 + n, which no reader asks of results.
    """

    def rows(self, frame: Frame, tracks: Tracks) -> list[str]:
        """None for a frame without tracks.

        Raises:
            OutputError: Tracks without masks, or with masks of another size than the frame.
        """
        if not len(tracks):
            return []
        seen, size_hw = tracks.observations, frame.size_hw
        if seen.masks is None or seen.masks.shape[1:] != size_hw:
            got = "no masks" if seen.masks is None else f"masks of {seen.masks.shape[1:]}"
            raise OutputError(
                f"frame {frame.index}: got {got}, expected {size_hw} (height, width) "
                "for every track"
            )
        place = f"{size_hw[0]} {size_hw[1]}"
        return [
            f"{frame.index + 1} {identity} {label if label > 0 else PEDESTRIAN} {place} "
            f"{encode_rle(mask)}\n"
            for identity, label, mask in zip(
                tracks.ids.tolist(), seen.classes.tolist(), seen.masks, strict=True
            )
        ]
