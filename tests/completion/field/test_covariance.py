"""The covariance of the columns against a dense decomposition of the completed table."""

import numpy as np
import pytest
from sklearn.utils.extmath import randomized_svd

from deeplinear.completion.field import covariance
from deeplinear.completion.field.covariance import ColumnCovariance


def completed(rng, m, n, rank=6):
    """Components of falling length around a mean, and a little noise."""
    W = rng.normal(size=(m, rank)) * 2.0 ** -np.arange(rank) @ rng.normal(size=(rank, n))
    return W + 0.02 * rng.normal(size=(m, n)) + 3 * rng.normal(size=n)


def dense(X, rank, center=True):
    """(mean, SᵀS of the ``rank`` longest components, the variance beyond them, their lengths)."""
    mean = X.mean(0) if center else np.zeros(X.shape[1])
    _, s, Vt = np.linalg.svd((X - mean) / np.sqrt(len(X)), full_matrices=False)
    kept = (Vt[:rank].T * s[:rank] ** 2) @ Vt[:rank]
    whole = ((X - mean) ** 2).mean(0)
    return mean, kept, whole - np.diag(kept), s[:rank]


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("m", "n"), [(40, 12), (12, 40), (15, 15)])
def test_the_components_are_the_principal_ones(rng, monkeypatch, m, n, center):
    monkeypatch.setattr(covariance, "MAX_RANK", 4)
    X = completed(rng, m, n)
    found = ColumnCovariance.of(X, center=center)
    mean, kept, own, lengths = dense(X, 4, center)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(found.root.T @ found.root, kept, atol=1e-10)
    np.testing.assert_allclose(found.own, own, atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(found.root, axis=1), lengths, rtol=1e-8)
    assert found.variance == pytest.approx(((X - mean) ** 2).mean(), rel=1e-12)
    assert found.varies


@pytest.mark.parametrize(("m", "n"), [(9, 5), (5, 9)])
def test_all_components_of_a_small_table_are_kept(rng, m, n):
    X = completed(rng, m, n, rank=3)
    found = ColumnCovariance.of(X)
    assert len(found.root) == min(m - 1, n)  # the mean takes one of the rows
    np.testing.assert_allclose(found.own, 0, atol=1e-12)
    np.testing.assert_allclose(found.root.T @ found.root, np.cov(X.T, bias=True), atol=1e-10)


def test_large_tables_keep_half_as_many(rng, monkeypatch):
    monkeypatch.setattr(covariance, "MAX_RANK", 6)
    for cells, rank in ((30 * 20, 6), (30 * 20 - 1, 3)):
        monkeypatch.setattr(covariance, "_LARGE", cells)
        assert len(ColumnCovariance.of(completed(rng, 30, 20)).root) == rank


def test_many_columns_and_few_components_are_found_at_random(rng, monkeypatch):
    """A little shorter than the exact ones: by two power iterations from a fixed start."""
    X, asked = rng.normal(size=(60, 50)), []
    exact = np.trace(dense(X, 3)[1])
    monkeypatch.setattr(covariance, "MAX_RANK", 3)

    def recorded(*given, **options):
        asked.append(options)
        return randomized_svd(*given, **options)

    monkeypatch.setattr("sklearn.utils.extmath.randomized_svd", recorded)
    for least, at_random in ((covariance._EXACT, False), (50, False), (49, True)):
        monkeypatch.setattr(covariance, "_EXACT", least)
        found = ColumnCovariance.of(X)
        part = np.trace(found.root.T @ found.root) / exact
        assert 0.9 < part < 1 - 1e-6 if at_random else part == pytest.approx(1, rel=1e-12)
    assert asked == [{"n_iter": 2, "random_state": 0}]
    monkeypatch.setattr(covariance, "MAX_RANK", 50)  # all of them: never at random
    assert len(ColumnCovariance.of(X).root) == 50
    assert len(asked) == 1


def test_components_that_are_rounding_are_left_out(rng):
    """Below a millionth of the mean variance of a column."""
    U, V = np.linalg.qr(rng.normal(size=(30, 3)))[0], np.linalg.qr(rng.normal(size=(20, 3)))[0]
    for part, rank in ((0.9, 2), (1.1, 3)):
        s = np.sqrt([1.0, 0.5, 0.0])
        s[2] = np.sqrt(part * 1e-6 * 1.5 / 20)  # of a mean variance Σ s²/(m n), s² /m
        X = (U * s) @ V.T
        assert len(ColumnCovariance.of(X, center=False).root) == rank


def test_a_constant_table_does_not_vary(rng):
    X = np.broadcast_to(rng.normal(size=7), (9, 7))
    found = ColumnCovariance.of(X)
    assert not found.varies
    assert found.variance < 1e-30
    nothing = ColumnCovariance.of(np.zeros((4, 6)), center=False)
    np.testing.assert_array_equal(nothing.own, 0)
    assert nothing.root.shape == (0, 6)
    tiny = ColumnCovariance.of(1e-14 * rng.normal(size=(50, 7)))
    assert tiny.varies  # 1e-28


def test_points_are_the_coordinates_along_unit_vectors(rng):
    X = completed(rng, 40, 12)
    found = ColumnCovariance.of(X)
    Vt = np.linalg.svd(X - X.mean(0), full_matrices=False)[2]
    rows = rng.normal(size=(2, 5, 12))
    points = found.points(rows, 3)
    assert points.shape == (2, 5, 3)
    np.testing.assert_allclose(np.abs(points), np.abs((rows - X.mean(0)) @ Vt[:3].T), atol=1e-8)
    assert found.points(rows, 99).shape == (2, 5, len(found.root))


def test_the_precision_asked_for(rng):
    found = ColumnCovariance.of(completed(rng, 20, 8)).astype(np.dtype(np.float32))
    assert {x.dtype for x in (found.mean, found.root, found.own)} == {np.dtype(np.float32)}
