"""The average of draws beside the fit, and the biases beside both: held-out entries decide."""

import numpy as np
import pytest
from completion_data import rmse

import deeplinear as dl

ONE = {"random_state": 0, "threads": 1}


def entries(seed, count=3000, noise=0.7):
    data = dl.datasets.make_low_rank(
        (90, 70), 4, observed=count + 2000, noise=noise, decay=0.5, seed=seed
    )
    rows, cols, values = data.triples
    mixed = np.random.default_rng(seed).permutation(len(values))
    parts = np.split(mixed, [count])
    return tuple(tuple(x[part] for x in (rows, cols, values)) for part in parts)


@pytest.fixture(scope="module")
def mixture():
    model = dl.DeepMatrixCompletion(n_draws=12, **ONE).fit(entries(0)[0])
    assert 0 < model.average_share_ < 1
    return model


@pytest.mark.parametrize("seed", range(4))
def test_held_out_entries_are_predicted_as_well_as_by_the_fit(seed):
    """Exactly so: the same fit is chosen on the same entries, and a share of 0 is a candidate."""
    train, test = entries(seed, count=[400, 1000, 2000, 3500][seed])
    plain = dl.DeepMatrixCompletion(**ONE).fit(train)
    drawn = dl.DeepMatrixCompletion(n_draws=12, **ONE).fit(train)
    assert drawn.trials_ == plain.trials_
    assert drawn.validation_score_ <= plain.validation_score_ * (1 + 1e-6)
    errors = [rmse(model.predict(*test[:2]), test[2]) for model in (drawn, plain)]
    assert errors[0] < 1.01 * errors[1]


@pytest.mark.filterwarnings("ignore:The fit stopped")
@pytest.mark.parametrize("rank", [2, 25])
def test_tables_too(rng, rank):
    X = rng.normal(size=(100, rank)) @ rng.normal(size=(rank, 30)) + 0.3 * rng.normal(
        size=(100, 30)
    )
    X[rng.random(X.shape) < 0.25] = np.nan
    plain = dl.DeepLinearImputer(**ONE).fit(X)
    drawn = dl.DeepLinearImputer(n_draws=12, **ONE).fit(X)
    assert drawn.standardized_score_ <= plain.standardized_score_ * (1 + 1e-6)


def test_a_mixture_is_its_parts(mixture):
    model, (rows, cols, _) = mixture.model_, entries(0)[1]
    codes = model.codes(rows, cols, "nan")
    parts = [one.predict(*codes) for one in (model.shared(1.0, None), model.point, model)]
    share = mixture.average_share_
    np.testing.assert_allclose(parts[2], share * parts[0] + (1 - share) * parts[1], rtol=1e-12)
    np.testing.assert_allclose(parts[1], model.fit.predict(*codes), rtol=1e-6, atol=1e-6)
    assert mixture.used_ == "fit and average"
    assert mixture.complete().shape == (90, 70)


def test_a_mixture_is_saved_and_goes_on(mixture, tmp_path):
    (rows, cols, values), test = entries(0)
    mixture.save(tmp_path / "a.dln")
    loaded = dl.DeepMatrixCompletion.load(tmp_path / "a.dln")
    assert (loaded.used_, loaded.average_share_) == (mixture.used_, mixture.average_share_)
    new = (np.zeros(30, int), np.unique(cols)[:30], values[:30])
    folded = [model.fold_in(new) for model in (mixture, loaded)]
    folded[0].save(tmp_path / "b.dln")
    folded.append(dl.DeepMatrixCompletion.load(tmp_path / "b.dln"))
    asked = np.zeros(70, int), np.arange(70)
    for model in folded[1:]:
        np.testing.assert_array_equal(model.predict(*asked), folded[0].predict(*asked))
    np.testing.assert_array_equal(loaded.predict(*test[:2]), mixture.predict(*test[:2]))
    loaded.partial_fit((rows[:1], cols[:1] + 1000, values[:1]))
    assert loaded.average_share_ == mixture.average_share_
    assert loaded.model_.left.shape[::2] == mixture.model_.left.shape[::2]


def test_without_held_out_entries_both_count_one_half():
    options = {"strength": 0.5, "validation_fraction": 0.0, **ONE}
    model = dl.DeepMatrixCompletion(n_draws=5, **options).fit(entries(1)[0])
    assert model.average_share_ == 0.5
    assert dl.DeepMatrixCompletion(**options).fit(entries(1)[0]).used_ == "fit"


@pytest.mark.filterwarnings("ignore:The fit stopped")
@pytest.mark.parametrize("options", [{}, {"strength": 0.2}, {"n_draws": 8}])
def test_noise_is_left_to_the_biases(rng, options):
    """Few noisy ratings: a fit would be worse on new ones, and is not used."""
    a, b = rng.normal(size=200), rng.normal(size=150)
    rows, cols = np.divmod(rng.permutation(200 * 150)[:6000], 150)
    values = a[rows] + b[cols] + rng.normal(size=6000)
    train, test = ((x[:1500] for x in (rows, cols, values)), np.c_[rows, cols][1500:])
    model = dl.DeepMatrixCompletion(**options, **ONE).fit(tuple(train))
    assert (model.used_, model.rank_) == ("biases", 0)
    error = rmse(model.predict(*test.T), values[1500:])
    fit = dl.DeepMatrixCompletion(strength=0.2, validation_fraction=0.0, **ONE)
    fit.fit((rows[:1500], cols[:1500], values[:1500]))
    assert error < 0.97 * rmse(fit.predict(*test.T), values[1500:])
