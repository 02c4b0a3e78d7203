"""The two estimators are one family: the same choices and fits where only the data's form differs.

And the parameters that they share: weights, depths and strengths, callbacks, progress.
"""

import math
import warnings

import numpy as np
import pytest
from cases import slow
from completion_tables import noisy_table
from scipy.optimize import minimize

import deeplinear as dl
from deeplinear.errors import DepthError, InputError
from deeplinear.progress import Progress
from deeplinear.status import Status

ESTIMATORS = (dl.DeepLinearImputer, dl.DeepMatrixCompletion)
SAME = {"random_state": 0, "strength": (0.7, 0.3, 0.1), "weighted_trace_norm": 0.0}


pytestmark = pytest.mark.usefixtures("quiet_fits")


@pytest.fixture(scope="module")
def table():
    return noisy_table(40, 20, seed=5)[0]


def standardized(imputer, X):
    """X in the units in which the imputer fitted all entries."""
    return (X - imputer._scaler.center) / imputer._scaler.scale


class TestAgree:
    @pytest.mark.parametrize(
        "options",
        [
            {"depth": (2, 3, math.inf)},
            {"depth": 1.5, "strength": 0.3},
            {"depth": 3, "early_stopping": False, "max_iter": 30},
            {"depth": 3, "weighted_trace_norm": 0.5},
            slow({"regularization": "implicit", "strength": "auto", "max_rank": 5}),
        ],
        ids=["depths", "convex", "to the end", "weighted", "implicit"],
    )
    def test_on_the_same_numbers(self, table, options):
        """Without biases, and with one unit for the matrix, both fit the same numbers.

        By design they differ in the unit, which no choice depends on; and in how rows are predicted
        (as they are, or solved given the columns).
        """
        options = SAME | options
        plain = dl.DeepLinearImputer(center=False, scale=False, **options).fit(table)
        pairs = (
            dl.DeepMatrixCompletion(biases=False, **options, max_rank=20)
            if (options.get("max_rank") is None and options["depth"] != 1.5)
            else dl.DeepMatrixCompletion(biases=False, **options)
        )
        pairs.fit(table)
        unit = plain._scaler.scale[0]
        assert len(plain.trials_) == len(pairs.trials_)
        for mine, other in zip(plain.trials_, pairs.trials_, strict=True):
            assert (mine.depth, mine.rank, mine.sweeps) == (other.depth, other.rank, other.sweeps)
            assert mine.strength == pytest.approx(other.strength, rel=1e-9)
            # the unit of the trials is that of the entries that were not held out
            assert mine.validation_rmse * unit == pytest.approx(other.validation_rmse, rel=0.02)
        ratios = [
            a.validation_rmse / b.validation_rmse
            for a, b in zip(plain.trials_, pairs.trials_, strict=True)
        ]
        np.testing.assert_allclose(ratios, ratios[0], rtol=1e-6)
        assert (plain.depth_, plain.rank_) == (pairs.depth_, pairs.rank_)
        found = plain.model_.fit.matrix() * unit
        np.testing.assert_allclose(found, pairs.model_.fit.matrix(), rtol=1e-5, atol=1e-6)

    def test_with_biases_on_the_same_standardized_entries(self, table):
        """One fit of all entries: that of the standardized table."""
        options = {"depth": 3, "strength": 0.2, "validation_fraction": 0, "random_state": 0}
        imputer = dl.DeepLinearImputer(**options, weighted_trace_norm=0.0).fit(table)
        pairs = dl.DeepMatrixCompletion(**options, weighted_trace_norm=0.0, max_rank=20)
        pairs.fit(standardized(imputer, table))
        assert pairs.n_iter_ == imputer.n_iter_
        np.testing.assert_allclose(
            imputer.model_.fit.matrix(), pairs.model_.fit.matrix(), rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(imputer.singular_values_, pairs.singular_values_, rtol=1e-9)

    def test_new_rows_are_solved_alike(self, table):
        options = {"depth": 3, "strength": 0.2, "validation_fraction": 0, "random_state": 0}
        imputer = dl.DeepLinearImputer(**options).fit(table)
        pairs = dl.DeepMatrixCompletion(**options, weighted_trace_norm=0.0, max_rank=20)
        pairs.fit(standardized(imputer, table))
        new = noisy_table(6, 20, seed=9)[0]
        there = pairs.transform(standardized(imputer, new))
        np.testing.assert_allclose(
            standardized(imputer, imputer.transform(new)), there, rtol=1e-8, atol=1e-8
        )


TO_THE_END = {
    "depth": 2,
    "strength": 0.2,
    "validation_fraction": 0,
    "tol": 1e-14,
    "max_iter": 5000,
    "random_state": 0,
}


class TestWeights:
    def test_they_multiply_the_squares(self, table):
        """Against the objective of depth 2, minimized by another method from its definition.

        Integer weights w are w repetitions of an entry.
        """
        X, _ = noisy_table(12, 8, rank=1, seed=1)
        repeats = np.random.default_rng(0).integers(1, 4, X.shape)
        imputer = dl.DeepLinearImputer(**TO_THE_END, center=False, scale=False)
        fit = imputer.fit(X, sample_weight=repeats).model_.fit
        Z, seen = np.nan_to_num(X / imputer._scaler.scale), ~np.isnan(X)
        w = np.where(seen, repeats, 0) / repeats[seen].mean()

        def objective(x):
            P, Q = x[: 12 * 8].reshape(12, 8), x[12 * 8 :].reshape(8, 8)
            R = P @ Q.T - Z
            value = 0.5 * np.sum(w * R**2) + fit.decay / 2 * np.sum(x**2)
            return value, np.r_[
                ((w * R) @ Q + fit.decay * P).ravel(), ((w * R).T @ P + fit.decay * Q).ravel()
            ]

        start = 0.3 * np.random.default_rng(1).normal(size=12 * 8 + 8 * 8)
        found = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-16, "gtol": 1e-10},
        )
        W = found.x[: 12 * 8].reshape(12, 8) @ found.x[12 * 8 :].reshape(8, 8).T
        np.testing.assert_allclose(fit.matrix(), W, atol=2e-4)

    @pytest.mark.parametrize("estimator", ESTIMATORS)
    def test_one_for_a_row_is_one_for_each_of_its_cells(self, table, estimator):
        w = np.random.default_rng(0).uniform(0.5, 2, 40)
        models = [
            estimator(strength=0.2, random_state=0).fit(table, sample_weight=weights).model_.fit
            for weights in (w, np.repeat(w[:, None], 20, axis=1), 3 * w)
        ]
        np.testing.assert_array_equal(models[0].matrix(), models[1].matrix())
        np.testing.assert_allclose(models[0].matrix(), models[2].matrix(), rtol=1e-6, atol=1e-8)
        plain = estimator(strength=0.2, random_state=0).fit(table).model_.fit
        assert np.abs(models[0].matrix() - plain.matrix()).max() > 1e-3

    @pytest.mark.parametrize("estimator", ESTIMATORS)
    def test_zero_is_missing_to_learning(self, table, estimator):
        w = (np.random.default_rng(0).random(table.shape) > 0.1).astype(float)
        weighted = estimator(strength=0.2, random_state=0).fit(table, sample_weight=w)
        holes = estimator(strength=0.2, random_state=0).fit(np.where(w > 0, table, np.nan))
        np.testing.assert_allclose(
            weighted.model_.fit.matrix(), holes.model_.fit.matrix(), rtol=1e-9, atol=1e-12
        )
        if estimator is dl.DeepLinearImputer:  # entries of weight 0 are observed to transform
            np.testing.assert_array_equal(
                weighted.transform(table)[~np.isnan(table)], table[~np.isnan(table)]
            )
            assert np.isfinite(table[holes.validation_mask_]).all()
            assert (w[weighted.validation_mask_] > 0).all()

    def test_both_estimators_learn_the_same_from_them(self, table):
        w = np.random.default_rng(0).uniform(0.2, 3, table.shape)
        options = {"strength": 0.2, "validation_fraction": 0, "random_state": 0}
        options |= {"weighted_trace_norm": 0.0, "max_rank": 10}
        imputer = dl.DeepLinearImputer(**options).fit(table, sample_weight=w)
        pairs = dl.DeepMatrixCompletion(**options)
        pairs.fit(standardized(imputer, table), sample_weight=w)
        np.testing.assert_allclose(
            imputer.model_.fit.matrix(), pairs.model_.fit.matrix(), rtol=1e-9, atol=1e-12
        )

    @pytest.mark.parametrize("estimator", ESTIMATORS)
    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            (np.ones(39), r"sample_weight must hold one weight per .*got shape \(39,\)"),
            (np.ones((40, 3)), r"sample_weight must hold one weight per .*got shape \(40, 3\)"),
            (np.zeros(40), "sample_weight must be positive"),
            (-np.ones(40), "sample_weight must be finite and ≥ 0, got -1.0 for row 0"),
            (np.full((40, 20), np.nan), "sample_weight must be finite and ≥ 0, got nan for row 0"),
            (["a"] * 40, "sample_weight must hold real numbers"),
        ],
    )
    def test_bad_ones(self, table, estimator, weights, message):
        with pytest.raises(InputError, match=message):
            estimator(strength=0.2).fit(table, sample_weight=weights)

    def test_those_of_missing_cells_do_not_matter(self, table):
        w = np.where(np.isnan(table), np.nan, 1.0)
        one = dl.DeepLinearImputer(strength=0.2, random_state=0).fit(table, sample_weight=w)
        other = dl.DeepLinearImputer(strength=0.2, random_state=0).fit(table)
        np.testing.assert_allclose(one.transform(table), other.transform(table), rtol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
class TestParameters:
    def test_depths_and_strengths_are_chosen_from(self, table, estimator):
        model = estimator((2, 3), strength=(0.1, 0.5, 0.1), random_state=0).fit(table)
        assert {trial.depth for trial in model.trials_} == {2, 3}
        assert {trial.strength for trial in model.trials_} == {0.1, 0.5}
        best = min(model.trials_, key=lambda trial: trial.validation_rmse)
        assert (model.depth_, model.strength_) == (best.depth, best.strength)
        for depth in (np.array([2.0, 3.0]), range(2, 4), [2, 3]):
            again = estimator(depth, strength=(0.1, 0.5), random_state=0).fit(table)
            assert again.trials_ == model.trials_

    def test_auto_is_four_depths(self, table, estimator):
        model = estimator("auto", random_state=0, max_rank=6).fit(table)
        assert {trial.depth for trial in model.trials_} == {2, 3, 4, math.inf}

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"depth": []}, InputError, r"depth must hold at least one number.*\(2, 3\)"),
            ({"depth": "deep"}, DepthError, "depth must be \"auto\", a number, .*got 'deep'"),
            ({"depth": None}, DepthError, 'depth must be "auto", a number, .*got None'),
            ({"depth": (2, 0.5)}, DepthError, "depth must be ≥ 1 .*got 0.5"),
            ({"depth": (2, math.nan)}, DepthError, "depth must be ≥ 1 .*got nan"),
            ({"strength": "foo"}, InputError, "strength must be \"auto\", a number, .*got 'foo'"),
            ({"strength": []}, InputError, r"strength must hold at least one .*\(0.1, 0.3\)"),
            ({"strength": (0.1, -1)}, InputError, "strength must hold finite numbers ≥ 0"),
            ({"max_rank": 1000}, InputError, r"max_rank .* min\(m, n\) = 20, got 1000: lower it"),
            ({"depth": (1.5, 3), "max_rank": 3}, InputError, "max_rank must be None below depth 2"),
            (
                {"depth": (2, 3), "validation_fraction": 0, "strength": 0.1},
                InputError,
                "validation_fraction must be positive for a choice of depth or strength",
            ),
            (
                {"strength": (0.2, 0.1), "validation_fraction": 0},
                InputError,
                "validation_fraction must be positive for a choice of depth or strength",
            ),
            ({"n_draws": -1}, InputError, "'n_draws' parameter"),
            ({"burn_in": -1}, InputError, "'burn_in' parameter"),
            ({"device": "tpu"}, InputError, "'device' parameter"),
            ({"threads": 0}, InputError, "'threads' parameter"),
            ({"callback": 3}, InputError, "'callback' parameter"),
            ({"verbose": "yes"}, InputError, "'verbose' parameter"),
            ({"checkpoint": "/nowhere/at/all"}, InputError, "checkpoint: the folder of"),
            ({"checkpoint": "x", "regularization": "implicit"}, InputError, "checkpoint needs"),
            ({"strength": 2.0, "regularization": "implicit"}, InputError, "between 0 and 1"),
        ],
    )
    def test_bad_ones(self, table, estimator, options, error, message):
        with pytest.raises(error, match=message):
            estimator(**options).fit(table)

    @pytest.mark.parametrize("options", [{}, {"n_draws": 3}, {"validation_fraction": 0}])
    def test_a_callback_follows_the_fit(self, table, estimator, options):
        states = []
        given = {"strength": 0.2} | options
        estimator(**given, random_state=0, callback=states.append).fit(table)
        assert all(isinstance(state, Progress) for state in states)
        done = [state.done for state in states]
        assert done == sorted(done)
        assert done[0] >= 0
        assert done[-1] <= 1
        assert any("fitting all entries" in state.stage for state in states)
        if options.get("n_draws"):
            assert done[-1] == 1
            assert "averaging" in states[-1].stage

    @pytest.mark.parametrize(
        "options", [{}, {"strength": 0.2, "validation_fraction": 0}, {"n_draws": 5}]
    )
    def test_a_callback_that_returns_true_ends_it(self, table, estimator, options):
        calls = []

        def stop(state):
            calls.append(state)
            return len(calls) >= 2

        with warnings.catch_warnings():
            warnings.simplefilter("error", dl.errors.NotConvergedWarning)  # it was asked for
            model = estimator(**options, random_state=0, callback=stop).fit(table)
        assert not model.converged_
        assert len(calls) <= 8
        assert np.isfinite(model.transform(table)).all()
        if "validation_fraction" in options:
            assert model.status_ == Status.callback

    def test_nothing_of_a_fit_stays_behind(self, table, estimator):
        """Also not after an interrupt: no data of the choice, no function of the user's."""

        def interrupt(state):
            raise KeyboardInterrupt

        model = estimator(strength=0.2, random_state=0, callback=interrupt)
        with pytest.raises(KeyboardInterrupt):
            model.fit(table)
        heavy = {"_callback", "_watched", "_table"}
        assert not heavy & set(vars(model))
        model.set_params(callback=None).fit(table)
        assert not (heavy | {"_held_out"}) & set(vars(model))

    def test_verbose_prints_to_standard_error(self, table, estimator, capsys):
        estimator(strength=0.2, random_state=0, verbose=True).fit(table)
        out, err = capsys.readouterr()
        assert out == ""
        assert "depth 3, strength 0.2: rank" in err
        estimator(strength=0.2, random_state=0).fit(table)
        assert capsys.readouterr().err == ""

    def test_too_few_sweeps_warn(self, table, estimator):
        options = {"strength": 0.1, "validation_fraction": 0, "max_iter": 2, "random_state": 0}
        with pytest.warns(
            dl.errors.NotConvergedWarning, match="after max_iter = 2 sweeps .* increase max_iter"
        ):
            model = estimator(**options).fit(table)
        assert not model.converged_
        assert model.status_ == Status.max_steps


@pytest.mark.parametrize("kind", [dl.DeepLinearImputer, dl.DeepMatrixCompletion])
def test_an_interrupted_refit_leaves_the_fit_before(rng, kind):
    X = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 15))
    X[rng.random(X.shape) < 0.4] = np.nan
    estimator = kind(2, random_state=0).fit(X)
    before = estimator.transform(X)

    def stop(progress):
        raise KeyboardInterrupt

    estimator.set_params(callback=stop)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(1000 * X[:, :10] + 5)
    np.testing.assert_array_equal(estimator.transform(X), before)
