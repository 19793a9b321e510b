"""float16 bundles beside float32 ones, in ONNX Runtime on the CPU: features, ids, masks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from unitrack_edge.evaluation.metrics.davis import vos_j_mean
from unitrack_edge.runtime.inference.base import to_host
from unitrack_edge.runtime.inference.runner import GraphRunner

from ...support.command_line import run_cli

PAIRS = [("resnet_bundle", "half_resnet"), ("lite_bundle", "half_lite")]


@pytest.mark.parametrize(
    ("full", "half"), [("resnet_bundle", "half_resnet_backbone"), ("lite_bundle", "half_lite")]
)
def test_features_point_the_same_way(full, half, request, shared_data):
    """Every feature point of real frames; both maps are of unit points."""
    frames = sorted((shared_data / "mot" / "TUD-Campus" / "img1").glob("*.jpg"))[:61:30]
    images = np.stack([cv2.resize(cv2.imread(str(file)), (320, 240)) for file in frames])
    maps = []
    for name in (full, half):
        with GraphRunner(request.getfixturevalue(name), "cpu", 2) as graphs:
            (features,) = graphs.run("backbone", images)
            maps.append(to_host(features).astype(np.float64))
    cosine = (maps[0] * maps[1]).sum(axis=-1)
    assert len(frames) == 3
    assert cosine.min() >= 0.999


def results(bundle, folder, *arguments):
    run_cli("track", *arguments, "--bundle", bundle.path, "--output", folder, "--threads", "2")
    return folder


def ids_of(folder):
    rows = (folder / "tracks.txt").read_text().replace(" ", ",").splitlines()
    return [tuple(row.split(",")[:2]) for row in rows]


@pytest.mark.parametrize(
    ("full", "half"), [pytest.param(*PAIRS[0], marks=pytest.mark.slow), PAIRS[1]]
)
def test_no_track_id_changes_among_boxes(full, half, request, shared_data, tmp_path):
    folder = shared_data / "mot" / "TUD-Campus"
    arguments = (folder / "img1", "--fps", "25", "--task", "mot")
    arguments += ("--detections", folder / "det" / "det.txt", "--max-frames", "30")
    if "lite" not in full:
        arguments = arguments[:-2]
    found = [
        ids_of(results(request.getfixturevalue(name), tmp_path / name, *arguments))
        for name in (full, half)
    ]
    assert len(found[0]) > 100
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.parametrize(("full", "half"), PAIRS)
def test_no_track_id_changes_among_masks(full, half, request, shared_data, tmp_path):
    folder = shared_data / "mots" / "composite-dev"
    arguments = (folder / "img1", "--task", "mots", "--detections", folder / "det" / "det.txt")
    found = [
        ids_of(results(request.getfixturevalue(name), tmp_path / name, *arguments))
        for name in (full, half)
    ]
    assert len(found[0]) > 200
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "sequence", ["blackswan", "car-shadow", "horsejump-high", "motocross-jump", "scooter-black"]
)
def test_masks_stay_as_good(sequence, resnet_bundle, half_resnet, shared_data, tmp_path):
    folder = shared_data / "vos"
    truth = sorted((folder / "Annotations" / "480p" / sequence).glob("*.png"))[:50]
    scores = []
    for bundle in (resnet_bundle, half_resnet):
        output = tmp_path / bundle.spec.precision
        source = folder / "JPEGImages" / "480p" / sequence
        results(
            bundle,
            output,
            *(source, "--task", "vos", "--init", truth[0], "--max-frames", len(truth)),
        )
        written = [output / "masks" / f"{i:05d}.png" for i in range(len(truth))]
        scores.append(
            vos_j_mean(
                [cv2.imread(str(file)).any(axis=2) for file in written],
                [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) > 0 for file in truth],
            )
        )
    assert abs(scores[0] - scores[1]) < 0.003
