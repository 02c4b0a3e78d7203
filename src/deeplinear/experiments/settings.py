"""Settings of an experiment changed by the reader: from Python as values, from the command line as
text.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

from ..depths import check_depth
from ..errors import InputError
from ..results.suggest import nearest


def parse_changes(texts: Iterable[str]) -> dict[str, Any]:
    """``NAME=VALUE`` as values: numbers (also ``inf``), ``true``, ``none``, lists, text.

    >>> from deeplinear.experiments.settings import parse_changes
    >>> parse_changes(["depths=3,inf", "runs=500", "method=implicit"])
    {'depths': (3, inf), 'runs': 500, 'method': 'implicit'}
    """
    changes: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        name = name.strip()
        if not sign or not name or not value.strip():
            raise InputError(f"--set must be NAME=VALUE, such as --set runs=500, got {text!r}.")
        if name in changes:
            raise InputError(f"--set gives {name} twice: give it once.")
        changes[name] = _value(value.strip())
    return changes


def change(defaults: Mapping[str, Any], changes: Mapping[str, Any], name: str) -> dict[str, Any]:
    """``defaults`` with ``changes``, each of the kind of what it replaces.

    One value where the default is a list is a list of one. **Raises** `InputError` for a setting
    that the experiment ``name`` does not have, and for a value of another kind.
    """
    settings = dict(defaults)
    for key, value in changes.items():
        if key not in defaults:
            raise InputError(
                f"{key} is no setting of the experiment '{name}': {nearest(key, defaults)}."
            )
        settings[key] = _like(defaults[key], value, key)
        if key in ("depth", "depths"):
            for depth in settings[key] if _is_list(settings[key]) else (settings[key],):
                check_depth(depth)
    return settings


def _value(text: str) -> Any:
    """A Python literal in which ``inf`` and ∞ are numbers; text where it is none."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(re.sub(r"(?<![\w'\"])(?:inf\b|∞)", "1e999", text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        parts = [part.strip() for part in text.split(",")]
        return text if len(parts) == 1 else tuple(map(_value, parts))


def _like(default: Any, value: Any, key: str) -> Any:
    """``value`` if it is of the kind of ``default``, lists as tuples."""
    if isinstance(default, tuple | list):
        values = tuple(value) if _is_list(value) else (value,)
        if not values:
            raise InputError(f"{key} must hold at least one value, got none.")
        return tuple(_like(default[0], item, key) for item in values) if default else values
    if default is None or value is None:
        return value
    if _is_list(value):
        raise InputError(f"{key} must be one value, such as {default!r}, got {value!r}.")
    if isinstance(default, bool) or isinstance(value, bool):
        fits = isinstance(default, bool) and isinstance(value, bool)
    elif isinstance(default, str):
        fits = isinstance(value, str)
    else:
        fits = isinstance(value, Real) and value == value
    if not fits:
        kind = {bool: "true or false", str: "text"}.get(type(default), "a number")
        raise InputError(f"{key} must be {kind}, such as {default!r}, got {value!r}.")
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, tuple | list | range) or getattr(value, "ndim", 0) > 0
