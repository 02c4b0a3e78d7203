"""The limit of label noise with two layers, against the convex problem and against descent."""

import numpy as np
import pytest
from cases import slow
from scipy import optimize

import deeplinear as dl
from deeplinear.asymptotics import label_noise_limit

CORNER = dl.Completion([0, 0, 1], [0, 1, 0], [0.3, 1.0, 1.2], (2, 2))


def test_the_minimum_of_the_trace_over_factors():
    """By BFGS on the factors and a penalty, and the trace from the Hessian itself."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(4, 3))
    X[[0, 1, 2, 3, 1], [1, 2, 0, 2, 0]] = np.nan
    energy = dl.Completion.from_dense(X)
    limit = label_noise_limit(energy)
    assert limit.status == dl.Status.converged
    assert limit.gap <= 1e-8
    seen = ~np.isnan(X)
    assert np.allclose(limit.W[seen], X[seen])
    rows, cols = seen.sum(1), seen.sum(0)

    def value(free):
        W = X.copy()
        W[~seen] = free
        return 2 * np.linalg.norm(np.sqrt(rows)[:, None] * W * np.sqrt(cols), "nuc")

    best = min(
        optimize.minimize(
            value, rng.normal(size=(~seen).sum()), method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20_000, "maxfev": 20_000},
        ).fun
        for _ in range(3)
    )  # fmt: skip
    assert np.isclose(limit.trace, best, rtol=1e-5)
    # where the two means are equal: D^{1/2} W_2 = U Σ^{1/2}, W_1 C^{1/2} = Σ^{1/2} Vᵀ
    U, s, Vt = np.linalg.svd(np.sqrt(rows)[:, None] * limit.W * np.sqrt(cols), full_matrices=False)
    W2 = U * np.sqrt(s) / np.sqrt(rows)[:, None]
    W1 = np.sqrt(s)[:, None] * Vt / np.sqrt(cols)
    trace = dl.asymptotics.hessian_spectrum(energy, [W1, W2]).sum()
    assert np.isclose(trace, limit.trace, rtol=1e-6)


def test_equal_numbers_of_entries_give_the_nuclear_norm():
    X = np.array([[0.2, 1.0, np.nan], [np.nan, 0.3, 0.8], [1.1, np.nan, 0.1]])
    limit = label_noise_limit(dl.Completion.from_dense(X))
    free = np.isnan(X)

    def value(x):
        W = X.copy()
        W[free] = x
        return np.linalg.norm(W, "nuc")

    best = optimize.minimize(value, limit.W[free] + 0.1, method="Nelder-Mead", tol=1e-10)
    assert np.isclose(np.linalg.norm(limit.W, "nuc"), best.fun, rtol=1e-6)


@pytest.mark.parametrize(("eta", "steps"), [(0.04, 20_000), slow(0.01, 300_000)])
def test_long_descent_with_label_noise_ends_there(eta, steps):
    """The free entry at two layers: 0.6, and 0.3 at the plain nuclear norm; the bias is O(ην²)."""
    rng, noise = np.random.default_rng(0), 0.5
    starts = [rng.normal(size=(64, 2, 2)) for _ in range(2)]
    plain = dl.descend(CORNER, starts, optimizer=eta, steps=steps)
    found = dl.descend(CORNER, starts, optimizer=eta, steps=steps, label_noise=noise, key=1)
    limit = label_noise_limit(CORNER).W[1, 1]
    assert np.isclose(limit, 0.6, atol=1e-6)
    assert plain.W[:, 1, 1].std() > 0.3  # descent alone keeps what the start says
    end = found.W[:, 1, 1]
    error = end.std() / np.sqrt(len(end))
    assert abs(end.mean() - limit) < 5 * error + 6 * eta * noise**2
    assert abs(end.mean() - 0.3) > 5 * error + 6 * eta * noise**2


def test_refusals():
    with pytest.raises(dl.InputError, match="every row"):
        label_noise_limit(dl.Completion([0], [0], [1.0], (2, 2)))
    with pytest.raises(dl.InputError, match="weights"):
        label_noise_limit(dl.Completion([0, 1], [0, 1], [1.0, 1.0], (2, 2), [1.0, 2.0]))
    with pytest.raises(dl.InputError, match="Completion"):
        label_noise_limit(lambda W: W)
    few = label_noise_limit(CORNER, max_steps=1)
    assert few.status == dl.Status.not_converged
    assert few.gap > 1e-8
