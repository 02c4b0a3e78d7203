"""Fixtures of the command line's tests: one small file of ratings."""

import warnings

import pandas as pd
import pytest

import deeplinear as dl


@pytest.fixture
def quiet():
    """Fits of a few rounds may say that they have not converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dl.errors.NotConvergedWarning)
        yield


@pytest.fixture(scope="module")
def ratings():
    return dl.datasets.make_ratings(30, 20, 300, seed=3)


@pytest.fixture
def source(ratings, tmp_path):
    path = tmp_path / "ratings.csv"
    pd.DataFrame({"user": ratings.users, "item": ratings.items, "rating": ratings.values}).to_csv(
        path, index=False
    )
    return path
