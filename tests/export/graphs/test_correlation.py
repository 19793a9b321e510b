"""The graphs of single-object tracking against a plain correlation and `torch.fft` in float64.

Tolerances count the roundings that a term passes on its way to the result.
"""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import BackendError
from unitrack_edge.heads.correlation.geometry import gaussian_label

from ...reference import sot_plain
from ...support.tolerance import assert_within, sum_error

torch = pytest.importorskip("torch")
from unitrack_edge.export.graphs import correlation as sot_graphs  # noqa: E402

from ...reference.graphs_in_torch import TorchRunner  # noqa: E402

C, G, INNER = 112, 65, 14
H = G // 2 + 1
SIGMA = G / 4.5 * 0.1
LAMBDA = 1e-4


def correlation_error(channels, inner, magnitude):
    """Of a correlation: summed by channel, column and row, after two rounded factors a term."""
    return sum_error(channels + 2 * inner + 2, magnitude)


def alpha_error(plain, cells, channels):
    """Relative error of α̂ at every frequency, (G, G).

    ẑ is summed along columns and rows with rounded cosines, and a term of it is at most `cells`,
    Σ‖z‖. What follows is the sum over channels, λ, the label, and the average over frames.
    """
    spectrum = cells * sum_error(2 * (plain.inner + 2))
    power = plain.power.numpy()
    off = 2 * spectrum * np.sqrt(power) + spectrum**2
    return off / (power + plain.regularisation) + sum_error(channels + 10)


def response_error(plain, search, cells, magnitude):
    """Of the filter's response, whose correlations have terms of Σ|xz| of at most `magnitude`.

    A transform and its inverse, each along rows and columns and in two parts, are unitary up to a
    factor: independent errors of all places come out as they went in, times the root mean square
    of what the spectrum is multiplied with.
    """
    channels, grid = search.shape[3], plain.cells
    alpha = np.abs(plain.alpha.numpy())
    length = channels + 2 * plain.inner + 2 + 4 * (2 * grid + 2)
    of_sums = sum_error(length, magnitude) * np.sqrt((alpha**2).mean())
    spectrum = np.abs(plain.correlate(search).numpy()) / grid**2
    of_alpha = spectrum * alpha * alpha_error(plain, cells, channels)
    return of_sums + np.sqrt((of_alpha**2).sum(axis=(1, 2))).max()


@pytest.fixture(params=["torch", "onnx"])
def runner(request):
    """The modules, then the exported files."""
    if request.param == "torch":
        return TorchRunner(channels=C)
    return request.getfixturevalue("lite_runner")


def points_of(seed, *shape, smooth=True):
    """Unit points; smooth ones share most of their direction, as a network's do."""
    points = np.random.default_rng(seed).standard_normal(shape)
    if smooth:
        points += 2 * np.random.default_rng(99).standard_normal(shape[-1])
    return (points / np.linalg.norm(points, axis=-1, keepdims=True)).astype(np.float32)


def one(value):
    return np.array([value], np.float32)


def update(runner, crop, learned=None, rate=1.0, label=None):
    """A call of `dcf_update`, from nothing where nothing was learned."""
    template, alpha = learned or (
        np.zeros((INNER**2, crop.shape[3]), np.float32),
        np.zeros((G, H), np.float32),
    )
    label = gaussian_label(G, SIGMA) if label is None else label
    return runner.run("dcf_update", crop, template, alpha, label, one(rate), one(LAMBDA))


@pytest.mark.parametrize("scales", [1, 3])
def test_xcorr_is_conv2d(runner, scales):
    search, first = points_of(scales, scales, G, G, C), points_of(9, 1, G, G, C)
    (got,) = runner.run("xcorr", search, first)
    want = sot_plain.xcorr(search, first[0], INNER)
    assert got.shape == want.shape == (scales, 52, 52)
    assert got.dtype == np.float32
    assert np.abs(want).max() > 50
    assert_within(got, want, correlation_error(C, INNER, INNER**2))


def test_xcorr_of_what_has_not_moved_has_its_corner_where_the_template_was(runner):
    first = points_of(0, 1, G, G, C, smooth=False)
    (response,) = runner.run("xcorr", first, first)
    assert np.unravel_index(response[0].argmax(), (52, 52)) == (25, 25)
    moved = np.roll(first, (3, -5), axis=(1, 2))
    (response,) = runner.run("xcorr", moved, first)
    assert np.unravel_index(response[0].argmax(), (52, 52)) == (28, 20)


@pytest.mark.parametrize("scales", [1, 3])
def test_dcf_is_the_filter_in_the_fourier_domain(runner, scales):
    """Three frames of learning, of which the last two are averaged in."""
    crops = [points_of(seed, 1, G, G, C) for seed in range(3)]
    search = points_of(7, scales, G, G, C)
    plain = sot_plain.Filter(G, INNER, SIGMA, LAMBDA)
    learned = None
    for number, crop in enumerate(crops):
        rate = 0.3 if number else 1.0
        plain.learn(crop[0].astype(np.float64), rate)
        learned = update(runner, crop, learned, rate)
        alpha = plain.alpha[:, :H]
        assert np.abs(alpha.imag.numpy()).max() < 1e-12 * np.abs(alpha.numpy()).max()
        # The imaginary part shows what float64 is good to.
        floor = 1e-12 * np.abs(alpha.numpy()).max()
        relative = alpha_error(plain, INNER**2, C)[:, :H]
        assert_within(learned[1], alpha.real.numpy(), relative * alpha.abs().numpy() + floor)
        (got,) = runner.run("dcf_response", search, *learned)
        want = plain.respond(search)
        assert got.shape == (scales, G, G)
        assert np.abs(want).max() > 0.01
        assert_within(got, want, response_error(plain, search, INNER**2, INNER**2))


@pytest.mark.parametrize(("down", "right"), [(0, 0), (4, 0), (0, -6), (-3, 2)])
def test_dcf_peak_is_where_the_target_went_and_wraps_around(runner, down, right):
    crop = points_of(3, 1, G, G, C, smooth=False)
    learned = update(runner, crop)
    (response,) = runner.run("dcf_response", np.roll(crop, (down, right), axis=(1, 2)), *learned)
    assert np.unravel_index(response[0].argmax(), (G, G)) == (down % G, right % G)


def test_dcf_of_the_masked_template_is_the_label(runner):
    """Without the window, the filter answers its own template with what it was taught."""
    crop = points_of(5, 1, G, G, C)
    template, alpha = update(runner, crop)
    line = np.hanning(G)
    window = np.outer(line, line)
    start = G // 2 - INNER // 2
    inside = slice(start, start + INNER)
    search = np.zeros_like(crop)
    search[0, inside, inside] = crop[0, inside, inside] / window[inside, inside, None]
    (response,) = runner.run("dcf_response", search, template, alpha)
    plain = sot_plain.Filter(G, INNER, SIGMA, LAMBDA)
    plain.learn(crop[0].astype(np.float64), 1.0)
    of_lambda = LAMBDA / plain.power.min().item()
    error = response_error(plain, search, INNER**2, INNER**2) + of_lambda
    assert_within(response[0], sot_plain.gaussian(G, SIGMA), error)


def test_dcf_learns_nothing_at_rate_zero(runner):
    learned = update(runner, points_of(0, 1, G, G, C))
    again = update(runner, points_of(1, 1, G, G, C), learned, rate=0.0)
    assert (again[0] == learned[0]).all()
    assert (again[1] == learned[1]).all()


@pytest.mark.parametrize("level", [0.0, 1 / 16])
def test_crops_without_structure_give_finite_answers(runner, level):
    """All cells alike, or all zero: the spectrum is zero nearly everywhere."""
    flat = np.full((1, G, G, C), level, np.float32)
    learned = update(runner, flat)
    assert np.isfinite(learned[1]).all()
    (response,) = runner.run("dcf_response", flat, *learned)
    (correlation,) = runner.run("xcorr", flat, flat)
    assert np.isfinite(response).all()
    assert np.isfinite(correlation).all()
    if level == 0:
        assert not response.any()
        assert not correlation.any()
    else:
        # The window makes the middle the best place.
        assert correlation[0].argmax() in {y * 52 + x for y in (25, 26) for x in (25, 26)}


def test_half_precision_features_are_computed_with_in_float32():
    rounded = [
        points_of(seed, count, G, G, C).astype(np.float16) for seed, count in ((1, 2), (2, 1))
    ]
    search, first = (points.astype(np.float32) for points in rounded)
    half = TorchRunner(channels=C, dtype="float16")
    (got,) = half.run("xcorr", *rounded)
    assert got.dtype == np.float32
    error = correlation_error(C, INNER, 1.01 * INNER**2)  # points are longer than 1 by rounding
    assert_within(got, sot_plain.xcorr(search, first[0], INNER), error)
    template, alpha = update(half, rounded[1])
    assert template.dtype == alpha.dtype == np.float32
    (response,) = half.run("dcf_response", rounded[0], template, alpha)
    plain = sot_plain.Filter(G, INNER, SIGMA, LAMBDA)
    plain.learn(first[0].astype(np.float64), 1.0)
    error = response_error(plain, search, 1.01 * INNER**2, 1.01 * INNER**2)
    assert_within(response, plain.respond(search), error)


@pytest.mark.parametrize(("grid", "inner"), [(5, 2), (8, 3), (9, 9), (12, 4), (7, 1)])
def test_other_grids(grid, inner):
    """Even and odd ones, templates as large as the crop and as small as a cell."""
    rng = np.random.default_rng(grid)
    search = rng.standard_normal((2, grid, grid, 3)).astype(np.float32)
    crop = rng.standard_normal((1, grid, grid, 3)).astype(np.float32)
    tensors = torch.from_numpy(search), torch.from_numpy(crop)
    got = sot_graphs.XCorr(grid, inner)(*tensors).numpy()
    magnitude = sot_plain.xcorr(np.abs(search), np.abs(crop[0]), inner).max()
    error = correlation_error(3, inner, magnitude)
    assert_within(got, sot_plain.xcorr(search, crop[0], inner), error)
    plain = sot_plain.Filter(grid, inner, 0.8, 0.1)
    plain.learn(crop[0].astype(np.float64), 1.0)
    half = grid // 2 + 1
    label = gaussian_label(grid, 0.8)
    template, alpha = sot_graphs.DcfUpdate(grid, inner)(
        tensors[1],
        torch.zeros(inner**2, 3),
        torch.zeros(grid, half),
        torch.from_numpy(label),
        torch.ones(1),
        torch.tensor([0.1]),
    )
    response = sot_graphs.DcfResponse(grid, inner)(tensors[0], template, alpha).numpy()
    cells = np.linalg.norm(sot_plain.middle(crop[0], inner), axis=-1).sum()
    magnitude = np.linalg.norm(search, axis=-1).max() * cells
    assert_within(response, plain.respond(search), response_error(plain, search, cells, magnitude))


def test_the_template_is_the_inside_of_the_target():
    assert sot_graphs.inner_cells(65, 3.5) == INNER
    assert sot_graphs.template_start(65, INNER) == 25


def test_label_is_real_and_symmetric():
    plain = np.fft.rfft2(sot_plain.gaussian(G, SIGMA))
    assert_within(gaussian_label(G, SIGMA), plain.real, sum_error(1, np.abs(plain).max()))
    assert np.abs(plain.imag).max() < 1e-12


@pytest.mark.parametrize("graph", ["xcorr", "dcf_update", "dcf_response"])
def test_specs_say_what_may_vary(lite_runner, graph):
    spec = lite_runner.spec.graphs[graph]
    varying = {size for tensor in spec.inputs for size in tensor.shape if isinstance(size, str)}
    assert varying == (set() if graph == "dcf_update" else {"scales"})
    if varying:
        search = spec.inputs[0]
        assert (search.min_shape[0], search.opt_shape[0], search.max_shape[0]) == (1, 3, 8)


def test_crops_of_another_size_are_refused(lite_runner):
    wrong = np.zeros((3, 64, 64, C), np.float32)
    with pytest.raises(BackendError, match=r"xcorr, input search: got .*64, 64"):
        lite_runner.run("xcorr", wrong, wrong[:1])
