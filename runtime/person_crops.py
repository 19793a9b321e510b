"""The part of a picture that a top-down model sees of one box, and the way back.

A crop is a rectangle of whole source pixels about the box, of the shape of the model's input, so
that nothing is squeezed and the two scales are known exactly.  Where it reaches beyond the picture
it is black.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..records import BoolArray, FloatArray, UInt8Array
from .boxes import clip_boxes, rows_in_picture


@dataclass(frozen=True, slots=True)
class PersonCrop:
    """A rectangle of a picture, scaled to a model's input.

    Coordinates are continuous, pixel (0, 0) covers [0, 1) x [0, 1), in the picture as in the crop.

    Attributes:
        left: First column of the picture; may be negative.
        top: First row of the picture; may be negative.
        size_hw: Height and width in source pixels, at least 1.
        model_hw: Height and width of the model's input in pixels.
    """

    left: int
    top: int
    size_hw: tuple[int, int]
    model_hw: tuple[int, int]

    @staticmethod
    def about(
        box_xyxy: FloatArray, picture_hw: tuple[int, int], model_hw: tuple[int, int], margin: float
    ) -> PersonCrop | None:
        """The crop about the visible part of a box.

        Args:
            box_xyxy: (4,) left, top, right, bottom in source pixels.
            picture_hw: Height and width of the picture.
            model_hw: Height and width of the model's input.
            margin: How much longer the crop is than the box, as a share of the longer side; 0.25
                leaves an eighth on either side.

        Returns:
            The crop, or None where the box lies wholly outside the picture. It is never larger
            than `1 + margin` pictures, however large the box.
        """
        if not rows_in_picture(box_xyxy[None], picture_hw)[0]:
            return None
        left, top, right, bottom = clip_boxes(box_xyxy.astype(np.float64)[None], picture_hw)[0]
        ratio = model_hw[0] / model_hw[1]
        width = max(right - left, (bottom - top) / ratio) * (1 + margin)
        size_hw = max(1, round(width * ratio)), max(1, round(width))
        return PersonCrop(
            int(np.floor((left + right - size_hw[1] + 1) / 2)),
            int(np.floor((top + bottom - size_hw[0] + 1) / 2)),
            size_hw,
            model_hw,
        )

    def cut(self, image: UInt8Array) -> UInt8Array:
        """The crop of a picture.

        Args:
            image: (H, W, 3) uint8, which the crop overlaps.

        Returns:
            (h, w, 3) uint8 of the model's size, in the picture's order of colours.
        """
        rows, columns = self._inside(image.shape[:2])
        padded = cv2.copyMakeBorder(
            image[rows, columns],
            rows.start - self.top,
            self.top + self.size_hw[0] - rows.stop,
            columns.start - self.left,
            self.left + self.size_hw[1] - columns.stop,
            cv2.BORDER_CONSTANT,
            value=(0, 0, 0),
        )
        return np.asarray(_resized(padded, self.model_hw), np.uint8)

    def points_to_source(self, points_xy: FloatArray) -> FloatArray:
        """Points from crop to source pixels: (…, 2) x, y; a new float32 array, nothing clipped."""
        scale = np.array(self.size_hw[::-1]) / self.model_hw[::-1]
        return np.asarray(points_xy * scale + (self.left, self.top), np.float32)

    def points_to_crop(self, points_xy: FloatArray) -> FloatArray:
        """Points from source to crop pixels: the inverse of `points_to_source`."""
        scale = np.array(self.model_hw[::-1]) / self.size_hw[::-1]
        return np.asarray((points_xy - np.array((self.left, self.top))) * scale, np.float32)

    def mask_to_source(self, sure: FloatArray, picture_hw: tuple[int, int]) -> BoolArray:
        """Where a map over the crop is above a half, in the picture.

        Args:
            sure: (h, w) float32 probabilities over the crop, of any size.
            picture_hw: Height and width of the picture.

        Returns:
            (H, W) bool, False outside the crop.
        """
        rows, columns = self._inside(picture_hw)
        large = _resized(sure, self.size_hw)
        mask = np.zeros(picture_hw, np.bool_)
        mask[rows, columns] = (
            large[
                rows.start - self.top : rows.stop - self.top,
                columns.start - self.left : columns.stop - self.left,
            ]
            > 0.5
        )
        return mask

    def _inside(self, picture_hw: tuple[int, ...]) -> tuple[slice, slice]:
        """Rows and columns of the picture that the crop shows."""
        height, width = picture_hw
        return (
            slice(max(self.top, 0), min(self.top + self.size_hw[0], height)),
            slice(max(self.left, 0), min(self.left + self.size_hw[1], width)),
        )


def _resized(image: npt.NDArray[Any], size_hw: tuple[int, int]) -> npt.NDArray[Any]:
    # Area averaging, or what is thinner than a pixel of the model's would flicker.
    smaller = size_hw[0] < image.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, size_hw[::-1], interpolation=how)
