"""What the experiments on training in finite steps share: a small problem and its starts."""

import numpy as np

import deeplinear as dl


def five_entries(seed: int) -> dl.Completion:
    """Five entries, a path, of a 3×3 matrix of rank 1: what is observed determines it."""
    rows, cols = [0, 0, 1, 1, 2], [0, 1, 1, 2, 2]
    return dl.Completion(rows, cols, rank_one(seed)[rows, cols], (3, 3))


def rank_one(seed: int) -> np.ndarray:
    """The 3×3 matrix of rank 1 that `five_entries` observes."""
    rng = np.random.default_rng(seed)
    u, v = (np.sign(x) * (0.6 + np.abs(x)) for x in rng.normal(size=(2, 3)) / 2)
    return np.outer(u, v)


def balanced(start: np.ndarray, depth: int, seed: int) -> list[np.ndarray]:
    """Balanced factors of each start, runs first."""
    each = [dl.balanced_factors(W, depth, key=seed) for W in start]
    return [np.stack(layer) for layer in zip(*each, strict=True)]
