"""What tests of completion share: tables, the objective written out, the choice of a backend."""

import numpy as np

from deeplinear.completion.backends import open as opening
from deeplinear.completion.data.observations import Observations


def table(rng, m=60, n=40, rank=3, noise=0.2, seen=0.5, weighted=False, dtype=None):
    """Noisy low rank plus biases: (truth, mask, X, weights, observations)."""
    truth = (
        rng.normal(size=(m, rank)) @ rng.normal(size=(rank, n))
        + rng.normal(size=(m, 1))
        + rng.normal(size=n)
        + 2
    )
    mask = rng.random((m, n)) < seen
    X = np.where(mask, truth + noise * rng.normal(size=(m, n)), 0.0)
    weights = mask * (rng.uniform(0.3, 2.0, (m, n)) if weighted else 1.0)
    return truth, mask, X, weights, observe(X, mask, weights if weighted else None, dtype)


def observe(X, mask, weights=None, dtype=None):
    rows, cols = np.nonzero(mask)
    given = None if weights is None else weights[rows, cols]
    return Observations.from_triples(rows, cols, X[rows, cols], X.shape, weights=given, dtype=dtype)


def half_observed(seed, noise):
    """80 × 60 of rank 3, half observed: (seen triples, hidden noisy triples, the truth there)."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 60))
    mask = rng.random(truth.shape) < 0.5
    values = truth + noise * rng.normal(size=truth.shape)
    seen, hidden = np.nonzero(mask), np.nonzero(~mask)
    return (*seen, values[mask]), (*hidden, values[~mask]), truth[~mask]


def matrix(fit):
    """The completed matrix of a fit, from its factors and biases."""
    W = fit.left.astype(float) @ fit.right.T.astype(float)
    return W + fit.mean + fit.row_bias[:, None] + fit.col_bias


def written_out(fit, X, weights):
    """The objective of a fit, from its definition, with a dense SVD."""
    scaled = fit.row_scale[:, None] * (fit.left.astype(float) @ fit.right.T) * fit.col_scale
    s = np.linalg.svd(scaled, compute_uv=False)
    biases = sum(np.square(x, dtype=float).sum() for x in (fit.row_bias, fit.col_bias)) / 2
    return (
        0.5 * (weights * (matrix(fit) - X) ** 2).sum()
        + (fit.bias_ridge or 0.0) * biases
        + fit.penalty.value(s[: fit.rank]).sum()
    )


def rmse(x, y):
    return float(np.sqrt(np.mean((np.asarray(x) - y) ** 2)))


def same(one, other):
    """Whether two fits agree bit by bit."""
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("left", "right", "spectrum", "row_bias", "col_bias", "objective")
    )


def choose_backend(monkeypatch, kind):
    """The keyword arguments that make `fit` and its kin use the backend ``kind``."""
    monkeypatch.setattr(opening, "is_dense", lambda observations: kind == "dense")
    return {"device": "jax"} if kind == "devices" else {"threads": 1}
