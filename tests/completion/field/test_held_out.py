"""Shares of a stack, and their errors on cells that had no part in them, against plain loops."""

import numpy as np
import pytest

from deeplinear.completion.field.gaussian_field import Cells
from deeplinear.completion.field.graph import chain
from deeplinear.completion.field.held_out import SHARES, HeldOut, Stack
from deeplinear.completion.field.lines import lines_within


def judges(seed, count=400, m=80, n=6):
    rng = np.random.default_rng(seed)
    truth = np.cumsum(rng.normal(size=(m, n)), axis=0)
    places = rng.permutation(m * n)[:count]
    rows, cols = places // n, places % n
    held = HeldOut(rows, cols, truth[rows, cols], np.arange(n))
    return truth, held, rng


def slow_shares(held, before, after, judged):
    """The share of each column by a loop over shares, cells and columns."""
    n = held.owner.max() + 1
    losses, count = np.zeros((len(SHARES), n)), np.zeros(n)
    for i in np.flatnonzero(judged):
        j = held.cols[i]
        count[j] += 1
        for k, share in enumerate(SHARES):
            losses[k, j] += (before[i] + share * (after[i] - before[i])) ** 2
    bounded = losses / losses.max(axis=0) * count
    everywhere = bounded.sum(axis=1) / count.sum()
    own = losses / losses[0] * count
    return np.array([SHARES[np.argmin(own[:, j] + 50 * everywhere)] for j in range(n)])


@pytest.mark.parametrize("seed", range(3))
def test_shares_have_the_least_loss_of_the_judged_cells(seed):
    truth, held, rng = judges(seed)
    noises = np.geomspace(0.2, 5, truth.shape[1])
    network = truth + rng.normal(size=truth.shape) * noises
    other = truth + rng.normal(size=truth.shape) * noises[::-1]
    before, after = held.gaps(network), held.gaps(other)
    judged = rng.random(len(before)) < 0.7
    found = held.shares(before, after, judged)
    np.testing.assert_array_equal(found, slow_shares(held, before, after, judged))
    assert len(set(found)) > 1


def test_one_column_that_a_share_ruins_does_not_speak_for_the_others():
    truth, held, rng = judges(7)
    network = truth + rng.normal(size=truth.shape)
    other = truth + 0.1 * rng.normal(size=truth.shape)
    other[:, 2] += 1e4 * rng.normal(size=len(truth))
    shares = held.shares(held.gaps(network), held.gaps(other))
    assert shares[2] == 0
    assert (np.delete(shares, 2) == 1).all()


def test_no_cell_has_a_part_in_the_shares_that_it_is_judged_by():
    """Another truth in one held-out cell does not move what it is compared with."""
    truth, held, rng = judges(4, count=60)
    stack = Stack(truth + rng.normal(size=truth.shape), truth + rng.normal(size=truth.shape))
    gaps = stack.gaps(held)
    for i in (0, 7, 33):
        values = held.values.copy()
        values[i] += 1e-3
        moved = stack.gaps(HeldOut(held.rows, held.cols, values, held.owner))
        assert moved[i] == pytest.approx(gaps[i] - 1e-3, abs=1e-12)


def test_the_error_of_shares_is_not_kinder_than_that_of_other_cells():
    """Of a choice among two equally bad completions, held-out cells of its own are kinder by a
    fifth of a percent and more; crossed ones agree with fresh cells.
    """
    ratios = []
    for seed in range(40):
        truth, held, rng = judges(seed, count=120, m=400)
        stack = Stack(*(truth + rng.normal(size=truth.shape) for _ in range(2)))
        others = np.ones(truth.shape, bool)
        others[held.rows, held.cols] = False
        completed = stack.completed(*stack.shares(held))
        fresh = np.mean((completed - truth)[others] ** 2)
        kind = np.mean(held.gaps(completed) ** 2)
        ratios.append((kind / fresh, np.mean(stack.gaps(held) ** 2) / fresh))
    mean, error = np.mean(ratios, axis=0), np.std(ratios, axis=0) / 40**0.5
    assert abs(mean[1] - 1) < 3 * error[1]
    assert mean[0] < mean[1]


def test_lines_are_stacked_upon_the_field():
    truth, _, rng = judges(5)
    seen = rng.random(truth.shape) < 0.6
    rows, cols = np.nonzero(~seen)
    held = HeldOut(rows, cols, truth[rows, cols], np.arange(truth.shape[1]))
    cells = Cells(np.where(seen, truth, 0.0), seen.astype(float))
    lines = lines_within(cells, chain(np.arange(80.0)), 3.0)
    stack = Stack(0 * truth, 0.5 * truth, lines)
    shares, line_shares = stack.shares(held)
    first = shares * 0.5 * truth
    np.testing.assert_allclose(
        stack.completed(shares, line_shares), lines.towards(first, line_shares)
    )
    assert (shares == 1).all()  # half of the truth is better than none
    assert line_shares[0].min() > 0


def test_columns_of_one_category_are_crossed_together():
    """Another truth of a label does not move the share that it is judged by."""
    rng = np.random.default_rng(8)
    owner = np.array([0, 1, 1])
    rows, cols = np.repeat(np.arange(60), 3), np.tile(np.arange(3), 60)
    values = rng.normal(size=180)
    network, field = (values.reshape(60, 3) + rng.normal(size=(60, 3)) for _ in range(2))

    def gaps(values):
        loss = lambda x: float(np.mean((x - values)[cols > 0] ** 2))  # noqa: E731
        held = HeldOut(rows, cols, values, owner, {1: loss})
        return Stack(network, field).gaps(held) + values

    before = gaps(values)
    for row in (0, 17, 59):
        other = values.copy()
        other[rows == row] += 5.0 * (cols[rows == row] > 0)
        np.testing.assert_allclose(gaps(other)[rows == row], before[rows == row], atol=1e-12)
