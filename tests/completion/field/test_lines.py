"""Lines and curves between observed cells, against NumPy, SciPy and plain loops."""

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from deeplinear.completion.field.gaussian_field import Cells
from deeplinear.completion.field.graph import chain, given
from deeplinear.completion.field.lines import Lines, lines_within


def some_cells(seed=0, m=60, n=5, observed=0.5):
    rng = np.random.default_rng(seed)
    seen = rng.random((m, n)) < observed
    values = np.where(seen, np.cumsum(rng.normal(size=(m, n)), axis=0), 0.0)
    return Cells(values, seen * rng.uniform(0.5, 2.0, (m, n)))


@pytest.mark.parametrize("seed", range(3))
def test_they_lie_between_the_cells_before_and_behind(seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.5, 1.5, 60))[rng.permutation(60)]  # rows in any order
    cells = some_cells(seed)
    found, distance = Lines.of(cells, chain(times))
    step = np.median(np.diff(np.sort(times)))
    for j in range(5):
        known = np.flatnonzero(cells.weights[:, j])
        known = known[np.argsort(times[known])]
        curve = PchipInterpolator(times[known], cells.values[known, j])
        for i in range(60):
            inside = times[known[0]] < times[i] < times[known[-1]] and i not in known
            assert np.isfinite(found.straight[i, j]) == inside
            assert np.isnan(found.curved[i, j]) == np.isnan(found.straight[i, j])
            if inside:
                line = np.interp(times[i], times[known], cells.values[known, j])
                assert found.straight[i, j] == pytest.approx(line, abs=1e-9)
                assert found.curved[i, j] == pytest.approx(float(curve(times[i])), abs=1e-9)
                nearest = abs(times[known] - times[i]).min() / step
                assert distance[i, j] == pytest.approx(nearest, rel=0.2)


def test_no_line_goes_over_a_gap_in_the_order():
    cells = some_cells(1, m=21)
    times = np.arange(21.0)
    times[10] = np.nan  # a row without a time is joined to none
    weights = chain(times).tolil()
    weights[4, 5] = weights[5, 4] = 0.0
    found = Lines.of(cells, weights.tocsr())[0]
    assert np.isnan(found.straight[10]).all()
    for first, last in ((0, 4), (5, 20)):
        part = [i for i in range(first, last + 1) if i != 10]
        for j in range(5):
            known = [i for i in part if cells.weights[i, j] > 0]
            lines = [i for i in part if np.isfinite(found.straight[i, j])]
            inside = [i for i in part if known and known[0] < i < known[-1] and i not in known]
            assert lines == inside


def test_curves_know_nothing_of_other_parts():
    """A table of several paths has the curves of each path by itself."""
    cells, blocks = some_cells(4, m=60), []
    weights = np.zeros((60, 60))
    for start in range(0, 60, 12):
        for i in range(start, start + 11):
            weights[i, i + 1] = weights[i + 1, i] = 1.0
        part = Cells(cells.values[start : start + 12], cells.weights[start : start + 12])
        blocks.append(Lines.of(part, chain(np.arange(12.0)))[0])
    found = Lines.of(cells, given(weights, 60, "row_order"))[0]
    for name in ("straight", "curved"):
        whole = np.vstack([getattr(block, name) for block in blocks])
        np.testing.assert_allclose(getattr(found, name), whole, atol=1e-12)


@pytest.mark.parametrize("far", [1e5, 1e16, 1e300, -1e17])
def test_a_time_that_lies_far_away_is_behind_a_gap(far):
    cells = some_cells(5)
    times = np.arange(60.0)
    times[30] = far
    found = Lines.of(cells, chain(times))[0]
    assert np.isnan(found.straight[30]).all()
    assert np.isfinite(found.straight[[28, 29, 31]]).any()


def test_the_typical_step_is_not_that_of_equal_times():
    """Three rows at each time: a time behind is one step away."""
    rng = np.random.default_rng(0)
    cells = Cells(rng.normal(size=(60, 1)), np.repeat(rng.random(20) < 0.5, 3)[:, None] * 1.0)
    distance = Lines.of(cells, chain(np.repeat(np.arange(20.0), 3)))[1]
    assert np.nanmin(distance) > 0.9


@pytest.mark.parametrize("edges", [[(0, 1), (1, 2), (2, 0)], [(0, 1), (0, 2), (0, 3)], []])
def test_a_graph_that_is_no_line_has_none(edges):
    weights = np.zeros((4, 4))
    for i, k in edges:
        weights[i, k] = weights[k, i] = 1.0
    assert Lines.of(some_cells(m=4), given(weights, 4, "row_order")) is None


def test_shares_go_to_the_lines_first_and_then_to_the_curves():
    cells = some_cells(2)
    found = Lines.of(cells, chain(np.arange(60.0)))[0]
    at = np.random.default_rng(0).normal(size=(60, 5))
    shares = np.random.default_rng(1).random((2, 5))
    moved = found.towards(at, shares)
    none = np.isnan(found.straight)
    np.testing.assert_array_equal(moved[none], at[none])
    own = (1 - shares[1]) * shares[0], shares[1]
    rest = (1 - shares[0]) * (1 - shares[1])
    expected = rest * at + own[0] * found.straight + own[1] * found.curved
    np.testing.assert_allclose(moved[~none], expected[~none], atol=1e-12)


def test_a_reach_ends_them():
    cells, order = some_cells(3, observed=0.2), chain(np.arange(60.0))
    found, distance = Lines.of(cells, order)
    near = lines_within(cells, order, 1.5)
    there = np.isfinite(near.straight)
    assert (there == (distance <= 1.5)).all()
    assert 0 < there.sum() < np.isfinite(found.straight).sum()
    np.testing.assert_array_equal(near.curved[there], found.curved[there])


def test_one_known_cell_makes_no_line():
    cells = Cells(np.ones((5, 1)), np.eye(5)[:, 2:3])
    assert np.isnan(Lines.of(cells, chain(np.arange(5.0)))[0].straight).all()
