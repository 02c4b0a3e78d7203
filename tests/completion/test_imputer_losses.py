"""`loss=` of `DeepLinearImputer`: by column, and one outlier does not decide everything."""

import numpy as np
import pytest
from cases import slow

import deeplinear as dl
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.data.table import ColumnScaler
from deeplinear.errors import InputError


def mixed(seed=0, m=250):
    """Columns of numbers, two values, levels and counts that know about each other."""
    rng = np.random.default_rng(seed)
    T = rng.normal(size=(m, 2)) @ rng.normal(size=(2, 12))
    X = T + 0.3 * rng.normal(size=T.shape)
    X[:, 3:6] = rng.logistic(size=(m, 3)) < 2 * T[:, 3:6]
    X[:, 6:9] = np.digitize(2 * T[:, 6:9] + rng.logistic(size=(m, 3)), [-2, -0.5, 1, 2.5]) + 1
    X[:, 9:] = rng.poisson(np.exp(0.7 * T[:, 9:] + 0.5))
    return X, np.where(rng.random(X.shape) < 0.2, np.nan, X)


LOSS = {j: "logistic" for j in (3, 4, 5)} | {j: "ordinal" for j in (6, 7, 8)}
LOSS |= {0: "huber", **{j: "poisson" for j in (9, 10, 11)}}


@pytest.mark.parametrize("refine", [slow("off"), "auto"])
def test_columns_of_several_laws(refine):
    X, seen = mixed()
    missing = np.isnan(seen)
    imputer = dl.DeepLinearImputer(loss=LOSS, random_state=0, refine=refine).fit(seen)
    filled = imputer.transform(seen)
    np.testing.assert_array_equal(filled[~missing], seen[~missing])
    assert filled[:, 3:6].min() >= 0
    assert filled[:, 3:6].max() <= 1
    assert filled[:, 9:].min() >= 0
    spread = np.nanstd(seen, axis=0)
    means = np.where(missing, np.nanmean(seen, axis=0), seen)
    error, rough = (np.sqrt(np.mean(((F - X) / spread)[missing] ** 2)) for F in (filled, means))
    assert error < 0.85 * rough
    low, high = imputer.interval(seen)
    assert 0.85 < np.mean(((low - 1e-9 <= X) & (high + 1e-9 >= X))[missing]) < 0.97


def test_a_saved_imputer_is_the_same(tmp_path):
    _X, seen = mixed(1, 120)
    imputer = dl.DeepLinearImputer(loss=LOSS, random_state=0).fit(seen)
    imputer.save(tmp_path / "imputer.dln")
    again = dl.DeepLinearImputer.load(tmp_path / "imputer.dln")
    np.testing.assert_array_equal(again.transform(seen), imputer.transform(seen))
    np.testing.assert_array_equal(again.transform(seen[:7]), imputer.transform(seen[:7]))
    assert dict(again.loss) == LOSS


def test_squared_by_column_is_squared():
    _X, seen = mixed(2, 100)
    plain, given = (
        dl.DeepLinearImputer(loss=loss, random_state=0).fit(seen).transform(seen)
        for loss in ("squared", {0: "squared"})
    )
    np.testing.assert_array_equal(plain, given)


def test_an_outlier_does_not_decide_everything():
    """One cell × 10⁴: Huber's loss moves no other completed cell by more than a few percent."""
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 20))
    X = (truth + 0.03 * rng.normal(size=truth.shape)) * np.logspace(-1, 2, 20)
    missing = rng.random(X.shape) < 0.2
    clean = np.where(missing, np.nan, X)
    i, j = np.argwhere(~missing)[1234]
    dirty = clean.copy()
    dirty[i, j] *= 1e4
    spread, moved, others = X.std(axis=0), {}, np.delete(np.arange(300), i)
    for loss in ("squared", "huber"):
        filled = [
            dl.DeepLinearImputer(loss=loss, random_state=0).fit(table).transform(table)
            for table in (clean, dirty)
        ]
        moved[loss] = np.where(missing, abs(filled[1] - filled[0]) / spread, 0.0)
    assert moved["squared"].max() > 1
    assert moved["huber"].max() < 0.1  # in its own row, which it pulls as much as noise does
    assert moved["huber"][others].max() < 0.05


def test_the_scale_of_a_robust_column_is_that_of_most_of_its_entries():
    rng = np.random.default_rng(4)
    X = rng.normal(5, 2, size=(500, 3))
    rows, cols = np.indices(X.shape).reshape(2, -1)

    def scaler(X, **how):
        seen = Observations.from_triples(rows, cols, X.ravel(), X.shape)
        return ColumnScaler.of(seen, center=True, scale=True, **how)

    plain = scaler(X)
    dirty = X.copy()
    dirty[:20, 1] = 1e6
    robust = np.array([False, True, False])
    found = scaler(dirty, robust=robust, counts=np.array([False, False, True]))
    assert found.scale[1] == pytest.approx(plain.scale[1], rel=0.2)
    assert found.center[1] == pytest.approx(5, abs=0.4)
    assert found.center[2] == 0
    assert found.scale[2] == plain.scale[2]
    assert (found.scale[0], found.center[0]) == (plain.scale[0], plain.center[0])


def test_names_of_columns():
    pandas = pytest.importorskip("pandas")
    X, seen = mixed(5, 80)
    frame = pandas.DataFrame(seen, columns=[f"c{j}" for j in range(12)])
    frame["label"] = np.where(X[:, 0] > 0, "up", "down")
    imputer = dl.DeepLinearImputer(loss={"c3": "logistic"}, random_state=0).fit(frame)
    assert imputer.transform(frame)[:, 3].min() >= 0
    everywhere = dl.DeepLinearImputer(loss="huber", random_state=0).fit(frame)
    assert everywhere.completed_like(frame)["label"].notna().all()
    with pytest.raises(InputError, match="'nothing'"):
        dl.DeepLinearImputer(loss={"nothing": "huber"}).fit(frame)
    with pytest.raises(InputError, match="law of their own"):
        dl.DeepLinearImputer(loss={"label": "huber"}).fit(frame)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"loss": "logistic"}, "two different values in the column 0"),
        ({"loss": {9: "logistic"}}, "column 9"),
        ({"loss": {0: "poisson"}}, "≥ 0 in the column 0"),
        ({"loss": "huber", "sample_posterior": True}, "sample_posterior=False"),
        ({"loss": 3}, "loss"),
    ],
)
def test_what_cannot_be_meant_is_refused(how, words):
    with pytest.raises(InputError, match=words):
        dl.DeepLinearImputer(**how).fit(mixed()[1])


def test_draws_are_refused():
    _, seen = mixed(6, 60)
    imputer = dl.DeepLinearImputer(loss={0: "huber"}, random_state=0).fit(seen)
    with pytest.raises(InputError, match="draws come from"):
        imputer.draws(2)
