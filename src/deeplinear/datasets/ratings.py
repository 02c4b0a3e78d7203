"""What every set of ratings is: three arrays of one length. And the table that comes with the
package.
"""

import csv
from dataclasses import dataclass
from importlib.resources import files

import numpy as np


@dataclass(frozen=True)
class Ratings:
    """Observed entries in long form: ``users[t]`` gave ``items[t]`` the value ``values[t]``.

    ``users`` and ``items`` are ids (integers), not positions. `dl.DeepMatrixCompletion` takes
    `triples` and `pairs`.

    >>> ratings = Ratings("two", np.array([7, 9]), np.array([1, 1]), np.array([4.0, 5.0]))
    >>> len(ratings), ratings.pairs.shape, ratings.triples[2].mean()
    (2, (2, 2), np.float64(4.5))
    """

    name: str
    users: np.ndarray
    items: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @property
    def triples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(users, items, values), as ``fit`` takes them."""
        return self.users, self.items, self.values

    @property
    def pairs(self) -> np.ndarray:
        """(number of entries, 2): user and item ids side by side, the X of ``GridSearchCV`` with
        ``y = values``.
        """
        return np.column_stack([self.users, self.items])

    def split(self, fraction: float, seed: int = 0) -> "tuple[Ratings, Ratings]":
        """Two parts at random: 1 − ``fraction`` of the entries, and the held-out ``fraction``."""
        out = np.zeros(len(self), dtype=bool)
        out[np.random.default_rng(seed).permutation(len(self))[: round(fraction * len(self))]] = (
            True
        )
        return self.take(~out), self.take(out)

    def take(self, which: np.ndarray) -> "Ratings":
        """The entries that an index array or a mask selects."""
        return Ratings(self.name, self.users[which], self.items[which], self.values[which])


def load_sea_surface() -> tuple[np.ndarray, list[int], list[str]]:
    """Monthly sea surface temperature in the eastern Pacific, 1950 to 2010: a complete 61 × 12
    table, in °C.

    Returns the matrix, the years of its rows and the months of its columns. After the months' means
    little more than one component is left (warm and cold years, El Niño): hide entries to have a
    small, real completion problem.

    Source: NOAA National Weather Service, ERSST.V3B, region Niño 1+2; a work of the United States
    government, in the public domain.

    >>> X, years, months = load_sea_surface()
    >>> X.shape, years[0], months[0], X[0, 0].item()
    ((61, 12), 1950, 'jan', 23.11)
    """
    text = (files(__package__) / "data" / "sea_surface.csv").read_text()
    header, *rows = csv.reader(text.splitlines())
    return (
        np.array([row[1:] for row in rows], dtype=float),
        [int(row[0]) for row in rows],
        header[1:],
    )
