"""How the loops over entries are compiled."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable)
# Sums may be reordered; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": _FAST,
    "boundscheck": False,
    "error_model": "numpy",
}


def compiled(function: Function) -> Function:
    """``function``, compiled at its first call and kept on disk for the next process."""
    return _kept(function, _OPTIONS)


def compiled_in_order(function: Function) -> Function:
    """The same, with sums in the order in which they are written.

    Reordered, a sum over the entries of a line fetches factors for many entries at once, which
    takes processors longer than one after the other.
    """
    return _kept(function, _OPTIONS | {"fastmath": _FAST - {"reassoc"}})


def _kept(function: Function, options: dict[str, Any]) -> Function:
    try:
        return cast(Function, njit(cache=True, **options)(function))
    except RuntimeError:  # no directory for the cache
        return cast(Function, njit(**options)(function))


def inlined(function: Function) -> Function:
    """A helper that is copied into compiled functions: a call would cost more than its work."""
    dispatcher = njit(inline="always", fastmath=_FAST, error_model="numpy")(function)
    return cast(Function, dispatcher)
