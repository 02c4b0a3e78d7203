"""Draws of new entries at pairs of ids: against the deviations, hidden entries, and the prior."""

import warnings

import numpy as np
import pytest

import deeplinear as dl
from deeplinear.completion.posterior.gibbs import draw
from deeplinear.errors import EmptyLineWarning, InputError


@pytest.fixture(scope="module")
def problem():
    """2,400 noisy entries of an 80 × 60 matrix of rank 2; every entry with its noise."""
    rng = np.random.default_rng(7)
    whole = rng.normal(size=(80, 2)) @ rng.normal(size=(2, 60)) + rng.normal(size=60)
    whole += 0.5 * rng.normal(size=whole.shape)
    rows, cols = np.divmod(rng.permutation(4800)[:2400], 60)
    return rows, cols, whole


@pytest.fixture(scope="module")
def fitted(problem):
    rows, cols, whole = problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dl.errors.NotConvergedWarning)
        return dl.DeepMatrixCompletion(random_state=0).fit((rows, cols, whole[rows, cols]))


@pytest.fixture(scope="module")
def hidden(problem):
    rows, cols, whole = problem
    free = np.ones(whole.shape, bool)
    free[rows, cols] = False
    return np.nonzero(free)


def test_they_cover_what_was_hidden(problem, fitted, hidden):
    """90 % of 2,400 hidden entries, which share rows and columns: within 4 standard errors."""
    truth = problem[2][hidden]
    draws = fitted.draws(300, *hidden, random_state=0)
    assert draws.shape == (300, 2400)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    assert abs(np.mean((low <= truth) & (truth <= high)) - 0.9) < 4 * np.sqrt(0.09 / 2400)
    # they hold the noise of a new entry, which the fit without draws knows up to a factor below 2
    ratio = draws.std(axis=0) / fitted.predict_std(*hidden)
    assert 1 < np.exp(np.mean(np.log(ratio))) < 2
    gap = draws.mean(axis=0) - fitted.predict(*hidden)
    assert np.sqrt(np.mean(gap**2)) < np.sqrt(np.mean((fitted.predict(*hidden) - truth) ** 2))


def test_the_same_seed_gives_the_same_draws_at_any_pairs_and_threads(fitted, hidden):
    rows, cols = (x[:50] for x in hidden)
    one = fitted.draws(3, rows, cols, random_state=4)
    np.testing.assert_array_equal(fitted.draws(3, rows, cols, random_state=4), one)
    np.testing.assert_array_equal(
        fitted.draws(3, np.column_stack([rows, cols]), random_state=4), one
    )
    assert (fitted.draws(3, rows, cols, random_state=5) != one).all()


@pytest.mark.slow
def test_unknown_ids_are_draws_of_the_prior(problem, fitted):
    """One new row of all unknown ids in each draw: N(m, Λ⁻¹) times the columns, and the noise."""
    pairs = np.full(60, 999), np.arange(60)
    with pytest.warns(EmptyLineWarning):
        draws = fitted.draws(2000, *pairs, random_state=0)
    with pytest.warns(EmptyLineWarning):
        both = fitted.draws(50, [999, 998], [777, 3], random_state=0)
    assert np.isfinite(both).all()
    # the law, from another chain: total variance = mean of variances + variance of means
    model = fitted.model_
    means, variances = [], []
    for sample in list(draw(model.fit, model.seen, 410, seed=9))[10:]:
        precision, pull = sample.prior
        C, y = np.linalg.inv(precision), np.column_stack([sample.cols[:, :-1], np.ones(60)])
        means.append(sample.mean + y @ (C @ pull) + sample.cols[:, -1])
        variances.append(np.einsum("jk,kl,jl->j", y, C, y) + 1 / sample.precision)
    spread = np.sqrt(np.mean(variances, axis=0) + np.var(means, axis=0))
    np.testing.assert_allclose(draws.std(axis=0), spread, rtol=0.12)
    gap = (draws.mean(axis=0) - np.mean(means, axis=0)) / spread
    assert np.abs(gap).max() < 0.15
    assert (
        draws.std(axis=0).mean()
        > 1.5
        * fitted.draws(100, *(np.zeros(60, int), np.arange(60)), random_state=0).std(axis=0).mean()
    )


def test_what_they_need(fitted, tmp_path):
    with pytest.raises(InputError, match="n must be an integer ≥ 1, got 0"):
        fitted.draws(0, [0], [0])
    folded = fitted.fold_in(([0], [1], [2.0]))
    with pytest.raises(InputError, match="draws needs the estimator that was fitted"):
        folded.draws(1, [0], [0])
    fitted.save(tmp_path / "m.dln", entries=False)
    loaded = dl.DeepMatrixCompletion.load(tmp_path / "m.dln")
    with pytest.raises(InputError, match="saved without its entries, which draws needs"):
        loaded.draws(1, [0], [0])
    fitted.save(tmp_path / "m.dln")
    loaded = dl.DeepMatrixCompletion.load(tmp_path / "m.dln")
    np.testing.assert_array_equal(loaded.draws(2, [0], [0]), fitted.draws(2, [0], [0]))


@pytest.mark.parametrize("size", [1e45, 1e-45])
def test_draws_beyond_the_range_of_float32(size, tmp_path):
    """Nothing but the unit changes, also for folded rows and after a file."""
    X = np.random.default_rng(0).normal(size=(12, 8))
    options = {"depth": 2, "strength": 0.1, "n_draws": 3, "random_state": 0, "threads": 1}
    one, other = (dl.DeepMatrixCompletion(**options).fit(unit * X) for unit in (1.0, size))
    np.testing.assert_allclose(other.complete() / size, one.complete(), rtol=1e-4, atol=1e-6)
    folded = [model.fold_in(unit * X[:2]).complete() for model, unit in ((one, 1.0), (other, size))]
    np.testing.assert_allclose(folded[1] / size, folded[0], rtol=1e-4, atol=1e-6)
    other.save(tmp_path / "a")
    loaded = dl.DeepMatrixCompletion.load(tmp_path / "a")
    np.testing.assert_array_equal(loaded.complete(), other.complete())
