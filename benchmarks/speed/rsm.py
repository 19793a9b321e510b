"""RSM of 30 x 30 masks of 200 points: this project against the direct reconstruction, eager.

The baseline is the faster of two ways to write the definition down in PyTorch: each reconstruction
is built by one `einsum`, and cosines are taken from its inner products and norms (through
`F.cosine_similarity`, which expands both sides, it takes longer).
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...heads.association.similarity import rsm_costs
from ...heads.association.tracklets import ObjectFeatures
from ..script import DISAGREE, Result, Script
from ..timing import Stages, Stopwatch, interleave, limit_threads, stage_table, summary
from ..weights import bundled

OBJECTS = 30
POINTS = 200
SCALE = 100.0
TOLERANCE = 1e-4
WARM_UP = 2

Float32 = npt.NDArray[np.float32]
_FLOOR = 1e-12
_PAIR = "eager", "ours"


@torch.inference_mode()
def direct_cost(tracks: Tensor, detections: Tensor, scale: float) -> Tensor:
    """1 - RSM of objects without padding, reconstructed by `einsum`: (N, P, C), (M, R, C)."""
    affinity = torch.einsum("npc,mrc->npmr", tracks, detections)
    logits = affinity.flatten(2).flatten(0, 1) * scale
    forward = logits.softmax(dim=1).reshape(affinity.shape)
    backward = logits.softmax(dim=0).reshape(affinity.shape)
    tracks_again = torch.einsum("npmr,mrc->nmpc", forward, detections)
    first = torch.einsum("npc,nmpc->nm", tracks, tracks_again)
    first /= _norm(tracks)[:, None] * _norm(tracks_again)
    detections_again = torch.einsum("npmr,npc->nmrc", backward, tracks)
    second = torch.einsum("mrc,nmrc->nm", detections, detections_again)
    second /= _norm(detections)[None] * _norm(detections_again)
    return 1 - (first + second) / 2


def _norm(objects: Tensor) -> Tensor:
    norm: Tensor = objects.flatten(-2).norm(dim=-1).clamp_min(_FLOOR)
    return norm


def related_objects(count: int, points: int, channels: int, seed: int) -> Float32:
    """(count, points, channels) unit points of objects of which a few look alike."""
    things = np.random.default_rng(0).standard_normal((count // 2, points, channels))
    rng = np.random.default_rng(seed)
    stack = things[np.arange(count) % len(things)]
    stack = stack + rng.uniform(0.3, 2.0, (count, 1, 1)) * rng.standard_normal(stack.shape)
    return np.asarray(stack / np.linalg.norm(stack, axis=2, keepdims=True), np.float32)


script = Script(__doc__, rounds=12, threads=2, saves=True)
script.number("--objects", OBJECTS, "on either side")
script.number("--points", POINTS, "of an object")


@script.does
def main(options: argparse.Namespace) -> Result:
    """Measure both sides."""
    limit_threads(options.threads)
    costs: dict[str, Float32] = {}
    worst = 0.0
    # The graph has no weights: any bundle of this width does.
    with bundled("random-r18", None, options.threads) as graphs:
        size = options.objects, options.points, graphs.spec.channels
        tracks, detections = (related_objects(*size, seed) for seed in (1, 2))
        present = np.ones(tracks.shape[:2], np.float32)
        scale = np.array([SCALE], np.float32)
        given = ObjectFeatures(tracks, present), ObjectFeatures(detections, present)
        tensors = torch.from_numpy(tracks), torch.from_numpy(detections)
        watch = Stopwatch()

        def eager(_: int) -> Stages:
            with watch.stage("rsm"):
                costs["eager"] = direct_cost(*tensors, SCALE).numpy()
            return watch.take()

        def ours(_: int) -> Stages:
            nonlocal worst
            with watch.stage("rsm"):
                costs["ours"] = rsm_costs(graphs, *given, scale)
            worst = max(worst, float(np.abs(costs["eager"] - costs["ours"]).max()))
            return watch.take()

        sides = {"eager": eager, "ours": ours}
        measured = interleave(sides, warm_up=WARM_UP, rounds=options.rounds)
    lines = stage_table(measured, [_PAIR])
    lines.append(
        f"{options.objects} x {options.objects} objects of {options.points} points, costs "
        f"{costs['eager'].min():.2f} to {costs['eager'].max():.2f}, within {worst:.1e}"
    )
    record = {
        "objects": options.objects,
        "points": options.points,
        "agreement": worst,
        **summary(measured, [_PAIR]),
    }
    return Result("rsm_speed", lines, record, DISAGREE if worst > TOLERANCE else "")
