"""Whether a backbone gives features at all: a cheap look at every so many frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import BackendError
from ...records import Frame, UInt8Array
from ..inference.base import Array, to_host
from ..preprocessing import FeatureMap

EVERY = 100
"""Frames from one look to the next; the first frame is always looked at."""

_CELLS = 512
_SAME = 1e-6
_LEAST_SPREAD = 2.0
"""Standard deviation of an image in grey levels from which its features cannot all be alike."""


class FeatureCheck:
    """Refuses features that are not numbers, or say nothing.

    Tracking would go on with them, and every result would be wrong.
    """

    def __init__(self) -> None:
        self._frames = 0

    def check(self, features: Sequence[FeatureMap], images: Sequence[Array], frame: Frame) -> None:
        """Look at all features of a frame, if it is its turn.

        Args:
            features: Of each image, (1, rows, cols, C).
            images: (1, height, width, 3) uint8 each, what the backbone was given.
            frame: That they are of.

        Raises:
            BackendError: They hold NaN or infinities, or are zero or the same everywhere although
                the image is not.
        """
        if not features:
            return
        due, self._frames = self._frames % EVERY == 0, self._frames + 1
        # Only then: from a device, features and images have a way to go.
        for one, image in zip(features, images, strict=True) if due else ():
            values = to_host(one.array)
            wrong = _wrong(values.reshape(-1, values.shape[-1]), to_host(image)[0], frame.image)
            if wrong:
                raise BackendError(
                    f"the backbone gives features that are {wrong} (frame {frame.index}): its "
                    "graph is damaged, or this backend cannot run it in its precision; compare it "
                    "with `cli parity BUNDLE`, or export it again"
                )


def _wrong(cells: npt.NDArray[Any], *images: UInt8Array) -> str:
    # One sum looks at every value: NaN and infinities do not leave it.
    with np.errstate(all="ignore"):
        total = np.sum(np.abs(cells), dtype=np.float32)
    if not np.isfinite(total):
        return "not finite (NaN or infinite)"
    # Of a uniform image, features may be uniform; its border in the network's image is not one.
    if len(cells) < 2 or min(float(one[::8, ::8].std()) for one in images) < _LEAST_SPREAD:
        return ""
    if total == 0:
        return "all zero"
    some = cells[:: max(1, len(cells) // _CELLS)].astype(np.float32)
    return "the same everywhere" if np.abs(some - some[0]).max() < _SAME else ""
