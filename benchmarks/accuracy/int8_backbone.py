"""An int8 bundle against the float one: file size, feature cosine on new footage, latency."""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx

from ...calibration.frames import FEWEST, backbone_images, sample_frames
from ...calibration.probe import latencies_ms
from ...calibration.search import FeatureJudge
from ...errors import CalibrationError
from ...runtime.bundle.bundle import Bundle
from ..script import Script
from ..timing import limit_threads

LOWEST_COSINE = 0.98
LARGEST_FILE = {"efficientnet-lite0": 0.45}
"""Share of the float backbone's file, by architecture; 0.3 for all others."""


script = Script(__doc__, threads=2)
script.add_argument("float_bundle", type=Path)
script.add_argument("int8_bundle", type=Path)
script.add_argument("--frames", nargs="+", required=True, help="sources not calibrated on")
script.number("--count", FEWEST, "frames of each", least=FEWEST)


@script.does
def main(options: argparse.Namespace) -> None:
    """Print a line per source; an error where a bound is not met."""
    limit_threads(options.threads)
    bundles = [Bundle.load(path) for path in (options.float_bundle, options.int8_bundle)]
    graphs = [bundle.spec.graphs["backbone"] for bundle in bundles]
    models = [onnx.load(b.path / g.file) for b, g in zip(bundles, graphs, strict=True)]
    share = graphs[1].size_bytes / graphs[0].size_bytes
    bound = LARGEST_FILE.get(bundles[0].spec.arch, 0.3)
    print(f"file {graphs[0].size_bytes} -> {graphs[1].size_bytes} bytes ({share:.1%})")
    lowest = 1.0
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
        lowest = min(lowest, *cosines)
    if share > bound or lowest < LOWEST_COSINE:
        raise CalibrationError(
            f"got a file of {share:.1%} and a cosine of {lowest:.4f}, expected at most {bound:.0%} "
            f"and at least {LOWEST_COSINE}"
        )
