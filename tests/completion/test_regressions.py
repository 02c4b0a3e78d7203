"""Completion at its edges: few new entries, no penalty, other units, refits, overlapping fits."""

import itertools
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import deeplinear as dl
from deeplinear.completion.backends.threads import Workers, workers
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver import descent
from deeplinear.completion.solver import fit as thin
from deeplinear.completion.solver.path import STRENGTHS
from deeplinear.completion.solver.selection import choose, hold_out, repeat
from deeplinear.completion.solver.sweep import FitProblem, assemble, balance
from deeplinear.errors import InputError, NotConvergedWarning, PrecisionError

ONE = {"random_state": 0, "threads": 1}


def rmse(x, y):
    return float(np.sqrt(np.mean((np.asarray(x) - y) ** 2)))


def half_observed(seed, noise):
    """80 × 60 of rank 3, half observed: (seen triples, hidden triples with noise, the truth
    there).
    """
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 60))
    mask = rng.random(truth.shape) < 0.5
    values = truth + noise * rng.normal(size=truth.shape)
    seen, hidden = np.nonzero(mask), np.nonzero(~mask)
    return (*seen, values[mask]), (*hidden, values[~mask]), truth[~mask]


@pytest.mark.parametrize(("seed", "depth"), [(1, 3.0), (2, math.inf), (3, 2.0)])
def test_partial_fit_of_single_entries_keeps_the_model(seed, depth):
    seen, hidden, truth = half_observed(seed, 0.1)
    model = dl.DeepMatrixCompletion(depth, **ONE).fit(seen)
    before, rank = rmse(model.predict(*hidden[:2]), truth), model.rank_
    for k in range(4):
        model.partial_fit(tuple(part[k : k + 1] for part in hidden))
    later = slice(4, None)
    low, high = model.interval(hidden[0][later], hidden[1][later])
    assert model.rank_ <= rank
    assert rmse(model.predict(*hidden[:2]), truth) < 1.02 * before
    assert abs(np.mean((low <= hidden[2][later]) & (hidden[2][later] <= high)) - 0.9) < 0.06


def test_partial_fit_finds_components_that_only_the_new_entries_show():
    seen, hidden, truth = half_observed(1, 0.1)
    few, *rest = np.split(
        np.random.default_rng(0).permutation(len(seen[2])), [150, 400, 1000, 1700]
    )
    model, whole = (
        dl.DeepMatrixCompletion(3, strength=0.1, validation_fraction=0, **ONE) for _ in range(2)
    )
    model.fit(tuple(x[few] for x in seen))
    assert model.rank_ < 3
    for part in rest:
        model.partial_fit(tuple(x[part] for x in seen))
    whole.fit(seen)
    assert model.rank_ == whole.rank_ == 3
    assert rmse(model.predict(*hidden[:2]), truth) < 1.2 * rmse(whole.predict(*hidden[:2]), truth)


def test_partial_fit_of_a_new_row_is_like_folding_it_in():
    seen, hidden, _ = half_observed(1, 0.1)
    old = seen[0] < 79
    model = dl.DeepMatrixCompletion(3, **ONE).fit(tuple(x[old] for x in seen))
    new = tuple(x[~old] for x in seen)
    folded = model.fold_in(new)
    model.partial_fit(new)
    asked = hidden[0] == 79
    found = model.predict(hidden[0][asked], hidden[1][asked])
    other = folded.predict(hidden[0][asked], hidden[1][asked])
    assert rmse(found, hidden[2][asked]) < 0.2
    assert rmse(found, other) < 0.1 * np.std(hidden[2][asked])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_without_a_penalty_the_objective_falls_to_the_end(dtype):
    """1500 entries, 50 components: far more parameters than entries, and factors whose columns come
    to depend on each other.
    """
    rows, cols, values = dl.datasets.make_ratings(100, 60, 1500).triples
    model = dl.DeepMatrixCompletion(strength=0, validation_fraction=0, max_sweeps=60, **ONE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConvergedWarning)
        model.fit((rows, cols, values.astype(dtype)))
    trace = model.model_.fit.objective
    assert len(trace) > 5
    assert all(after <= before * (1 + 1e-5) + 1e-6 for before, after in itertools.pairwise(trace))
    assert model.train_score_ < 0.05 * np.std(values)
    assert np.abs(model.predict(rows, cols)).max() < 10


def test_balance_keeps_dependent_columns(rng):
    """W is kept to rounding, and the factors are balanced, where the Gram matrices have lost all
    digits of a direction.
    """
    m, n, r = 40, 30, 6
    P, Q = rng.normal(size=(m, r)), rng.normal(size=(n, r))
    P[:, 1] = P[:, 0] + 1e-9 * rng.normal(size=m)
    Q[:, 3] = 1e4 * Q[:, 2] + 1e-6 * rng.normal(size=n)
    where = np.divmod(np.arange(m * n), n)
    seen = Observations.from_triples(*where, np.ones(m * n), (m, n))
    row_scale, col_scale = rng.uniform(0.5, 2, m), rng.uniform(0.5, 2, n)
    setting = FitProblem(seen, row_scale, col_scale, None, Workers(None, 1))
    state = balance(setting, assemble(P, Q, np.ones(r), np.zeros(m), np.zeros(n), 0.0, float))
    Z, Y = state.Z[:, : state.rank], state.Y[:, : state.rank]
    W, size = P @ Q.T, np.abs(P @ Q.T).max()
    np.testing.assert_allclose(Z @ Y.T, W, atol=1e-12 * size)
    for side, scale in ((Z, row_scale), (Y, col_scale)):
        unit = side * scale[:, None] / np.sqrt(state.s)
        np.testing.assert_allclose(unit.T @ unit, np.eye(state.rank), atol=1e-9)
    exact = np.linalg.svd(row_scale[:, None] * W * col_scale, compute_uv=False)[: state.rank]
    np.testing.assert_allclose(state.s, exact, atol=1e-12 * exact[0])


def test_a_rise_of_the_objective_is_a_failure(monkeypatch):
    seen, _, _ = half_observed(0, 0.1)
    plain = descent.sweep
    calls = []

    def broken(setting, penalty, state):
        calls.append(0)
        value, new = plain(setting, penalty, state)
        return value, replace(new, Z=3 * new.Z) if len(calls) == 8 else new

    monkeypatch.setattr(descent, "sweep", broken)
    model = dl.DeepMatrixCompletion(strength=0.2, validation_fraction=0, tol=1e-12, **ONE)
    with pytest.warns(NotConvergedWarning, match="rose"):
        model.fit(seen)
    assert not model.converged_
    assert model.model_.fit.status == "diverged"


@pytest.mark.parametrize(
    ("depth", "biases", "noise"), [(2.0, False, 0.0), (2.0, False, 0.1), (3.0, True, 0.0)]
)
def test_the_fit_of_all_entries_is_as_good_as_the_one_that_was_chosen(depth, biases, noise):
    """Exact rank 3 down to a weak penalty: the fit of all entries must come from where the fits of
    the path came from.
    """
    seen, hidden, _ = half_observed(1, noise)
    entries = Observations.from_triples(*seen, (80, 60))
    options = {"biases": biases, "threads": 1, "tol": 1e-5, "max_sweeps": 100}
    choice = choose(
        hold_out(entries, 0.1, np.random.RandomState(0)), (depth,), STRENGTHS, **options
    )
    whole = repeat(entries, choice, **options)
    assert whole.strength == choice.best.strength
    assert abs(whole.rank - choice.fit.rank) <= 1
    # on the same 2400 entries; 5e-6: both ended by tol = 1e-5, at a sweep more or less
    assert (
        rmse(whole.predict(*hidden[:2]), hidden[2])
        < 1.1 * rmse(choice.fit.predict(*hidden[:2]), hidden[2]) + 5e-6
    )
    model = dl.DeepMatrixCompletion(depth, biases=biases, **ONE).fit(seen)
    low, high = model.interval(*hidden[:2])
    assert np.mean((low <= hidden[2]) & (hidden[2] <= high)) > 0.84


@pytest.fixture(scope="module")
def ratings():
    return dl.datasets.make_ratings(150, 100, 4000).split(0.2)


def ensemble_error(ratings, unit=1.0, weights=None, **options):
    train, test = ratings
    model = dl.DeepMatrixCompletion(**{"strength": 0.4, "n_draws": 10, **ONE, **options})
    rows, cols, values = train.triples
    model.fit((rows, cols, values * unit), sample_weight=weights)
    found = model.predict(*test.triples[:2]), model.predict(*test.triples[:2], return_std=True)[1]
    return rmse(found[0] / unit, test.triples[2]), found[0] / unit, found[1] / unit


def test_averages_do_not_depend_on_the_units(ratings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dl.errors.EmptyLineWarning)
        plain = ensemble_error(ratings, n_draws=1)[0]
        reference = ensemble_error(ratings)
        for unit in (1e4, 1e-4):
            error, found, deviation = ensemble_error(ratings, unit)
            # chains that differ by rounding only, kept in float32
            np.testing.assert_allclose(found, reference[1], rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(deviation, reference[2], rtol=1e-3)
            assert error < 1.02 * plain


def test_equal_weights_are_no_weights(ratings):
    weights = np.full(len(ratings[0].triples[2]), 100.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dl.errors.EmptyLineWarning)
        for count in (1, 10):
            weighted, plain = (
                ensemble_error(ratings, weights=weights, n_draws=count),
                ensemble_error(ratings, n_draws=count),
            )
            np.testing.assert_allclose(weighted[1], plain[1], rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(weighted[2], plain[2], rtol=1e-3)


def test_a_checkpoint_belongs_to_its_validation(tmp_path):
    (rows, cols, values), hidden, _ = half_observed(0, 0.1)
    seen, file = Observations.from_triples(rows, cols, values, (80, 60)), tmp_path / "fit"
    first, other = (tuple(x[part] for x in hidden) for part in (slice(0, 50), slice(50, 100)))
    options = {"strength": 0.3, "checkpoint": file, "threads": 1}

    def killed(found):
        if found.n_sweeps == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        thin.fit(seen, validation=first, callback=killed, **options)
    assert file.exists()
    for wrong in (other, None):
        with pytest.raises(InputError, match="other data or other options"):
            thin.fit(seen, validation=wrong, **options)
    resumed, whole = (
        thin.fit(seen, validation=first, **options),
        thin.fit(seen, validation=first, strength=0.3, threads=1),
    )
    np.testing.assert_array_equal(resumed.left, whole.left)


def test_overlapping_fits_give_blas_its_threads_back():
    def now():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        before = now()
        first, second = workers(1), workers(1)
        first.__enter__()
        second.__enter__()
        assert set(now()) == {1}
        first.__exit__(None, None, None)
        assert set(now()) == {1}
        second.__exit__(None, None, None)
        assert now() == before
        assert set(before) == {2}
        with pytest.raises(ZeroDivisionError), workers(2):
            raise ZeroDivisionError
        assert now() == before


def test_float32_far_from_zero_is_exact_enough_or_refused():
    rows, cols, values = dl.datasets.make_ratings(100, 60, 1500).triples
    model = dl.DeepMatrixCompletion(strength=0.4, validation_fraction=0, **ONE)
    expected = model.fit((rows, cols, values)).predict(rows, cols)
    moved = model.fit((rows, cols, (values + 1e3).astype(np.float32)))
    np.testing.assert_allclose(moved.predict(rows, cols) - 1e3, expected, atol=0.02)
    with pytest.raises(PrecisionError, match="float64"):
        model.fit((rows, cols, (values + 1e5).astype(np.float32)))
    np.testing.assert_allclose(
        model.fit((rows, cols, values + 1e5)).predict(rows, cols) - 1e5, expected, atol=1e-6
    )
    model.fit((rows, cols, np.full(len(rows), 1e5, np.float32)))
    assert model.rank_ == 0
