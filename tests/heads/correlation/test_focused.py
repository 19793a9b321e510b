"""A target in one crop, against the definitions written out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from unitrack_edge.heads.config import SotConfig
from unitrack_edge.heads.correlation.focused import FocusedTarget, Sight

GRID, CHANNELS = 33, 12


def field(grow=1.0, right=0.0, down=0.0, grid=GRID, seed=0):
    """(grid, grid, C) smooth unit features of a scene, grown about the crop's middle and moved."""
    coarse = np.random.default_rng(seed).standard_normal((40, 40, CHANNELS)).astype(np.float32)
    place = (np.arange(grid) - (grid - 1) / 2) / grow
    x, y = ((place - move / grow) / 2.5 + 20 for move in (right, down))
    maps = np.stack(np.meshgrid(x, y)).astype(np.float32)
    seen = [cv2.remap(c, *maps, cv2.INTER_CUBIC) for c in np.moveaxis(coarse, 2, 0)]
    points = np.stack(seen, axis=2)
    return points / np.linalg.norm(points, axis=2, keepdims=True)


def started(head, grid=GRID, **config):
    target = FocusedTarget(grid, SotConfig(head=head, **config))
    target.start(field(grid=grid))
    return target


def window():
    """(G, G, 1) half a sine along each axis, 0 at the border."""
    line = np.sin(np.pi * np.arange(GRID) / (GRID - 1))
    return np.outer(line, line)[:, :, None]


def middle_of(crop, inner):
    """The template's cells, and where they begin."""
    start = (len(crop) - inner) // 2
    return crop[start : start + inner, start : start + inner], start


@pytest.mark.parametrize("margin", [0.0, 1.2, 3.5, 20.0, 99.0])
@pytest.mark.parametrize("grid", [8, 33, 34, 65])
def test_a_template_is_what_the_target_covers_of_the_middle(grid, margin):
    target = FocusedTarget(grid, SotConfig(margin=margin))
    assert (grid - target.inner) % 2 == 0
    assert abs(target.inner - grid / (1 + margin)) <= 1 or target.inner == 2 - grid % 2
    target.start(field(grid=grid))
    assert np.isfinite(target.look(field(grid=grid)).value)


def test_the_filter_is_the_definition_by_fourier_transforms():
    """α̂ = ŷ / (Σ|ẑ|² + λ), response F⁻¹(α̂ Σ x̂ ẑ*), learned twice at rate ½."""
    target = started("dcf", learning_rate=0.5)
    first, second, search = field(), field(right=2.0, down=-1.0), field(1.05, right=1.3, down=-2.4)
    inner, grid = target.inner, GRID
    line = np.minimum(np.arange(grid), grid - np.arange(grid))
    sigma = grid / 2.2 * 0.1

    def filled(crop, right=0, down=0):
        z, start = middle_of(np.roll(crop, (-down, -right), (0, 1)), inner)
        whole = np.zeros(crop.shape)
        whole[start : start + inner, start : start + inner] = z
        return np.fft.fft2(whole, axes=(0, 1))

    def taught(z, right=0.0, down=0.0):
        """A Gaussian whose peak lies at a place between cells, by the shift of its transform."""
        y = np.fft.fft2(np.exp(-(line[:, None] ** 2 + line**2) / (2 * sigma**2)))
        turn = np.fft.fftfreq(grid)
        y = y * np.exp(-2j * np.pi * (turn[:, None] * down + turn * right))
        return y / ((abs(z) ** 2).sum(2) + 1e-4)

    target.learn(second, Sight(1.0, 2.25, -1.125))
    one, two = filled(first), filled(second, 2, -1)
    z, alpha = (one + two) / 2, (taught(one) + taught(two, 0.25, -0.125)) / 2
    x = np.fft.fft2(search * window(), axes=(0, 1))
    response = np.fft.ifft2(alpha * (x * z.conj()).sum(2)).real
    sight = target.look(search)
    assert sight.value == pytest.approx(response.max(), rel=1e-4)
    down, right = np.unravel_index(response.argmax(), response.shape)
    wrapped = [place - grid * (place > grid // 2) for place in (right, down)]
    assert np.abs(np.subtract([sight.right, sight.down], wrapped)).max() <= 0.5


def test_the_template_gives_the_mean_cosine_under_the_window():
    target = started("xcorr")
    search = field(1.0, right=3.0, down=-2.0)
    z, start = middle_of(field(), target.inner)
    spot = slice(start - 2, start - 2 + target.inner), slice(start + 3, start + 3 + target.inner)
    sight = target.look(search)
    assert sight.value == pytest.approx((z * (search * window())[spot]).sum(2).mean(), rel=1e-4)
    assert (round(sight.right), round(sight.down)) == (3, -2)


@pytest.mark.parametrize("head", ["dcf", "xcorr"])
@pytest.mark.parametrize(("right", "down"), [(0.0, 0.0), (2.3, -1.6), (-4.0, 3.5)])
def test_motion_is_found_between_cells(head, right, down):
    sight = started(head).look(field(right=right, down=down))
    assert sight.right == pytest.approx(right, abs=0.3)
    assert sight.down == pytest.approx(down, abs=0.3)


@pytest.mark.parametrize("grow", [0.95, 1.0, 1.05])
@pytest.mark.parametrize(("right", "down"), [(0.0, 0.0), (2.3, -1.6)])
def test_growth_is_read_from_the_features(grow, right, down):
    target = started("xcorr")
    crop = field(grow, right, down)
    assert target.growth(crop, Sight(1.0, right, down)) == pytest.approx(grow, abs=0.02)
    # A place that is a little off is part of what is solved for.
    assert target.growth(crop, Sight(1.0, right + 0.3, down)) == pytest.approx(grow, abs=0.03)


@pytest.mark.parametrize("grow", [0.95, 1.1])
def test_noise_does_not_make_a_growth_smaller(grow):
    """Slopes of what is seen alone, its noise included, say 0.958 and 1.075."""
    noise, found = np.random.default_rng(5), []
    for seed in range(8):
        target = FocusedTarget(GRID, SotConfig())
        target.start(field(seed=seed))
        crop = field(grow, seed=seed)
        crop = crop + 0.2 * noise.standard_normal(crop.shape).astype(np.float32)
        crop /= np.linalg.norm(crop, axis=2, keepdims=True)
        found.append(target.growth(crop, Sight(1.0, 0.0, 0.0)))
    assert np.mean(found) == pytest.approx(grow, abs=abs(grow - 1) / 10)


def test_a_target_without_structure_is_nowhere():
    target = FocusedTarget(29, SotConfig())
    target.start(np.full((29, 29, CHANNELS), 0.5, np.float32))
    assert target.look(field(grid=29)) == Sight(0.0, 0.0, 0.0)
    target.start(field(grid=29))
    assert target.look(field(grid=29)).value > 0.2


def test_of_a_target_at_the_border_nothing_is_learned():
    target = started("dcf", learning_rate=0.5)
    before = target.look(field())
    for right, down in ((-20.0, 0.0), (0.0, 19.0)):
        at_the_border = Sight(1.0, right, down)
        assert target.growth(field(), at_the_border) == 1.0
        target.learn(field(seed=1), at_the_border)
    assert target.look(field()) == before


def test_features_without_slopes_tell_no_growth():
    target = FocusedTarget(GRID, SotConfig())
    flat = np.full((GRID, GRID, CHANNELS), 0.5, np.float32)
    target.start(flat)
    assert target.growth(flat, Sight(1.0, 0.0, 0.0)) == 1.0
