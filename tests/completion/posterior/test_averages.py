"""Averages of posterior draws do not depend on units or on the size of weights."""

import warnings

import numpy as np
import pytest
from completion_data import rmse

import deeplinear as dl

ONE = {"random_state": 0, "threads": 1}


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
