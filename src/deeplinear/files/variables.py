"""Which array of a file that holds several is completed."""

from collections.abc import Collection
from pathlib import Path

from ..errors import InputError
from .refusals import listed


def choose(
    path: Path, matrices: Collection[str], variable: str | None, *, what: str = "arrays"
) -> str:
    """``variable``, or the only one of ``matrices``, the names of what could be completed.

    `InputError` that names ``--variable`` where there is no such array, or no single one.
    """
    names = list(matrices)
    shown = listed(names)
    if variable is not None:
        found = variable.strip("/")
        if found not in names:
            raise InputError(
                f"--variable: '{path}' has no two-dimensional array of real numbers called "
                f"'{variable}'; it has {shown or 'none'}."
            )
        return found
    if len(names) != 1:
        fix = "name one with --variable" if names else "give a file with a matrix"
        raise InputError(
            f"INPUT: '{path}' holds {len(names)} two-dimensional {what} ({shown or 'none'}); {fix}."
        )
    return names[0]
