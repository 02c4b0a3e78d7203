"""`column_error` against the likelihood of its docstring, maximized by brute force."""

import numpy as np
import pytest
from cases import slow
from scipy import stats

from deeplinear.completion.solver.column_noise import column_error, influence
from deeplinear.scores import root_mean_square


def likelihood(errors, cols, v):
    """Σ log of multivariate t laws with as many degrees of freedom as a column has entries."""
    columns, counts = np.unique(cols, return_counts=True)
    return sum(
        stats.multivariate_t(shape=v * np.eye(n), df=counts.mean()).logpdf(errors[cols == j])
        - stats.multivariate_t(shape=np.eye(n), df=counts.mean()).logpdf(np.ones(n))
        for j, n in zip(columns, counts, strict=True)
    )


@pytest.mark.parametrize("seed", [0, slow(1), slow(2)])
def test_it_is_the_likelihood_at_its_maximum(seed):
    rng = np.random.default_rng(seed)
    cols = rng.integers(0, 9, 80) * 3  # some columns have no entry
    errors = rng.normal(size=80) * np.exp(rng.normal(size=30))[cols]
    best = max(likelihood(errors, cols, v) for v in np.exp(np.linspace(-9, 9, 4001)))
    assert column_error(errors, cols) == pytest.approx(np.exp(-best / 80), rel=1e-5)


def test_columns_of_like_errors_count_entry_by_entry():
    cols = np.r_[np.repeat(0, 4), np.repeat(1, 20), np.repeat(7, 2)]
    errors = np.tile([0.3, -0.3], 13)
    assert column_error(errors, cols) == pytest.approx(0.3, rel=1e-9)
    rng = np.random.default_rng(0)
    many = rng.normal(size=30_000), rng.integers(0, 10, 30_000)
    assert column_error(*many) == pytest.approx(root_mean_square(many[0]), rel=2e-3)


@pytest.mark.parametrize("factor", [1e-150, 1e-9, 1e6, 1e150])
def test_it_has_the_units_of_the_errors(factor):
    rng = np.random.default_rng(1)
    errors, cols = rng.normal(size=50), rng.integers(0, 5, 50)
    assert column_error(factor * errors, cols) == pytest.approx(
        factor * column_error(errors, cols), rel=1e-6
    )


def test_a_column_beyond_prediction_counts_by_the_part_that_is_removed():
    """Half of the error of nine columns in ten weighs the same, however large the tenth is."""
    rng = np.random.default_rng(2)
    cols = np.repeat(np.arange(10), 12)
    errors, junk = 0.01 * rng.normal(size=120), cols == 0
    half = np.where(junk, errors, errors / 2)
    ratios = [
        column_error(np.where(junk, size * errors, half), cols)
        / column_error(np.where(junk, size * errors, errors), cols)
        for size in (30.0, 1e3, 1e6)
    ]
    assert ratios == pytest.approx([ratios[0]] * 3, rel=1e-3)
    assert ratios[0] == pytest.approx(2**-0.9, rel=0.1)


@pytest.mark.parametrize(
    ("errors", "value"),
    [
        ([0.0, 0.0, 0.0], 0.0),
        ([1.0, np.inf, 0.0], np.inf),
        ([2.0], 2.0),
        ([-2.0, 2.0, 2.0], 2.0),
    ],
)
def test_ends(errors, value):
    cols = np.arange(len(errors)) // 2
    assert column_error(np.array(errors), cols) == value
    assert np.isnan(column_error(np.array([np.nan, 1.0]), np.array([0, 0])))


def test_few_entries_cannot_tell_noise_levels_apart():
    rng = np.random.default_rng(4)
    cols = np.repeat(np.arange(9), 3)
    errors = rng.normal(size=27) * (1 + 10 * (cols == 0))
    assert column_error(errors, cols) == root_mean_square(errors)


def test_columns_without_any_error_do_not_hide_the_others():
    cols = np.repeat(np.arange(10), 12)
    errors = np.where(cols < 2, np.tile([0.1, -0.1], 60), 0.0)
    sizes = [column_error(c * errors, cols) for c in (1.0, 0.9, 0.5)]
    assert 0 < sizes[2] < sizes[1] < sizes[0] < 0.1


def test_float32_is_summed_in_double():
    rng = np.random.default_rng(3)
    errors, cols = rng.normal(size=500), rng.integers(0, 5, 500)
    assert column_error(errors.astype(np.float32), cols) == pytest.approx(
        column_error(errors, cols), rel=1e-6
    )


@pytest.mark.parametrize("count", [90, 30])  # enough entries per column, and too few
def test_influence_is_the_derivative(count):
    """2 ∂ log(column_error) / ∂(e²), by central differences."""
    rng = np.random.default_rng(3)
    cols = rng.integers(0, 9, count) * 2
    errors = rng.normal(size=count) * np.exp(rng.normal(size=20))[cols]
    found, squares = influence(errors, cols), errors**2
    for t in range(0, count, 7):
        step = 0.02 * max(squares[t], 0.1)
        ends = []
        for sign in (-1, 1):
            moved = squares.copy()
            moved[t] += sign * min(step, 0.5 * squares[t])
            ends.append(np.log(column_error(np.sqrt(moved), cols)))
        slope = 2 * (ends[1] - ends[0]) / (2 * min(step, 0.5 * squares[t]))
        assert found[t] == pytest.approx(slope, rel=2e-2)
    assert (influence(np.zeros(5), np.arange(5)) > 0).all()
