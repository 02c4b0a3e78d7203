"""Columns that look like ids: those that are, and measurements that are none."""

import numpy as np
import pytest
from sklearn import datasets

from deeplinear.completion.data.id_columns import id_like_columns


def found(*columns):
    values = np.column_stack([np.asarray(x, float) for x in columns])
    return id_like_columns(values, ~np.isnan(values))


RNG = np.random.default_rng(0)
NOISE = [RNG.normal(size=100) for _ in range(4)]
HOLED = np.where(np.arange(100) % 40 == 7, np.nan, np.arange(100))


@pytest.mark.parametrize(
    "column",
    [
        np.arange(100),
        RNG.permutation(100) + 500,
        HOLED,
        RNG.choice(10**8, 100, replace=False),
        RNG.choice(10**6, 100, replace=False),
        1_600_000_000 + 60 * np.arange(100),
        100 - np.arange(100),
        np.r_[np.arange(99), 98],  # one that comes twice
    ],
)
def test_ids(column):
    assert list(found(*NOISE, column)) == [4]


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (np.cumsum(RNG.random(100)), "increases from row to row"),
        (-np.cumsum(RNG.random(100)), "decreases from row to row"),
        (np.where(np.arange(100) % 3 == 1, np.nan, np.sqrt(np.arange(100))), "increases"),
    ],
)
def test_columns_in_order(column, why):
    assert why in found(*NOISE, column)[4]


@pytest.mark.parametrize("name", ["wine", "diabetes", "iris", "digits", "breast_cancer"])
def test_measurements_are_none(name):
    X = getattr(datasets, f"load_{name}")().data
    assert not id_like_columns(X, np.ones(X.shape, bool))


@pytest.mark.parametrize(
    "X",
    [
        RNG.normal(size=(200, 30)),
        RNG.integers(0, 100, (50, 6)),
        RNG.lognormal(10, 2, (195, 5)).round(),  # populations
        np.outer(np.arange(1, 41), np.arange(1, 20)),
        np.sort(RNG.normal(size=(40, 6)), axis=0),
        RNG.integers(0, 10**6, (30, 8)),
        np.arange(45).reshape(15, 3),  # few rows
        np.round(RNG.normal(101_300, 500, (300, 3))),  # pressures
    ],
)
def test_matrices_are_none(X):
    assert not id_like_columns(X.astype(float), np.ones(X.shape, bool))
