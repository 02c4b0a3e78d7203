"""Changes of what a model file or a checkpoint holds, behind a right checksum.

Bytes changed at random would rarely leave a header that can be read: here one number, text, key or
array is another one, as a person or a program with a fault might write it.
"""

import json
import math
import random
from collections.abc import Callable
from copy import deepcopy
from hashlib import sha256
from typing import Any

import numpy as np

Change = Callable[[bytes], bytes]

_FIXED, _DIGEST = 20, 32
_JSON: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 0.5, -0.0, 1e308, -1e308, 5e-324, 10**30, 2**31, 2**63),
    *("", "x", "a\nb", "\ud800", "nan", [], {}, [1, 2], [[1], 2], [None], {"a": 1}, {"tuple": []}),
    *({"tuple": [1, [2]]}, {"float": "nan"}, {"float": "inf"}, {"float": "-inf"}, {"float": 3}),
)
_REALS = (0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 1e308, -1e30, 1e-308, 0.5, 255.0, 2.0**40)
_WHOLES = (0, 1, 2, 3, -1, 127, 255, 2**31 - 1, 2**40)
_DTYPES = ("<f4", "<f8", "<f2", "<i8", "<i4", "<u4", "|u1", "|i1", "|b1", "<u8")


def in_contents(data: bytes, change: Change, chance: random.Random) -> bytes:
    """``data`` with one thing or a few of its contents changed, by ``change`` where it is text."""
    body = data[:-_DIGEST]
    if chance.random() < 0.2:  # the signature and the numbers after it may stay
        cut = chance.choice([0, 8, _FIXED])
        return signed(body[:cut] + change(body[cut:]))
    try:
        header, arrays = _opened(body)
    except Exception:  # a header of any form
        return signed(body[:8] + change(body[8:]))
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        try:
            if chance.random() < 0.5 or not arrays:
                header["meta"] = _json(header["meta"], change, chance)
            else:
                _array(arrays, change, chance)
        except Exception:
            break  # what was changed before is no array any more
    try:
        return _closed(body[:12], header, arrays)
    except Exception:
        return signed(body)


def signed(body: bytes) -> bytes:
    """With the checksum that belongs to it."""
    return body + sha256(body).digest()


def _opened(body: bytes) -> tuple[dict[str, Any], list[list[Any]]]:
    """(header, [name, dtype, shape, bytes] of each array)."""
    begin = _FIXED + int.from_bytes(body[12:_FIXED], "little")
    header = json.loads(body[_FIXED:begin])
    arrays = []
    for entry in header["arrays"]:
        size = math.prod(entry["shape"]) * np.dtype(entry["dtype"]).itemsize
        arrays.append([entry["name"], entry["dtype"], entry["shape"], body[begin : begin + size]])
        begin += size
    return header, arrays


def _closed(fixed: bytes, header: dict[str, Any], arrays: list[list[Any]]) -> bytes:
    listed = [dict(zip(("name", "dtype", "shape"), array, strict=False)) for array in arrays]
    text = json.dumps(header | {"arrays": listed}, ensure_ascii=False)
    content = b"".join(array[3] for array in arrays)
    data = text.encode("utf-8", "surrogatepass")
    return signed(fixed + len(data).to_bytes(8, "little") + data + content)


def _json(value: Any, change: Change, chance: random.Random) -> Any:
    """``value`` with one part of it changed."""
    if isinstance(value, dict | list) and value and chance.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key, fate = chance.choice(keys), chance.random()
        if fate < 0.8:
            value[key] = _json(value[key], change, chance)
        elif fate < 0.9:
            value.pop(key)
        elif isinstance(value, dict):
            value[chance.choice([*keys, "x", "1"])] = deepcopy(value[key])
        else:
            value.append(deepcopy(value[key]))
        return value
    if chance.random() < 0.3:
        try:
            return json.loads(change(json.dumps(value).encode()))
        except (ValueError, RecursionError):
            pass
    return deepcopy(chance.choice(_JSON))


def _array(arrays: list[list[Any]], change: Change, chance: random.Random) -> None:
    """Change one of ``arrays`` in place."""
    array, fate = chance.choice(arrays), chance.random()
    _, dtype, shape, content = array
    values = np.frombuffer(content, dtype).reshape(shape)
    if dtype == "|u1" and fate < 0.5:
        content = change(content)
        array[2], array[3] = [len(content)], content
    elif fate < 0.5 and values.size:
        values = values.copy()
        with np.errstate(all="ignore"):
            values.flat[chance.randrange(values.size)] = _number(values.dtype, chance)
        array[3] = values.tobytes()
    elif fate < 0.7 and values.ndim:
        axis = chance.randrange(values.ndim)
        places = sorted(chance.choices(range(values.shape[axis] or 1), k=values.shape[axis] + 1))
        places = places[: -chance.choice([1, 2])] if chance.random() < 0.7 else places
        values = np.take(values, places, axis, mode="clip") if values.size else values
        array[2], array[3] = list(values.shape), values.tobytes()
    elif fate < 0.8:
        kind = chance.choice(_DTYPES)
        with np.errstate(all="ignore"):
            array[1], array[3] = kind, values.astype(kind).tobytes()
    elif fate < 0.85:
        array[2] = chance.choice([shape[::-1], [1, *shape], [values.size], [*shape, 0], [10**4, 0]])
        array[3] = content if math.prod(array[2]) == values.size else b""
    elif fate < 0.9:
        arrays.remove(array)
    else:
        other = chance.choice(arrays)
        array[1:], other[1:] = other[1:], array[1:]


def _number(dtype: np.dtype[Any], chance: random.Random) -> Any:
    if dtype.kind == "f":
        return chance.choice(_REALS)
    return np.array(chance.choice(_WHOLES), np.int64).astype(dtype)
