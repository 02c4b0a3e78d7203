"""Energies against plain sums, their gradients against differences, and their errors."""

import jax
import jaxtyping
import numpy as np
import pytest

import deeplinear as dl


def differences(f, W, h=1e-6):
    out = np.zeros_like(W)
    for index in np.ndindex(W.shape):
        E = np.zeros_like(W)
        E[index] = h
        out[index] = (f(W + E) - f(W - E)) / (2 * h)
    return out


def test_completion_is_the_weighted_sum_over_observed_entries(rng):
    rows, cols = np.array([0, 2, 1, 2]), np.array([1, 0, 3, 3])
    values, weights = rng.normal(size=4), rng.uniform(0.5, 2, 4)
    energy = dl.Completion(rows, cols, values, (3, 4), weights)
    W = rng.normal(size=(3, 4))
    expected = 0.5 * sum(
        w * (W[i, j] - v) ** 2 for i, j, v, w in zip(rows, cols, values, weights, strict=True)
    )
    assert float(energy(W)) == pytest.approx(expected)
    np.testing.assert_allclose(jax.grad(energy)(W), differences(energy, W), atol=1e-8)


def test_from_dense_reads_nan_as_missing(rng):
    X = rng.normal(size=(3, 4))
    X[0, 1] = X[2, 2] = np.nan
    rows, cols = np.nonzero(~np.isnan(X))
    W = rng.normal(size=(3, 4))
    assert float(dl.Completion.from_dense(X)(W)) == float(
        dl.Completion(rows, cols, X[rows, cols], X.shape)(W)
    )


@pytest.mark.parametrize("kind", ["masked", "float frame", "nullable frame", "integers"])
def test_from_dense_of_masked_arrays_and_frames(kind):
    import pandas

    X = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, np.nan]])
    hidden = np.isnan(X)
    given = {
        "masked": np.ma.masked_array(np.where(hidden, -9.0, X), hidden),
        "integers": np.ma.masked_array(np.where(hidden, -9, X).astype(int), hidden),
        "float frame": pandas.DataFrame(X),
        "nullable frame": pandas.DataFrame(X).astype("Float64").mask(hidden, pandas.NA),
    }[kind]
    found, expected = dl.Completion.from_dense(given), dl.Completion.from_dense(X)
    np.testing.assert_array_equal(found.observed, ~hidden)
    np.testing.assert_array_equal(found.target, expected.target)


def test_from_dense_refuses_frames_of_text():
    import pandas

    with pytest.raises(dl.InputError, match="X must hold real numbers"):
        dl.Completion.from_dense(pandas.DataFrame({"a": ["x", "y"], "b": ["u", "v"]}))


def test_sensing(rng):
    A, y, w = rng.normal(size=(6, 3, 2)), rng.normal(size=6), rng.uniform(0.5, 2, 6)
    W = rng.normal(size=(3, 2))
    energy = dl.Sensing(A, y, w)
    expected = 0.5 * sum(
        wl * ((Al * W).sum() - yl) ** 2 for Al, yl, wl in zip(A, y, w, strict=True)
    )
    assert float(energy(W)) == pytest.approx(expected)
    np.testing.assert_allclose(jax.grad(energy)(W), differences(energy, W), atol=1e-8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0], [0, 1], [1.0], (2, 2)), "equal length"),
        (([], [], [], (2, 2)), "at least one observed"),
        (([0.0], [0], [1.0], (2, 2)), "rows must hold integers"),
        (([0], [2], [1.0], (2, 2)), "cols must lie in 0 … 1"),
        (([-1], [0], [1.0], (2, 2)), "rows must lie in 0 … 1"),
        (([0, 0], [1, 1], [1.0, 2.0], (2, 2)), "list an entry twice"),
        (([0], [0], [np.inf], (2, 2)), "values must be finite"),
        (([0], [0], [1j], (2, 2)), "values must hold real"),
        (([0], [0], [1.0], (2, 0)), "shape must be"),
        (([0], [0], [1.0], (2, 2), [-1.0]), "weights must be finite and ≥ 0"),
        (([0], [0], [1.0], (2, 2), [1.0, 1.0]), "weights must match"),
    ],
)
def test_bad_completion_problems(arguments, message):
    with pytest.raises(dl.InputError, match=message):
        dl.Completion(*arguments)


def test_a_W_of_another_shape_is_an_error_and_no_broadcast(rng):
    for energy in (
        dl.Completion.from_dense(np.ones((2, 2))),
        dl.Sensing(np.ones((3, 2, 2)), np.ones(3)),
    ):
        with pytest.raises(dl.InputError, match=r"W must have the shape \(2, 2\)"):
            energy(np.ones((1, 2)))


def test_bad_dense_and_sensing_problems():
    for bad, message in [
        (lambda: dl.Completion.from_dense(np.full((2, 2), np.nan)), "at least one observed"),
        (lambda: dl.Completion.from_dense(np.ones(3)), "X must be a matrix"),
        (lambda: dl.Completion.from_dense(np.array([["a", "b"]])), "X must hold real numbers"),
        (
            lambda: dl.Completion.from_dense(np.ones((2, 2)), np.ones(2)),
            "weights must have the shape",
        ),
        (lambda: dl.Sensing(np.ones((2, 2)), np.ones(2)), "A must have shape"),
        (lambda: dl.Sensing(np.ones((2, 2, 2)), np.ones(3)), "y must have shape"),
        (lambda: dl.Sensing(np.full((1, 2, 2), np.nan), np.ones(1)), "A must be finite"),
        (
            lambda: dl.Sensing(np.ones((1, 2, 2)), np.ones(1), np.array([-1.0])),
            "weights must be ≥ 0",
        ),
    ]:
        with pytest.raises(dl.InputError, match=message):
            bad()


@pytest.mark.parametrize(("m", "n", "p"), [(3, 4, 50), (2, 5, 3), (4, 4, 4)])
def test_regression(rng, m, n, p):
    X, Y, W = rng.normal(size=(n, p)), rng.normal(size=(m, p)), rng.normal(size=(m, n))
    energy = dl.Regression(X, Y)
    assert energy.shape == (m, n)
    assert float(energy(W)) == pytest.approx(np.sum((Y - W @ X) ** 2) / (2 * p), rel=1e-13)
    gradient = jax.grad(energy)(W)
    np.testing.assert_allclose(gradient, (W @ X - Y) @ X.T / p, atol=1e-13)
    best = Y @ np.linalg.pinv(X)
    assert float(energy(best)) == pytest.approx(float(energy.minimum), rel=1e-12, abs=1e-25)
    auto = dl.Regression(X)
    assert float(auto(np.eye(n))) == pytest.approx(0, abs=1e-25)


def test_regression_on_whitened_inputs_is_completion(rng):
    X = np.linalg.qr(rng.normal(size=(20, 3)))[0].T * np.sqrt(20)
    Y = rng.normal(size=(2, 20))
    energy, S = dl.Regression(X, Y), Y @ X.T / 20
    full = dl.Completion.from_dense(S)
    for W in rng.normal(size=(3, 2, 3)):
        expected = float(full(W)) + float(energy.minimum)
        assert float(energy(W)) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: dl.Regression(np.ones(3)), r"^X must be a matrix, a sample in a column"),
        (lambda: dl.Regression(np.ones((2, 3)), np.ones((2, 4))), r"^X and Y must have one column"),
        (lambda: dl.Regression(np.full((2, 3), np.nan)), r"^X must be finite"),
    ],
)
def test_regression_refuses(call, sentence):
    with pytest.raises(dl.InputError, match=sentence):
        call()


def test_regression_on_inputs_of_low_rank():
    """The constant is what least squares leaves, also where inputs depend on each other."""
    X = np.array([[1.0, 1, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]])
    Y = np.array([[1.0, 2, 3, 5]])
    energy = dl.Regression(X, Y)
    assert float(energy.minimum) == pytest.approx(0.8125, rel=1e-12)
    W = np.array([[0.3, -1.0, 2.0]])
    assert float(energy(W)) == pytest.approx(np.sum((Y - W @ X) ** 2) / 8, rel=1e-12)
    with pytest.raises(dl.InputError, match=r"^Y must hold real numbers"):
        dl.Regression(X, Y + 1j)


def test_data_of_few_bits_are_computed_with_in_more(monkeypatch):
    """Bytes wrapped round at 256, and weights were rounded to the 11 bits of float16 values."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users call, W of bytes
    A, W = np.array([[[200, 100], [127, 1]]], np.uint8), np.array([[1, 0], [0, 3]], np.uint8)
    energy = dl.Sensing(A, np.array([250], np.uint8))
    np.testing.assert_allclose(energy(W), 0.5 * (203 - 250) ** 2)
    ones = np.ones(2, np.float16)
    energy = dl.Completion([0, 1], [0, 1], ones, (2, 2), weights=[0.1, 1e5])
    np.testing.assert_allclose(energy(np.zeros((2, 2))), 0.5 * (0.1 + 1e5), rtol=1e-7)
