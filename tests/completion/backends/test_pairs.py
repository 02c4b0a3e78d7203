"""Predictions at pairs: in NumPy, as a part of the whole table, and compiled, the same numbers."""

import numpy as np
import pytest

from deeplinear.completion.backends import pairs

WAYS = ("numpy", "table", "compiled")


def take(monkeypatch, way):
    """Let every call go one way."""
    monkeypatch.setattr(pairs, "_CELLS", 1 << 24 if way == "table" else 0)
    monkeypatch.setattr(pairs, "COMPILED_FROM", 0 if way == "compiled" else 1 << 60)
    monkeypatch.setattr(pairs, "_CHUNK", 100)


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


@pytest.mark.parametrize("way", WAYS)
def test_at(rng, monkeypatch, way, dtype):
    take(monkeypatch, way)
    Z, Y = (rng.normal(size=(side, 8)).astype(dtype) for side in (20, 30))
    rows, cols = rng.integers(0, 20, 250), rng.integers(0, 30, 250)
    found = pairs.at(rows, cols, Z, Y, 0.7)
    assert found.dtype == dtype
    exact = 0.7 + (Z[rows].astype(float) * Y[cols]).sum(axis=1)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-13 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_average(rng, monkeypatch, way, dtype):
    take(monkeypatch, way)
    left, right = (rng.normal(size=(3, side, 5)).astype(dtype) for side in (20, 30))
    means, rows, cols = rng.normal(size=3), rng.integers(0, 20, 250), rng.integers(0, 30, 250)
    found = pairs.average(rows, cols, left, right, means)
    assert found.dtype == np.float64
    p, q = left.astype(float)[:, rows], right.astype(float)[:, cols]
    products = (p[..., :-1] * q[..., :-1]).sum(axis=2)
    exact = (products + p[..., -1] + q[..., -1] + means[:, None]).mean(axis=0)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-13)  # sums are in float64 at any type


@pytest.mark.parametrize("way", WAYS)
def test_no_pairs(monkeypatch, way):
    take(monkeypatch, way)
    none, Z = np.zeros(0, int), np.ones((3, 8))
    assert pairs.at(none, none, Z, Z, 0.0).shape == (0,)
    assert pairs.average(none, none, np.ones((2, 3, 4)), np.ones((2, 3, 4)), np.ones(2)).size == 0


def test_a_table_is_made_where_much_of_it_is_asked_for(monkeypatch):
    rows = np.arange(100)
    assert pairs._is_table(rows, 20, 50)
    assert not pairs._is_table(rows, 20, 51)
    assert not pairs._is_table(np.zeros(1 << 22, int), 1 << 13, 1 << 12)
