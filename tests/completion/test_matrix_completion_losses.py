"""`loss=` of `DeepMatrixCompletion`: better where it is the law of the data."""

import numpy as np
import pytest

import deeplinear as dl
from deeplinear.errors import InputError

LOSSES = ("huber", "logistic", "ordinal", "poisson")
CUTS = np.array([-2.5, -1.0, 0.5, 2.0])


def made(loss, seed=0, m=150, n=80):
    """Entries of that loss: (seen triples, hidden triples, the truth of their means there)."""
    rng = np.random.default_rng(seed)
    T = 0.9 * rng.normal(size=(m, 3)) @ rng.normal(size=(3, n))
    F = 1 / (1 + np.exp(-T))
    X, truth = {
        "huber": lambda: (T + 0.4 * rng.standard_t(1.5, size=T.shape), T),
        "logistic": lambda: ((rng.random(T.shape) < F) * 1.0, F),
        "ordinal": lambda: (
            np.digitize(T + rng.logistic(size=T.shape), CUTS) + 1.0,
            1 + (1 / (1 + np.exp(CUTS - T[..., None]))).sum(axis=-1),
        ),
        "poisson": lambda: (rng.poisson(np.exp(0.25 * T + 1)) * 1.0, np.exp(0.25 * T + 1)),
    }[loss]()
    mask = rng.random(T.shape) < 0.5
    (r, c), (i, j) = np.nonzero(mask), np.nonzero(~mask)
    return (r, c, X[mask]), (i, j, X[~mask]), truth[~mask]


def fitted(loss, seen, **how):
    return dl.DeepMatrixCompletion(depth=3, loss=loss, random_state=0, **how).fit(seen)


@pytest.mark.parametrize("loss", LOSSES)
def test_known_means_are_found_better_than_by_squared_errors(loss):
    seen, (i, j, _), truth = made(loss)
    errors = [
        np.sqrt(np.mean((fitted(name, seen).predict(i, j) - truth) ** 2))
        for name in (loss, "squared")
    ]
    # levels as numbers are nearly as good for the mean; their probabilities are not
    assert errors[0] < errors[1] * (1.02 if loss == "ordinal" else 0.99)


@pytest.mark.parametrize("loss", LOSSES)
def test_intervals_cover_as_they_say(loss):
    seen, (i, j, x), _ = made(loss, seed=1)
    model = fitted(loss, seen)
    low, high = model.interval(i, j, coverage=0.9)
    assert 0.86 < np.mean((low - 1e-9 <= x) & (x <= high + 1e-9)) < 0.96
    if loss in ("logistic", "ordinal"):
        assert low.min() >= x.min()
        assert high.max() <= x.max()


@pytest.mark.parametrize("loss", LOSSES)
def test_held_out_errors_are_what_they_say(loss):
    """Trials are judged by the root of the mean deviance; the score is in the units of the data."""
    seen, (i, j, x), _ = made(loss)
    model = fitted(loss, seen)
    gaps = model.predict(i, j) - x
    if loss in ("logistic", "ordinal"):  # of small variance
        assert model.validation_score_ == pytest.approx(np.sqrt(np.mean(gaps**2)), rel=0.1)
    if loss == "logistic":
        p = np.where(x == 1, *model.predict_proba(i, j).T[::-1])
        best = min(trial.validation_rmse for trial in model.trials_)
        assert best == pytest.approx(np.sqrt(-2 * np.mean(np.log(p))), rel=0.05)
    inside = fitted(loss, seen, clip="range").predict(i, j)
    assert inside.min() >= seen[2].min()
    assert inside.max() <= seen[2].max()


def test_probabilities_of_levels():
    seen, (i, j, _), _ = made("ordinal")
    model = fitted("ordinal", seen)
    np.testing.assert_array_equal(model.levels_, [1, 2, 3, 4, 5])
    p = model.predict_proba(i, j)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(p @ model.levels_, model.predict(i, j), rtol=1e-6)
    assert not hasattr(fitted("squared", seen), "predict_proba")


@pytest.mark.parametrize("loss", LOSSES)
def test_saved_models_predict_the_same(loss, tmp_path):
    seen, (i, j, _), _ = made(loss, m=60, n=40)
    model = fitted(loss, seen)
    model.save(tmp_path / "model.dln")
    again = dl.DeepMatrixCompletion.load(tmp_path / "model.dln")
    np.testing.assert_array_equal(again.predict(i, j), model.predict(i, j))
    np.testing.assert_array_equal(again.interval(i, j), model.interval(i, j))
    assert again.loss == loss


@pytest.mark.parametrize("loss", LOSSES)
def test_new_rows_and_new_entries(loss):
    seen, (i, j, x), _ = made(loss, m=60, n=40)
    model = fitted(loss, seen)
    mine = seen[0] < 5
    rows = model.fold_in(tuple(part[mine] for part in seen))
    at = i < 5
    known, new = model.predict(i[at], j[at]), rows.predict(i[at], j[at])
    assert np.corrcoef(known, new)[0, 1] > 0.8
    values, _ = model.recommend([1, 2], k=3)
    assert values.shape == (2, 3)
    model.partial_fit((i[:20], j[:20], x[:20]))
    assert np.isfinite(model.predict(i, j)).all()
    assert np.isfinite(model.complete()).all()


def test_new_entries_have_the_values_of_the_fit():
    seen, _, _ = made("logistic", m=40, n=30)
    model = fitted("logistic", seen)
    assert model.fold_in(([0], [1], [1.0])).complete().shape == (1, 30)  # one value alone
    for call in (model.fold_in, model.partial_fit):
        with pytest.raises(InputError, match="values of the fit"):
            call(([0], [1], [3.0]))
    counts = fitted("poisson", made("poisson", m=40, n=30)[0])
    with pytest.raises(InputError, match="≥ 0"):
        counts.fold_in(([0], [1], [-3.0]))


def test_weights_count():
    seen, (i, j, _), _ = made("logistic", m=60, n=40)
    weight = np.r_[np.full(200, 2.0), np.ones(len(seen[0]) - 200)]
    how = {"strength": 0.4, "validation_fraction": 0, "loss": "logistic", "random_state": 0}
    one = dl.DeepMatrixCompletion(**how).fit(seen, sample_weight=weight)
    plain = dl.DeepMatrixCompletion(**how).fit(seen)
    assert abs(one.predict(i, j) - plain.predict(i, j)).max() > 1e-3


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"loss": "cauchy"}, "must be one of"),
        ({"loss": {"item": "huber"}}, "one name"),
        ({"loss": "huber", "depth": 1.5}, "depth ≥ 2"),
        ({"loss": "huber", "regularization": "implicit", "strength": "auto"}, "explicit"),
        ({"loss": "huber", "n_draws": 5}, "n_draws=0"),
        ({"loss": "huber", "device": "jax"}, 'device="cpu"'),
        ({"loss": "logistic"}, "two different values"),
        ({"loss": "poisson"}, "≥ 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(how, words):
    with pytest.raises(InputError, match=words):
        dl.DeepMatrixCompletion(**how).fit(([0, 1, 1], [0, 0, 1], [-1.0, 2.0, 3.0]))


def test_draws_are_refused():
    seen, (i, j, _), _ = made("huber", m=40, n=30)
    with pytest.raises(InputError, match="draws come from"):
        fitted("huber", seen).draws(2, i, j)


def test_a_killed_fit_goes_on_with_its_loss(tmp_path):
    seen, (i, j, _), _ = made("ordinal", m=60, n=40)
    file, calls = tmp_path / "fit.ckpt", []

    class Killed(Exception):
        pass

    def kill(progress):
        calls.append(progress)
        if len(calls) == 4:
            raise Killed

    with pytest.raises(Killed):
        fitted("ordinal", seen, checkpoint=file, callback=kill)
    assert file.exists()
    found = fitted("ordinal", seen, checkpoint=file).predict(i, j)
    np.testing.assert_array_equal(found, fitted("ordinal", seen).predict(i, j))
