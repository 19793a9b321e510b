"""Success AUC of single-object tracking on OTB sequences, beside the reference results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import SourceError, UnitrackError
from ..evaluation.metrics.sot import success_auc
from ..heads.config import SOT_HEADS, SotConfig
from ..heads.sot import Box, SotHead
from ..records import Frame, UInt8Array
from ..runtime.boxes import xyxy_to_xywh
from ..runtime.formats.otb import read_otb_boxes
from ..runtime.inference.base import Graphs
from .timing import limit_threads
from .weights import add_options, bundled, weights_of

DATA = Path(__file__).parents[1].parent / "shared/data/sot"


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence from its first frame, and what the authors' code reaches on it, by head."""

    folder: str
    truth: str
    frames: int
    reference: dict[str, float]


ROWS = (
    Row("jogging", "groundtruth_rect.1.txt", 90, {"dcf": 0.567, "xcorr": 0.584}),
    Row("Car4", "groundtruth_rect.txt", 120, {"dcf": 0.893, "xcorr": 0.853}),
)


def read_image(path: Path) -> UInt8Array:
    """An image as (H, W, 3) uint8 BGR.

    Raises:
        SourceError: It cannot be read.
    """
    image = cv2.imread(str(path))
    if image is None:
        raise SourceError(f"{path} cannot be read")
    return np.asarray(image, np.uint8)


def auc_of(graphs: Graphs, data: Path, row: Row, head: str) -> float:
    """Track a sequence and score it."""
    truth = read_otb_boxes(data / row.folder / row.truth)[: row.frames]
    paths = sorted((data / row.folder / "img").glob("*.jpg"))[: row.frames]
    x, y, width, height = truth[0].tolist()
    box: Box = (x, y, width, height)
    tracker = SotHead(graphs, box, SotConfig(head=head))
    found = [
        tracker.step(Frame(index, index / 30, read_image(path))).detections.boxes_xyxy
        for index, path in enumerate(paths)
    ]
    return success_auc(xyxy_to_xywh(np.concatenate(found)), truth)


def main(arguments: Sequence[str] | None = None) -> int:
    """Score all rows with both heads; status 1 where one stays 0.02 below its reference."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--data", type=Path, default=DATA, help="default: ../shared/data/sot")
    options = parser.parse_args(arguments)
    limit_threads(options.threads)
    below = 0
    try:
        weights = weights_of(options.backbone, options.weights)
        with bundled(options.backbone, weights, options.threads) as graphs:
            print(f"{'sequence':12}{'head':>8}{'AUC':>8}{'reference':>11}")
            for row in ROWS:
                for head in SOT_HEADS:
                    auc = auc_of(graphs, options.data, row, head)
                    want = row.reference[head]
                    below += auc < want - 0.02
                    print(f"{row.folder:12}{head:>8}{auc:8.3f}{want:11.3f}", flush=True)
    except UnitrackError as error:
        print(error, file=sys.stderr)
        return 1
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
