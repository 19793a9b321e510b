"""Histograms that do not keep the values, judged by the values themselves."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="extra 'calibrate'")

from unitrack_edge.calibration.histograms import TARGETS, Histogram


def values(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return (np.abs(rng.standard_t(3, (8, 40, 50))) * scale).astype(np.float32)


def histogram_of(parts):
    histogram = Histogram.empty()
    for part in parts:
        histogram.add(part)
    return histogram


def test_percentile_is_that_of_the_values():
    parts = [values(seed, scale) for seed, scale in enumerate((1, 30, 0.1, 4))]
    histogram = histogram_of(parts)
    everything = np.concatenate([part.ravel() for part in parts])
    wanted = np.percentile(everything, 100 - 0.002, method="inverted_cdf")
    assert histogram.cut_off("percentile") == pytest.approx(wanted, abs=1.01 * histogram.width)
    assert histogram.counts.sum() == everything.size
    assert histogram.cut_off("minmax") == everything.max()


def test_the_order_of_frames_does_not_matter():
    parts = [values(seed, scale) for seed, scale in enumerate((1, 30, 0.1, 4))]
    one, other = histogram_of(parts), histogram_of(parts[::-1])
    assert one.width == other.width
    assert one.cut_off("percentile") == pytest.approx(other.cut_off("percentile"), abs=one.width)


def test_signs_do_not_matter_and_empty_activations_have_no_range():
    one = histogram_of([values(1)])
    assert histogram_of([-values(1)]).cut_off("percentile") == one.cut_off("percentile")
    zero = histogram_of([np.zeros((2, 3), np.float32)] * 2)
    assert {zero.cut_off(method) for method in ("minmax", "percentile", "entropy")} == {0.0}
    zero.add(values(1))
    assert zero.largest == one.largest
    assert zero.counts.sum() == one.counts.sum() + 12


def test_outliers_are_cut_off_by_entropy_and_percentile_but_not_by_minmax():
    bulk = np.abs(np.random.default_rng(0).normal(0, 1, 200_000)).astype(np.float32)
    bulk[:3] = 80.0
    histogram = histogram_of([bulk])
    assert histogram.cut_off("minmax") == 80.0
    assert 3.0 < histogram.cut_off("percentile") < 5.0
    assert 2.0 < histogram.cut_off("entropy") < 40.0


def test_arrays_and_back():
    histogram = histogram_of([values(3)])
    again = Histogram.from_arrays(histogram.to_arrays())
    again.add(values(4))
    histogram.add(values(4))
    assert again.cut_off("percentile") == histogram.cut_off("percentile")
    assert (again.width, again.largest) == (histogram.width, histogram.largest)


@pytest.mark.parametrize("saved", [False, True])
def test_levels_of_a_cpu_are_spent_on_values_that_occur(saved):
    """All 256 upwards from 0 where nothing is negative, else either side of 128; 0 is exact."""
    one, both = histogram_of([values(1)]), histogram_of([values(1), -values(2)])
    if saved:
        one, both = (Histogram.from_arrays(h.to_arrays()) for h in (one, both))
    above, around = (TARGETS["cpu"].grid(h, "minmax") for h in (one, both))
    assert (above.dtype, above.zero, around.zero) == ("uint8", 0, 128)
    for grid, histogram in ((above, one), (around, both)):
        assert grid.cut_off == pytest.approx(histogram.largest)
        inside = np.linspace(0, histogram.largest, 999, dtype=np.float32)
        assert np.abs(grid.rounded(inside) - inside).max() <= grid.scale * 0.501
        assert grid.rounded(np.zeros(1, np.float32)) == 0
    assert above.rounded(np.float32([-1.0, 1e9])).tolist() == pytest.approx([0, one.largest])
