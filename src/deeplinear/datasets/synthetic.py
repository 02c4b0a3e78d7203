"""Matrices with a known truth: low rank with noise, and ratings like those of a film site."""

import math
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..reals import check_integer, check_not_negative, check_shape
from .ratings import Ratings


@dataclass(frozen=True)
class LowRank:
    """Observed entries of a low-rank matrix: ``values`` = truth at (``rows``, ``cols``) + noise,
    truth = ``left @ right.T``.

    `at` gives the truth anywhere without forming the matrix; `matrix` forms it.
    `make_low_rank` and `make_ratings` return it:

    >>> made = make_low_rank((30, 20), rank=2, noise=0.0)
    >>> bool(np.allclose(made.at(made.rows, made.cols), made.values))
    True
    """

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray
    left: np.ndarray
    right: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.left), len(self.right)

    @property
    def triples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(rows, cols, values), as ``fit`` takes them."""
        return self.rows, self.cols, self.values

    def at(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """The truth at (rows[t], cols[t]), without noise."""
        return np.einsum("tk,tk->t", self.left[rows], self.right[cols])

    def matrix(self) -> np.ndarray:
        """The whole truth, m × n."""
        return self.left @ self.right.T


def make_low_rank(
    shape: tuple[int, int] = (500, 500),
    rank: int = 5,
    *,
    observed: float | int | None = 0.2,
    oversampling: float | None = None,
    noise: float = 0.0,
    decay: float = 0.0,
    seed: int = 0,
) -> LowRank:
    """Entries of a random matrix of given rank, observed uniformly at random without repetition.

    truth = Σ_k k^{−decay} a_k b_kᵀ / √rank with standard normal a_k, b_k: entries of about unit
    size at ``decay`` = 0.

    Parameters
    ----------
    shape, rank : (m, n), int
    observed : float in (0, 1] or int
        Fraction or number of observed entries.
    oversampling : float, optional
        Instead of ``observed``: the number of entries in units of the degrees of freedom rank ·
        (m + n − rank).
    noise : float ≥ 0
        Standard deviation of the Gaussian noise on the observed entries.
    decay : float ≥ 0
        Power by which the singular values fall off.
    seed : int

    Raises
    ------
    InputError
        A rank above min(m, n), more entries than there are, a negative noise.

    >>> problem = make_low_rank((30, 20), 2, oversampling=3.0)
    >>> problem.shape, len(problem.values)
    ((30, 20), 288)
    >>> bool(np.allclose(problem.values, problem.matrix()[problem.rows, problem.cols]))
    True
    """
    m, n = check_shape(shape)
    rank = check_integer(rank, "rank")
    if not 1 <= rank <= min(m, n):
        raise InputError(f"rank must lie between 1 and min(shape) = {min(m, n)}, got {rank}.")
    noise, decay = check_not_negative(noise=noise, decay=decay)
    if oversampling is not None:
        (factor,) = check_not_negative(oversampling=oversampling)
        count = round(factor * rank * (m + n - rank))
    elif observed is None:
        raise InputError(
            "observed must be a fraction or a number of entries where no oversampling is given, "
            "got None."
        )
    else:
        (asked,) = check_not_negative(observed=observed)
        count = int(asked) if isinstance(observed, int | np.integer) else round(asked * m * n)
    if not 1 <= count <= m * n:
        raise InputError(
            f"observed must ask for 1 to {m * n} entries of a {m} × {n} matrix, got {count}."
        )
    rng = np.random.default_rng(check_integer(seed, "seed", least=0))
    weight = np.arange(1, rank + 1) ** -float(decay) / math.sqrt(rank)
    left, right = rng.normal(size=(m, rank)) * weight, rng.normal(size=(n, rank))
    rows, cols = np.divmod(_distinct(m * n, count, rng), n)
    values = np.einsum("tk,tk->t", left[rows], right[cols])
    return LowRank(rows, cols, values + noise * rng.normal(size=count), left, right)


def _distinct(total: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` different numbers below ``total``, in random order: memory in proportion to
    ``count`` where that is little.
    """
    if count > total // 4:
        return rng.permutation(total)[:count]
    chosen = _sorted_distinct(rng.integers(total, size=count))
    while len(chosen) < count:
        chosen = _sorted_distinct(
            np.concatenate([chosen, rng.integers(total, size=count - len(chosen))])
        )
    return rng.permutation(chosen)


def _sorted_distinct(keys: np.ndarray) -> np.ndarray:
    """The distinct keys in order, by sorting: on integers faster than a hash table."""
    keys.sort()
    return keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys


def make_ratings(
    users: int = 6040,
    items: int = 3706,
    count: int = 1_000_000,
    *,
    rank: int = 30,
    signal: float = 0.55,
    user_bias: float = 0.43,
    item_bias: float = 0.6,
    noise: float = 0.85,
    seed: int = 0,
) -> Ratings:
    """Ratings from 1 to 5 stars with marginals like MovieLens 1M: for tests without the data.

    Who rates what: users' activities and items' popularities have heavy tails, an item is rated
    more the better it is and the more a user likes it (entries are *not* missing at random), and
    every user has rated something. What they say:

        x_ui = round( 3.35 + a_u + b_i + p_uᵀ D q_i + noise ),  cut to 1 … 5,

    with normal p, q and a spectrum D that decays like 1/k, so that no rank is the true one.

    Parameters
    ----------
    users, items, count : int
        Sizes; ``count`` entries at most (a few repeated pairs are dropped).
    rank : int
        Components of the taste.
    signal, user_bias, item_bias, noise : float
        Standard deviations of taste, biases and noise, in stars.
    seed : int

    Source of the defaults: mean 3.58, standard deviation 1.12, of which biases explain about a
    third, as published for MovieLens-1M; no rating of it is used.

    >>> ratings = make_ratings(200, 100, 4000)
    >>> len(ratings) > 3500, sorted(set(ratings.values.tolist()))
    (True, [1.0, 2.0, 3.0, 4.0, 5.0])
    """
    sizes = {"users": users, "items": items, "count": count, "rank": rank}
    users, items, count, rank = (check_integer(x, name) for name, x in sizes.items())
    signal, user_bias, item_bias, noise = check_not_negative(
        signal=signal, user_bias=user_bias, item_bias=item_bias, noise=noise
    )
    if count > users * items // 2:
        raise InputError(
            f"count must be at most half of users × items = {users * items}, got {count}."
        )
    rng = np.random.default_rng(check_integer(seed, "seed", least=0))
    spectrum = 1 / np.arange(1, rank + 1)
    scale = math.sqrt(signal / math.sqrt((spectrum**2).sum()))
    taste = rng.normal(size=(users, rank)) * scale * np.sqrt(spectrum)
    trait = rng.normal(size=(items, rank)) * scale * np.sqrt(spectrum)
    a, b = user_bias * rng.normal(size=users), item_bias * rng.normal(size=items)
    activity = rng.lognormal(0.0, 1.0, size=users)
    popularity = np.exp(1.5 * rng.normal(size=items) + 0.7 * b)

    u, i = _who_rates_what(activity, popularity, taste, trait, count, rng)
    raw = (
        3.35
        + a[u]
        + b[i]
        + np.einsum("tk,tk->t", taste[u], trait[i])
        + noise * rng.normal(size=len(u))
    )
    return Ratings("synthetic ratings", u + 1, i + 1, np.clip(np.rint(raw), 1.0, 5.0))


def _who_rates_what(
    activity: np.ndarray,
    popularity: np.ndarray,
    taste: np.ndarray,
    trait: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """``count`` distinct pairs: independent draws, thinned by how much the user likes the item."""
    users, items = len(activity), len(popularity)
    who, what = activity / activity.sum(), popularity / popularity.sum()
    keys = np.zeros(0, dtype=np.int64)
    for _ in range(50):
        size = 2 * (count - len(keys)) + 100
        u, i = rng.choice(users, size=size, p=who), rng.choice(items, size=size, p=what)
        u[: min(users, size)] = np.arange(min(users, size))  # nobody without a rating
        likes = 1 / (
            1 + np.exp(-2 * np.einsum("tk,tk->t", taste[u, :4], trait[i, :4]))
        )  # the rest is small
        keys = _sorted_distinct(np.concatenate([keys, (u * items + i)[rng.random(size) < likes]]))
        if len(keys) >= count:
            break
    keys = rng.permutation(keys)[:count]
    u, i = np.divmod(keys, items)
    return u, i
