"""What property tests draw from: depths, sizes, matrices, tables, entries and written numbers."""

import math

import numpy as np
from hypothesis import strategies as st

seeds = st.integers(0, 2**32 - 1)


def _landmarks() -> st.SearchStrategy[float]:
    from cases import DEPTHS  # which loads JAX

    return st.sampled_from(DEPTHS)


# Depths: the landmarks of `cases`, and any real number between.
depths = st.deferred(_landmarks)
finite_depths = st.floats(1, 1e3)
real_depths = finite_depths | st.just(math.inf)
convex_depths = st.floats(1, 2)
# Singular values and other sizes, positive, over as many decades as double precision squares.
sizes = st.floats(1e-5, 1e5)
ordinary_sizes = st.floats(1e-3, 10)


def rng_of(seeds: st.SearchStrategy[int] = seeds) -> st.SearchStrategy[np.random.Generator]:
    """Generators: for what hypothesis need not shrink, generic matrices above all."""
    return seeds.map(np.random.default_rng)


def matrices(*shape: int, near=0.0, spread: float = 1.0) -> st.SearchStrategy[np.ndarray]:
    """Arrays of the given shape, each entry within ``spread`` of ``near``'s."""
    count = math.prod(shape)
    entries = st.lists(st.floats(-spread, spread), min_size=count, max_size=count)
    return entries.map(lambda x: near + np.reshape(x, shape))


@st.composite
def singular_values(draw, d: int, low: float = 0.3, high: float = 3.0) -> np.ndarray:
    """d numbers in descending order."""
    return np.sort(draw(rng_of()).uniform(low, high, d))[::-1]


@st.composite
def entries(draw, m: int, n: int, least: int = 2):
    """(rows, cols, values): at least ``least`` observed entries of an m×n table, each once."""
    count = draw(st.integers(least, m * n))
    rng = draw(rng_of())
    rows, cols = np.divmod(rng.permutation(m * n)[:count], n)
    return rows, cols, rng.normal(size=count)


def tables(columns: dict, carried: dict) -> st.SearchStrategy:
    """Kinds of the columns of a table, of those that are filled and those that are carried along.

    The arguments are the kinds by their names.
    """
    return st.tuples(
        st.lists(st.sampled_from(sorted(columns)), min_size=2, max_size=6),
        st.lists(st.sampled_from(sorted(carried)), max_size=2),
    )


# Numbers as people write them: (the number, decimal mark, mark between thousands).
written_numbers = st.tuples(
    st.floats(-1e9, 1e9).map(lambda x: round(x, 3)),
    st.sampled_from(".,"),
    st.sampled_from(["", ",", ".", " ", "'"]),
).filter(lambda drawn: drawn[1] != drawn[2])
