"""`Propagator` against the dense definition, and the tiles it works in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unitrack_edge.heads.propagation import propagator as propagation
from unitrack_edge.heads.propagation.propagator import (
    MASKED,
    Propagator,
    TilePlan,
    best_tile,
    reach_of,
)

from ...reference.propagation_plain import propagate, propagate_video
from ...support.tolerance import assert_within, propagation_error


def video(rows, cols, frames, labels, seed=0, channels=16):
    """Frames (1, rows, cols, C) of unit points that change slowly, and labels of the first."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((rows, cols, channels))
    images = []
    for _ in range(frames):
        points = image / np.linalg.norm(image, axis=2, keepdims=True)
        images.append(points.astype(np.float32)[None])
        image = np.roll(image, 1, axis=1) + 0.3 * rng.standard_normal(image.shape)
    first = rng.dirichlet(np.full(labels, 0.3), rows * cols).astype(np.float32)
    return images, first


def error_of(settings_, frames, channels=16):
    return propagation_error(channels, settings_["temperature"], settings_["top_k"], frames)


DEFAULTS = {"top_k": 10, "temperature": 0.05, "radius": 12.0, "memory": 5, "first_radius": None}


@pytest.mark.parametrize(
    ("rows", "cols", "labels", "changed"),
    [
        (1, 1, 2, {}),
        (1, 1, 2, {"memory": 0}),
        (2, 2, 2, {}),
        (1, 9, 3, {"radius": 1.0}),
        (3, 3, 9, {"memory": 1}),
        (7, 13, 2, {"memory": 0}),
        (7, 13, 2, {"memory": 1, "radius": 1.0}),
        (7, 13, 9, {"memory": 5, "radius": 4.0}),
        (7, 13, 2, {"memory": 2, "radius": 400.0}),
        (7, 13, 3, {"memory": 2, "radius": 2.5, "first_radius": 5.0}),
        (7, 13, 3, {"memory": 2, "radius": 5.0, "first_radius": 1.5}),
        (7, 13, 3, {"memory": 0, "first_radius": 1.0}),
        (7, 13, 4, {"memory": 2, "top_k": 3, "temperature": 0.5}),
        (7, 13, 4, {"memory": 2, "top_k": 1}),
        (19, 23, 2, {"memory": 2, "radius": 6.0}),
        (40, 3, 2, {"memory": 2, "radius": 3.0}),
    ],
)
def test_propagator_is_the_definition(tiny, rows, cols, labels, changed):
    settings_ = DEFAULTS | changed
    frames, first = video(rows, cols, 5, labels)
    propagator = Propagator(tiny, rows, cols, **settings_)
    propagator.start(frames[0], first)
    got = [propagator.step(frame) for frame in frames[1:]]
    want = propagate_video([frame[0] for frame in frames], first, **settings_)
    for number, (found, expected) in enumerate(zip(got, want, strict=True), 1):
        assert found.dtype == np.float32
        assert found.shape == (rows * cols, labels)
        assert_within(found, expected, error_of(settings_, number))


@pytest.mark.parametrize(("rows", "cols", "labels"), [(1, 1, 2), (2, 3, 9), (9, 14, 2)])
def test_exported_graphs_give_the_same(quick_runner, rows, cols, labels):
    channels = quick_runner.spec.channels
    frames, first = video(rows, cols, 4, labels, seed=1, channels=channels)
    settings_ = DEFAULTS | {"memory": 2, "radius": 4.0}
    propagator = Propagator(quick_runner, rows, cols, **settings_)
    propagator.start(frames[0], first)
    want = propagate_video([frame[0] for frame in frames], first, **settings_)
    for number, (frame, expected) in enumerate(zip(frames[1:], want, strict=True), 1):
        assert_within(propagator.step(frame), expected, error_of(settings_, number, channels))


def test_fewer_keys_than_the_bundle_keeps(wide_runner):
    """Top-k 70 of a grid of 12 cells, and of windows of fewer keys than that."""
    frames, first = video(3, 4, 3, 2)
    for radius in (1.0, 2.0):
        settings_ = DEFAULTS | {"memory": 1, "radius": radius, "top_k": 70}
        propagator = Propagator(wide_runner, 3, 4, **settings_)
        propagator.start(frames[0], first)
        want = propagate_video([frame[0] for frame in frames], first, **settings_)
        for number, (frame, expected) in enumerate(zip(frames[1:], want, strict=True), 1):
            assert_within(propagator.step(frame), expected, error_of(settings_, number))


@pytest.fixture
def wide_runner():
    pytest.importorskip("torch")
    from ...reference.graphs_in_torch import TorchRunner

    return TorchRunner(top_k=70)


def test_propagator_golden(quick_runner, golden):
    """What the public code computes: six memory frames, the first searched everywhere.

    Rows of zeros make the 32 channels as many as the graph's, and change no product.  The public
    code works in float32, as the graphs do.
    """
    numbers = golden("propagate")
    keys, labels = numbers["keys"], numbers["labels"]
    count, channels, rows, cols = keys.shape
    spare = quick_runner.spec.channels - channels

    def frame(planes):
        return np.pad(planes.transpose(1, 2, 0), ((0, 0), (0, 0), (0, spare)))[None]

    def cells(planes):
        return np.ascontiguousarray(planes.reshape(len(planes), -1).T)

    propagator = Propagator(
        quick_runner,
        rows,
        cols,
        top_k=int(numbers["topk"]),
        temperature=float(numbers["temperature"]),
        radius=float(numbers["radius"]),
        memory=count - 1,
    )
    propagator.start(frame(keys[0]), cells(labels[0]))
    # The file holds the labels of all memory frames: they are put in as if propagated.
    propagator._recent.clear()
    propagator._recent.extend(
        propagation.MemoryFrame(frame(keys[i]), cells(labels[i])) for i in range(1, count)
    )
    got = propagator.step(frame(numbers["query"]))
    error = propagation_error(channels, float(numbers["temperature"]), int(numbers["topk"]))
    assert_within(got, cells(numbers["output"]), 2 * error)


def test_the_slow_propagation_is_the_golden_one(golden):
    numbers = golden("propagate")
    keys = numbers["keys"].transpose(0, 2, 3, 1)
    labels = [planes.reshape(len(planes), -1).T for planes in numbers["labels"]]
    radii = [None] + [float(numbers["radius"])] * (len(keys) - 1)
    got = propagate(
        numbers["query"].transpose(1, 2, 0),
        list(keys),
        labels,
        radii,
        top_k=int(numbers["topk"]),
        temperature=float(numbers["temperature"]),
    )
    want = numbers["output"].reshape(len(numbers["output"]), -1).T
    assert got == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("values", [1, 200_000])
def test_chunks_change_nothing(tiny, monkeypatch, values):
    frames, first = video(19, 23, 3, 2)
    settings_ = DEFAULTS | {"radius": 4.0, "memory": 2}

    def run():
        tiny.calls.clear()
        propagator = Propagator(tiny, 19, 23, **settings_)
        propagator.start(frames[0], first)
        return [propagator.step(frame) for frame in frames[1:]], len(tiny.calls)

    whole, calls = run()
    monkeypatch.setattr(tiny, "values_at_once", lambda: values)
    parts, more_calls = run()
    assert more_calls >= 2 * calls
    for number, (a, b) in enumerate(zip(whole, parts, strict=True), 1):
        assert_within(b, a, 2 * error_of(settings_, number))


def test_starting_again_forgets(tiny):
    frames, first = video(7, 13, 4, 2)
    propagator = Propagator(tiny, 7, 13, **DEFAULTS)
    with pytest.raises(RuntimeError, match="start"):
        propagator.step(frames[0])
    results = []
    for _ in range(2):
        propagator.start(frames[0], first)
        results.append([propagator.step(frame) for frame in frames[1:]])
    for a, b in zip(*results, strict=True):
        assert (a == b).all()


@pytest.mark.parametrize(("memory", "together", "alone"), [(2, 0, 2), (5, 1, 0), (12, 2, 2)])
def test_memory_holds_no_more_than_asked_in_as_few_calls(tiny, memory, together, alone):
    frames, first = video(3, 4, 9, 2)
    propagator = Propagator(tiny, 3, 4, **DEFAULTS | {"memory": memory})
    propagator.start(frames[0], first)
    near = ["propagate_recent"] * together + ["propagate_local"] * alone
    for frame in frames[1:]:
        tiny.calls.clear()
        propagator.step(frame)
        assert tiny.calls == ["propagate_global", *near, "propagate_labels"]


@pytest.mark.parametrize("memory", [5, 7])
def test_a_bundle_of_before_gives_the_same(tiny, memory):
    """It takes the recent frames one by one; not a bit is another."""
    frames, first = video(19, 23, 9, 3)

    def run():
        propagator = Propagator(tiny, 19, 23, **DEFAULTS | {"memory": memory, "radius": 4.0})
        propagator.start(frames[0], first)
        return [propagator.step(frame) for frame in frames[1:]]

    got = run()
    assert "propagate_recent" in tiny.calls
    graphs = {name: g for name, g in tiny.spec.graphs.items() if name != "propagate_recent"}
    tiny.spec = replace(tiny.spec, graphs=graphs)
    tiny.calls.clear()
    for one, other in zip(got, run(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "propagate_recent" not in tiny.calls


def test_inputs_are_left_alone(tiny):
    frames, first = video(7, 13, 3, 2)
    copies = [frame.copy() for frame in frames], first.copy()
    propagator = Propagator(tiny, 7, 13, **DEFAULTS)
    propagator.start(frames[0], first)
    result = propagator.step(frames[1])
    kept = result.copy()
    propagator.step(frames[2])
    assert (result == kept).all()
    assert (first == copies[1]).all()
    for frame, copy in zip(frames, copies[0], strict=True):
        assert (frame == copy).all()


# --- tiles

sizes = st.integers(1, 20)


@settings(max_examples=80, deadline=None)
@given(
    rows=sizes,
    cols=sizes,
    radius=st.floats(0.01, 30),
    tile=st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)),
    keys=st.integers(1, 150),
)
def test_tiles_cover_the_grid_and_windows_the_radius(rows, cols, radius, tile, keys):
    plan = TilePlan.build(rows, cols, radius, tile, keys)
    cells = np.arange(rows * cols)
    # Every cell stands at exactly one place of the tiles.
    assert (plan.query_index.ravel()[plan.position] == cells).all()
    assert len(np.unique(plan.position)) == len(cells)
    assert plan.window_index.shape[1] >= keys
    for index in (plan.query_index, plan.window_index):
        assert index.min() >= 0
        assert index.max() < len(cells)
    assert set(np.unique(plan.bias)) <= {np.float32(0), np.float32(MASKED)}
    # Its window shows it every key within the radius once, and nothing else.
    y, x = np.divmod(cells, cols)
    near = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2 < radius * radius
    per_tile = plan.query_index.shape[1]
    for cell in cells:
        which, row = divmod(plan.position[cell], per_tile)
        seen = plan.window_index[which][plan.bias[which, row] == 0]
        assert sorted(seen) == list(np.flatnonzero(near[cell]))


@pytest.mark.parametrize(
    ("radius", "reach"), [(0.5, 0), (1.0, 0), (1.01, 1), (2, 1), (12.0, 11), (12.5, 12)]
)
def test_reach_is_strict(radius, reach):
    assert reach_of(radius) == reach


def test_a_radius_beyond_all_bounds_costs_no_more_than_the_grid():
    plan = TilePlan.build(5, 6, float("inf"))
    assert plan.window_index.shape[1] < 1000
    assert (plan.bias == 0).any(axis=2).all()


def test_best_tile_wastes_little():
    """At 480p and radius 12 the windows cost at most 2.2 times the work of the exact disc."""
    rows, cols = 60, 107
    h, w = best_tile(rows, cols, reach_of(12.0))
    tiles = -(-rows // h) * -(-cols // w)
    products = tiles * h * w * (h + 22) * (w + 22)
    disc = sum(y * y + x * x < 144 for y in range(-11, 12) for x in range(-11, 12))
    assert products <= 2.2 * disc * rows * cols
