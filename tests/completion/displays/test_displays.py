"""The displays of a fit: what is drawn is what the estimator holds."""

import warnings

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot

import deeplinear as dl
from deeplinear.completion.posterior.coverage import cross_fitted
from deeplinear.completion.solver.trial import Trial

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def imputer():
    import pandas

    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 2)) @ rng.normal(size=(2, 6)) + 0.3 * rng.normal(size=(150, 6))
    frame = pandas.DataFrame(X, columns=["length", "width", "depth", "mass", "age", "noise"])
    frame["noise"] = rng.normal(size=150)
    frame["kind"] = np.where(X[:, 0] > 0, "big", "small")
    frame = frame.mask(rng.random(frame.shape) < 0.2)
    return dl.DeepLinearImputer(depth=(2, 3), random_state=0, refine="off").fit(frame)


@pytest.fixture(scope="module")
def ratings():
    return dl.datasets.make_ratings(80, 50, 1500, seed=5)


@pytest.fixture(scope="module")
def model(ratings):
    return dl.DeepMatrixCompletion(depth=(2, 3), max_rank=4, random_state=0).fit(ratings.triples)


def test_spectrum(imputer, model):
    for estimator in (imputer, model):
        display = estimator.plot_spectrum()
        x, y = display.line_.get_data()
        np.testing.assert_array_equal(x, np.arange(1, estimator.rank_ + 1))
        np.testing.assert_array_equal(y, estimator.singular_values_)
        assert isinstance(display, dl.SpectrumDisplay)
        assert display.ax_.figure is display.figure_
        assert display.ax_.get_yscale() == "log"
        assert all(tick == round(tick) for tick in display.ax_.get_xticks())
    second = imputer.plot_spectrum(ax=display.ax_, name="table", lw=3)
    assert second.ax_ is display.ax_
    assert second.line_.get_linewidth() == 3
    assert second.line_.get_label() == "table"
    assert second.line_.get_color() != display.line_.get_color()


def test_zero_singular_values_are_counted():
    line = dl.SpectrumDisplay([2.0, 1.0, 0.0], "W").plot().line_
    assert line.get_label() == "W (1 of 3 are 0)"
    with pytest.raises(dl.InputError, match="has no singular value"):
        dl.SpectrumDisplay([]).plot()


def test_validation(imputer, model):
    for estimator in (imputer, model):
        display = estimator.plot_validation()
        assert list(display.lines_) == list(dict.fromkeys(t.depth for t in estimator.trials_))
        for depth, line in display.lines_.items():
            own = [t for t in estimator.trials_ if t.depth == depth]
            expected = sorted((t.strength, t.validation_rmse) for t in own)
            assert sorted(zip(*line.get_data(), strict=True)) == expected
        best = min(t.validation_rmse for t in estimator.trials_)
        assert display.chosen_.get_ydata() == [best]
        assert display.chosen_.get_xdata() == [estimator.strength_]
        for depth, bars in zip(display.lines_, display.errorbars_, strict=True):
            own = [t for t in estimator.trials_ if t.depth == depth]
            own.sort(key=lambda t: -t.strength)
            ends = np.array([segment[:, 1] for segment in bars[2][0].get_segments()])
            sizes = [t.standard_error for t in own]
            np.testing.assert_allclose((ends[:, 1] - ends[:, 0]) / 2, sizes, atol=1e-12)
    assert "deviations of the columns" in imputer.plot_validation().ax_.get_ylabel()
    assert "units of the data" in model.plot_validation().ax_.get_ylabel()


def test_trials_without_a_finite_error_are_told():
    trials = [Trial(2.0, 1.0, 0.5, 3, 10), Trial(2.0, 0.5, np.nan, 3, 10)]
    display = dl.ValidationDisplay(trials).plot()
    assert display.lines_[2.0].get_label() == "depth 2 (1 without a finite error)"
    with pytest.raises(dl.InputError, match="no entries were held out"):
        dl.ValidationDisplay([]).plot()


def test_calibration(imputer, model):
    for estimator in (imputer, model):
        calibration = estimator.model_.calibration
        display = estimator.plot_calibration()
        reached = cross_fitted(calibration)
        np.testing.assert_array_equal(display.line_.get_data(), [reached.levels, reached.mean])
        assert display.ax_.get_aspect() == 1


def test_calibration_of_predictions(rng):
    """Deviations that are half of what they should be: the normal law covers too little."""
    from scipy.stats import norm

    errors = 2 * rng.normal(size=4000)
    display = dl.CalibrationDisplay.from_predictions(errors, np.zeros(4000), np.ones(4000))
    levels, covered = display.normal_line_.get_data()
    expected = 2 * norm.cdf(norm.ppf((1 + levels) / 2) / 2) - 1
    np.testing.assert_allclose(covered, expected, atol=0.03)
    np.testing.assert_allclose(display.line_.get_ydata(), levels, atol=0.01)
    with pytest.raises(dl.InputError, match="at least 40 held-out entries"):
        dl.CalibrationDisplay.from_predictions(errors[:9], np.zeros(9), np.ones(9))
    with pytest.raises(dl.InputError, match="deviations > 0"):
        dl.CalibrationDisplay.from_predictions(errors, np.zeros(4000), np.zeros(4000))


def test_errors_of_an_imputer(imputer):
    display = imputer.plot_errors()
    scores = imputer.column_scores_
    shown = dict(zip(display.names, display.errors, strict=True))
    assert set(shown) == {"length", "width", "depth", "mass", "age", "noise", "kind"}
    for name, error in shown.items():
        score = scores[name]
        expected = 1 - score.accuracy if name == "kind" else np.sqrt(1 - score.r2)
        assert error == pytest.approx(expected)
    assert display.names[0] == "noise"
    numbers, categories = display.bars_
    widths = [bar.get_width() for bar in numbers]
    np.testing.assert_array_equal(widths, display.errors[~display.categories])
    assert [bar.get_width() for bar in categories] == [shown["kind"]]
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels[0] == f"noise ({scores['noise'].count})"
    few = imputer.plot_errors(max_columns=3)
    assert sum(len(bars) for bars in few.bars_) == 3
    assert few.ax_.get_legend().get_title().get_text() == "the worst 3 of 7 columns"
    with pytest.raises(dl.InputError, match="X must be left out for an imputer"):
        imputer.plot_errors([1])


def test_errors_of_test_entries(model, ratings):
    rows, cols, values = (x[:400] for x in ratings.triples)
    display = model.plot_errors((rows, cols, values))
    predicted = model.predict(rows, cols)
    for j, error in zip(display.names, display.errors, strict=True):
        own = np.asarray(cols).astype(str) == j
        x, gap = values[own], predicted[own] - values[own]
        if np.ptp(x) > 0:
            assert error == pytest.approx(np.sqrt(np.mean(gap**2) / np.mean((x - x.mean()) ** 2)))
    with pytest.raises(dl.InputError, match="X must hold test entries"):
        model.plot_errors()
    with pytest.raises(dl.InputError, match="vectors of one length"):
        dl.ErrorsDisplay.from_predictions(["a"], [1.0, 2.0], [1.0, 2.0])


def test_without_a_fit_or_held_out_entries(ratings):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        dl.DeepMatrixCompletion().plot_spectrum()
    free = dl.DeepMatrixCompletion(strength=0.3, validation_fraction=0, max_rank=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        free.fit(ratings.triples)
    with pytest.raises(dl.InputError, match="no entries were held out"):
        free.plot_validation()
    with pytest.raises(dl.InputError, match="at least 40 held-out entries"):
        free.plot_calibration()
