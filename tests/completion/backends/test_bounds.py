"""Compiled loops look at no bounds: who calls them does."""

import numpy as np
import pytest

from deeplinear.completion.backends import pairs
from deeplinear.completion.backends.base import width
from deeplinear.completion.backends.threads import Loops
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.flow import FlowLaw, low_rank_flow
from deeplinear.errors import InputError


@pytest.fixture
def seen():
    rng = np.random.default_rng(0)
    places = rng.choice(40 * 30, 300, replace=False)
    return Observations.from_triples(places // 30, places % 30, rng.normal(size=300), (40, 30))


@pytest.mark.parametrize("sizes", [(39, 30), (41, 30), (40, 29), (3, 3)])
def test_sides_of_other_lengths(seen, sizes):
    w = width(2)
    Z, Y = (np.ones((size, w)) for size in sizes)
    per_line = np.ones(w), np.zeros(w), np.ones(len(Z)), np.ones(w)
    loops = Loops()
    with pytest.raises(IndexError, match="other lengths than the lines"):
        loops.solve(seen.by_row, Z, Y, np.float64(0), *per_line, 1)
    with pytest.raises(IndexError, match="other lengths than the lines"):
        loops.residual_matmul(seen.by_row, Z, Y, np.ones((30, 2)), np.float64(0), 0)
    given = 0.0, 1.0, np.eye(3), np.zeros(3), np.zeros((0, 3)), np.zeros((len(Z), 3))
    with pytest.raises(IndexError, match="other lengths than the lines"):
        loops.draw(seen.by_row, Y[:, :3], *given)


@pytest.mark.parametrize("bad", [10**6, 50, -51, -(10**9)])
def test_pairs_beyond_the_sides(monkeypatch, bad):
    """The compiled way raises what NumPy's way does."""
    Z, Y = np.ones((50, 8)), np.ones((40_000, 8))
    rows, cols = np.zeros(10, int), np.zeros(10, int)
    rows[3] = bad
    for least in (10**9, 0):
        monkeypatch.setattr(pairs, "COMPILED_FROM", least)
        with pytest.raises(IndexError, match="out of bounds"):
            pairs.at(rows, cols, Z, Y, 0.0)
        with pytest.raises(IndexError, match="out of bounds"):
            pairs.average(cols, rows, Y[None], Z[None], np.zeros(1))
    rows[3] = -50
    np.testing.assert_array_equal(pairs.at(rows, cols, Z, Y, 0.0), 8.0)


@pytest.mark.parametrize("mine", [40, -41])
def test_leverage_beyond_the_lines(seen, mine):
    other, ask = np.ones((30, 2)), (np.array([mine]), np.array([0]))
    with pytest.raises(IndexError, match="out of bounds for 40 lines"):
        Loops().leverage(seen.by_row, *ask, other, np.ones(2), np.ones(40), other)


@pytest.mark.parametrize(
    "start",
    [
        (np.ones((10, 2)), np.ones(2), np.ones((30, 2))),
        (np.ones((40, 2)), np.ones(3), np.ones((30, 2))),
        (np.ones((40, 2)), np.array([1.0, 0.0]), np.ones((30, 2))),
        (np.full((40, 2), np.nan), np.ones(2), np.ones((30, 2))),
        (np.ones((40, 2), int), np.ones(2), np.ones((30, 2))),
        (np.ones((40, 2)), np.ones(2)),
    ],
)
def test_starts_of_a_flow(seen, start):
    with pytest.raises(InputError, match=r"start must be \(U, s, V\) for 40 × 30 entries"):
        low_rank_flow(seen, law=FlowLaw(max_steps=3, start=start))
