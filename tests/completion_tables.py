"""Tables with holes that the tests of completion share."""

import numpy as np


def noisy_table(m=60, n=30, rank=3, missing=0.4, noise=0.3, seed=0, units=None):
    """(X, complete): a noisy low-rank table with an offset per column, with and without its holes.

    ``complete`` holds the noise too: what a new measurement of a missing cell would have been.
    """
    rng = np.random.default_rng(seed)
    complete = rng.normal(size=(m, rank)) @ rng.normal(size=(rank, n)) / np.sqrt(rank)
    complete += 2 * rng.normal(size=n) + noise * rng.normal(size=(m, n))
    complete *= np.ones(n) if units is None else units
    X = complete.copy()
    X[rng.random((m, n)) < missing] = np.nan
    return X, complete
