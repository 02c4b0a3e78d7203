"""Data to complete: public ratings (downloaded once, checked, cached), generators with a known
truth, one bundled table.
"""

from .jester import fetch_jester
from .movielens import fetch_movielens
from .ratings import Ratings, load_sea_surface
from .synthetic import LowRank, make_low_rank, make_ratings

__all__ = [
    "LowRank",
    "Ratings",
    "fetch_jester",
    "fetch_movielens",
    "load_sea_surface",
    "make_low_rank",
    "make_ratings",
]
