"""What the page shows, as the query of its address and back: one way for every tab."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from ..errors import InputError

MOST_PARTS = 60
T = TypeVar("T")


def to_query(state: Any) -> str:
    """The fields of a dataclass that differ from their defaults, as a query; "" for nothing."""
    pairs = []
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if value != field.default:
            pairs.append((field.name, _written(value)))
    return "?" + urlencode(pairs, safe=",") if pairs else ""


def from_query(
    state: T, readers: Mapping[str, Callable[[str], Any]], query: str
) -> tuple[T, list[str]]:
    """(the ``state`` with what a query says, a sentence for each part that cannot be read).

    Parts that cannot be read keep what they had, names without a reader are left alone.
    """
    faults: list[str] = []
    try:
        pairs = parse_qsl(query.lstrip("?"), max_num_fields=MOST_PARTS)
    except ValueError:
        return state, ["The address has too many parts: the usual picture is shown."]
    for name, text in pairs:
        if name not in readers:
            continue
        try:
            given: dict[str, Any] = {name: readers[name](text[:200])}
            state = dataclasses.replace(state, **given)  # type: ignore[type-var]
        except InputError as error:
            faults.append(str(error))
        except ValueError:
            faults.append(f"{name} in the address cannot be read: it keeps its default.")
    return state, faults


def joined(*queries: str) -> str:
    """One query of several.

    >>> joined("?a=1", "", "?b=2")
    '?a=1&b=2'
    """
    parts = [query.lstrip("?") for query in queries if query.lstrip("?")]
    return "?" + "&".join(parts) if parts else ""


def one_of(name: str, value: object, choices: Iterable[object]) -> None:
    """`InputError` unless ``value`` is one of the ``choices``."""
    choices = tuple(choices)
    if value not in choices:
        texts = [f"{c:g}" if isinstance(c, float) else str(c) for c in choices]
        texts = [*texts[:2], f"… {texts[-2]}", texts[-1]] if len(texts) > 12 else texts
        raise InputError(f"{name} must be one of {', '.join(texts)}, got {value!r}.")


def short_text(name: str, value: str, most: int) -> None:
    """`InputError` for a text that is longer than a link should hold."""
    if len(value) > most:
        raise InputError(f"{name} must be at most {most} characters.")


def floats(text: str) -> tuple[float, ...]:
    """``"2,inf"`` → (2.0, inf)."""
    return tuple(float(part) for part in text.split(","))


def switch(text: str) -> bool:
    """``"1"`` and ``"0"``; ValueError for anything else."""
    return ("0", "1").index(text) == 1


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        return ",".join(_written(part) for part in value)
    if isinstance(value, float):
        return "inf" if math.isinf(value) else f"{value:.6g}"
    return str(value)
