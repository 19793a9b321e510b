"""RoIAlign as weights: adaptive sampling, corners at box / stride (aligned=False)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def roi_weights(
    boxes_xyxy: npt.NDArray[np.float32],
    *,
    stride: int,
    grid_hw: tuple[int, int],
    output_hw: tuple[int, int],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weights of the separable map `Wy · F · Wxᵀ` that equals RoIAlign.

    Args:
        boxes_xyxy: (N, 4) float32, pixels of the network's image.
        stride: Pixels per feature cell.
        grid_hw: Rows and columns of the feature map.
        output_hw: Rows and columns of the result.

    Returns:
        (N, out_h, rows) and (N, out_w, cols) float32.  A bin outside the map has weights 0.
    """
    boxes = boxes_xyxy.astype(np.float64) / stride
    weights_y = _axis_weights(boxes[:, 1], boxes[:, 3], grid_hw[0], output_hw[0])
    weights_x = _axis_weights(boxes[:, 0], boxes[:, 2], grid_hw[1], output_hw[1])
    return weights_y, weights_x


def _axis_weights(
    low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], cells: int, bins: int
) -> npt.NDArray[np.float32]:
    count = len(low)
    # A box below one cell is widened to one, as the unaligned form of RoIAlign has it.
    length = np.maximum(high - low, 1.0)
    # One sample a cell is all there is to see; a box of absurd size must not take absurd memory.
    samples = np.ceil(np.minimum(length / bins, max(64, 4 * cells))).astype(np.int64)
    most = int(samples.max(initial=1))
    bin_length = (length / bins)[:, None, None]
    sample = np.arange(most)[None, None, :]
    place = low[:, None, None] + bin_length * (
        np.arange(bins)[None, :, None] + (sample + 0.5) / samples[:, None, None]
    )
    counted = (sample < samples[:, None, None]) & (place >= -1.0) & (place <= cells)
    place = np.clip(place, 0.0, cells - 1.0)
    left = np.minimum(np.floor(place).astype(np.int64), cells - 1)
    right = np.minimum(left + 1, cells - 1)
    share = np.where(counted, 1.0 / samples[:, None, None], 0.0)
    fraction = place - left
    weights = np.zeros((count, bins, cells))
    box = np.broadcast_to(np.arange(count)[:, None, None], place.shape)
    row = np.broadcast_to(np.arange(bins)[None, :, None], place.shape)
    np.add.at(weights, (box, row, left), share * (1.0 - fraction))
    np.add.at(weights, (box, row, right), share * fraction)
    return weights.astype(np.float32)
