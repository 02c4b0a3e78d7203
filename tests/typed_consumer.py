"""A program of somebody else's, as type checkers read it: mypy with `make lint`, pyright in
`test_distribution.py`, which also runs it.
"""

from typing import assert_type

import jax.numpy as jnp
import numpy as np

import deeplinear as dl


def complete_a_table(X: np.ndarray) -> tuple[np.ndarray, float]:
    imputer = dl.DeepLinearImputer(depth=3, random_state=0).fit(X)
    assert_type(imputer, dl.DeepLinearImputer)
    filled = imputer.transform(X)
    low, high = imputer.interval(X, coverage=0.9)
    return np.asarray(filled), float(np.mean(np.asarray(high) - np.asarray(low)))


def rate() -> list[object]:
    ratings = dl.datasets.make_ratings(60, 40, 900)
    model = dl.DeepMatrixCompletion(depth=2, strength=1.0, random_state=0).fit(ratings.triples)
    ids, scores = model.recommend([1, 2], k=3)
    return [ids, scores]


def follow(W0: np.ndarray) -> tuple[float, str]:
    energy = dl.Completion.from_dense(np.array([[np.nan, 1.0], [1.0, 0.0]]))
    flow = dl.gradient_flow(energy, W0, depth=3, stop_energy=1e-3)
    assert_type(flow, dl.FlowResult)
    own = dl.gradient_flow(lambda W: 0.5 * jnp.sum((W - 1.0) ** 2), W0, depth=2, t1=0.1)
    assert_type(dl.Status["limit"], dl.Status)
    # mypy takes names alone between the brackets of an enum
    return float(own.energy), dl.Status(int(flow.status)).sentence


def measure(W: np.ndarray) -> list[float]:
    metric = dl.Metric(3)
    tangent = dl.random_tangent(0, W, 3)
    values = [dl.log_volume(W, 3), dl.entropy(W, 3), dl.norm(W, tangent, 3)]
    values += [metric.inner(W, tangent, tangent), dl.geodesic.distance(W, W + 0.1, 3)]
    return [float(value) for value in values]


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    table = np.where(rng.random((20, 6)) < 0.2, np.nan, rng.normal(size=(20, 6)))
    print(complete_a_table(table)[1], rate(), follow(0.1 * rng.normal(size=(2, 2))))
    print(measure(rng.normal(size=(2, 2))))
