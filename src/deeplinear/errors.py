"""The typed errors and warnings of the library.

Each message names the argument, what was wrong, and the fix.
"""


class InputError(ValueError):
    """An argument has a value that the function cannot work with.

    The message is one line: line ends and control characters of names and cells are shown escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(map(_visible, message)))


def _visible(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


class MissingPackageError(InputError, ImportError):
    """An optional package is not installed; the message says which extra brings it."""


class DepthError(InputError):
    """The depth is not a real number ≥ 1 (``math.inf`` included)."""


class CriticalPointError(InputError):
    """The start is a critical point of the flow (W = 0 at depth > 1); training never leaves it."""


class PrecisionError(InputError):
    """The floating-point type cannot carry what was asked."""


class SingularOperatorError(InputError):
    """The inverse of an operator was asked for where it has a kernel."""


class PrecisionWarning(UserWarning):
    """Data of 64 bits were rounded to 32, for JAX is not set to compute in 64."""


class ImbalanceWarning(UserWarning):
    """The factors are not balanced, so that their product does not follow the flow of W exactly."""


class EmptyLineWarning(UserWarning):
    """Rows or columns without any observed entry were filled from the marginals."""


class IdColumnWarning(UserWarning):
    """Columns that look like ids or time stamps take part in a fit."""


class NotConvergedWarning(UserWarning):
    """An iteration ended without a result; the value returned says so (NaN, or a status)."""


class DownloadError(OSError):
    """A file could not be downloaded, or is not the one that was expected."""


class SweepError(RuntimeError):
    """A sweep stopped before its end (no room, no scheduler); its results are kept for a resume."""


class LostProcessError(RuntimeError):
    """Another process of a run on several machines has ended, or cannot be reached."""
