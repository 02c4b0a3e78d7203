"""What is said where a file cannot be read: it is damaged, or an optional package is missing."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

from ..errors import InputError
from ..extras import EXTRAS

_LONGEST = 160  # characters of a reader's own words
SHOWN = 60  # and of a name or a cell


@contextmanager
def reading(path: Path, kind: str, fix: str = "save it again") -> Iterator[None]:
    """Turn whatever a reader of ``kind`` raises for a damaged file into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # each reader raises many sorts, and its documentation names few
        # Arrow asks for what a damaged length says.
        if isinstance(error, MemoryError) and not type(error).__module__.startswith("pyarrow"):
            raise
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if len(reason) > _LONGEST:
            reason = reason[:_LONGEST] + "…"
        raise InputError(f"INPUT: '{path}' cannot be read as {kind} ({reason}); {fix}.") from None


def require(module: str, path: Path, what: str, argument: str = "INPUT") -> ModuleType:
    """Import an optional package, or say how to install it; ``what`` is as "reading Excel"."""
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise InputError(
            f"{argument}: {what} ('{path}') needs {package}; run: pip install "
            f"'deeplinear[{EXTRAS[package]}]'."
        ) from None


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names in a message, the first few of many."""
    names = list(names)
    return ", ".join(map(shown, names[:most])) + (", …" if len(names) > most else "")


def shown(text: str) -> str:
    """A text in a message, in quotation marks; the beginning of a long one."""
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")
