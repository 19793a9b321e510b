"""An int8 bundle against the float one: file size, feature cosine on new footage, latency."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import onnx

from ...calibration.frames import FEWEST, backbone_images, sample_frames
from ...calibration.probe import latencies_ms
from ...calibration.search import FeatureJudge
from ...errors import UnitrackError
from ...runtime.bundle.bundle import Bundle
from ..timing import limit_threads

LOWEST_COSINE = 0.98
LARGEST_FILE = {"efficientnet-lite0": 0.45}
"""Share of the float backbone's file, by architecture; 0.3 for all others."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per source; status 1 where a bound is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("float_bundle", type=Path)
    parser.add_argument("int8_bundle", type=Path)
    parser.add_argument("--frames", nargs="+", required=True, help="sources not calibrated on")
    parser.add_argument("--count", type=int, default=FEWEST, help="frames of each")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    limit_threads(options.threads)
    try:
        return _compare(options)
    except UnitrackError as error:
        print(error, file=sys.stderr)
        return 1


def _compare(options: argparse.Namespace) -> int:
    bundles = [Bundle.load(path) for path in (options.float_bundle, options.int8_bundle)]
    graphs = [bundle.spec.graphs["backbone"] for bundle in bundles]
    models = [onnx.load(b.path / g.file) for b, g in zip(bundles, graphs, strict=True)]
    share = graphs[1].size_bytes / graphs[0].size_bytes
    bound = LARGEST_FILE.get(bundles[0].spec.arch, 0.3)
    print(f"file {graphs[0].size_bytes} -> {graphs[1].size_bytes} bytes ({share:.1%})")
    missed = share > bound
    for source in options.frames:
        sample = sample_frames([source], options.count, backbone_images(bundles[0].spec.sizes_hw))
        cosines = FeatureJudge(models[0], sample.images).scores(models[1])
        before, after = latencies_ms(models, sample.images[0])
        height, width = sample.images[0].shape[:2]
        print(
            f"{source}: cosine {min(cosines):.4f} lowest, {sum(cosines) / len(cosines):.4f} mean "
            f"of {len(cosines)} frames; {before:.0f} -> {after:.0f} ms at {width}x{height}",
            flush=True,
        )
        missed = missed or min(cosines) < LOWEST_COSINE
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
