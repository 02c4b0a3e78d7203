"""The nearest known name to a misspelt one."""

import difflib
from collections.abc import Iterable

_LONGEST = 60  # characters of a name that are compared
_MOST = 20  # names that are listed


def nearest(name: str, known: Iterable[str]) -> str:
    """A half-sentence that helps: the nearest of ``known``, or all of them where none is near.

    >>> from deeplinear.results.suggest import nearest
    >>> nearest("dpeth", ["depth", "scale"])
    "did you mean 'depth'? (known: depth, scale)"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name[:_LONGEST], known, n=1, cutoff=0.5)
    listed = ", ".join(known[:_MOST]) + ", …" * (len(known) > _MOST) or "none"
    return f"did you mean '{close[0]}'? (known: {listed})" if close else f"known: {listed}"
