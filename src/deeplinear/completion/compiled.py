"""How the loops over entries are compiled."""

from typing import Any

from numba import njit

_FAST = {
    "reassoc",
    "contract",
    "nsz",
    "arcp",
}  # sums may be reordered; NaN and infinity keep their meaning


def compiled(function: Any) -> Any:
    """``function`` compiled at its first call and kept on disk, so that the next process starts at
    once (where one can write).
    """
    options: dict[str, Any] = {
        "nogil": True,
        "fastmath": _FAST,
        "boundscheck": False,
        "error_model": "numpy",
    }
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no directory for the cache
        return njit(**options)(function)


def inlined(function: Any) -> Any:
    """A helper of compiled functions, copied into them: a call would cost more than the few numbers
    it works on.
    """
    return njit(inline="always", fastmath=_FAST, error_model="numpy")(function)
