"""Settings as text, with one spelling of every value: to be stored, compared and hashed."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np

from ..errors import InputError

# What the JSON format can hold.
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def canonical(value: object) -> Json:
    """``value`` as plain JSON: keys sorted, tuples and arrays as lists, ∞ as ``"inf"``, whole
    floats as integers.

    So depth 3 and depth 3.0 are one setting, from Python as from a file. `InputError` for NaN and
    for what is not data.

    >>> from deeplinear.results.parameters import canonical
    >>> canonical({"depth": (2.0, float("inf")), "a": 1e-3})
    {'a': 0.001, 'depth': [2, 'inf']}
    """
    if isinstance(value, dict):
        return {str(key): canonical(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return _number(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise InputError(
        f"a setting must be a number, a text or a list of them, got {value!r}: pass its name "
        "instead."
    )


def _number(value: float) -> int | float | str:
    if math.isnan(value):
        raise InputError(
            "a setting must be a number, a text or a list of them, got NaN: leave it out instead."
        )
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def encode(parameters: Mapping[str, object]) -> str:
    """The one spelling of a set of settings (sorted JSON)."""
    return json.dumps(canonical(parameters), sort_keys=True, ensure_ascii=False, allow_nan=False)


def derive_seed(*parts: object) -> int:
    """A seed of 63 bits that depends on the values of ``parts`` alone, on any machine.

    >>> from deeplinear.results.parameters import derive_seed
    >>> derive_seed("start", 3, {"size": 10}) == derive_seed("start", 3.0, {"size": 10})
    True
    """
    text = json.dumps(canonical(parts), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def differences(stored: str, asked: str) -> list[str]:
    """In words, where two sets of settings (as `encode` spells them) differ."""
    return list(_differences(json.loads(stored), json.loads(asked), ""))


def _differences(stored: Json, asked: Json, path: str) -> Iterator[str]:
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in sorted({*stored, *asked}):
            yield from _differences(
                stored.get(key), asked.get(key), f"{path}.{key}" if path else key
            )
    elif stored != asked:
        yield f"{path} is {_short(stored)} in the store and {_short(asked)} now"


def _short(value: Json) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    if len(text) <= 60:
        return text
    values = f" ({len(value)} values)" if isinstance(value, list | dict | str) else ""
    return f"{text[:50]} …{values}"
