"""Results of single-object tracking as text."""

from __future__ import annotations

import numpy as np

from ..errors import OutputError
from ..records import Frame, Tracks
from .boxes import xyxy_to_xywh
from .sinks import RowFile


class SotFile(RowFile):
    """OTB rows `x,y,w,h`: line n belongs to the n-th frame.

    OTB calls the corner pixel of the picture (1, 1), so x = left + 1 and y = top + 1; w and h are
    lengths.
    """

    def rows(self, frame: Frame, tracks: Tracks) -> list[str]:
        """One line; `NaN,NaN,NaN,NaN` where nothing is tracked yet.

        Raises:
            OutputError: Several tracks, of which no line could be told from the next one's.
        """
        if not len(tracks):
            return ["NaN,NaN,NaN,NaN\n"]
        if len(tracks) != 1:
            raise OutputError(f"frame {frame.index}: got {len(tracks)} tracks, expected 1")
        box = xyxy_to_xywh(tracks.observations.boxes_xyxy.astype(np.float64))[0]
        x, y, width, height = np.round(box + np.array([1.0, 1.0, 0.0, 0.0]), 2) + 0.0  # no "-0.00"
        return [f"{x:.2f},{y:.2f},{width:.2f},{height:.2f}\n"]
