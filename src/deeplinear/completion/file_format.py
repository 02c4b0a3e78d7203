"""Files of models and of running fits: arrays and a JSON header, with a checksum.

Layout, all integers little-endian:

    bytes 0–7     the signature 89 44 4C 4E 0D 0A 1A 0A ("\\x89DLN\\r\\n\\x1a\\n": text-mode
                  transfers damage it visibly)
    bytes 8–11    format version, uint32 (this module writes 1)
    bytes 12–19   length h of the header, uint64
    next h bytes  header, UTF-8 JSON: {"kind": …, "meta": {…},
                  "arrays": [{"name", "dtype", "shape"}, …]}
    then          the arrays in the header's order, C order, little-endian, without gaps; dtype is
                  NumPy's, as "<f8"
    last 32 bytes SHA-256 of everything before

A reader checks signature, version, checksum, then that the header is written as `to_json` writes
it, and that the arrays fill the file; NaN and infinities are {"float": "inf"}. The checksum tells
damage, not intent: what the numbers are used for is checked by who reads them, against the schema
by which they were written (`schema`), and nothing may be left over.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_atomically
from ..errors import InputError

SIGNATURE = b"\x89DLN\r\n\x1a\n"
VERSION = 1
_FIXED = len(SIGNATURE) + 4 + 8
_DIGEST = 32
_DTYPES = {f"<{kind}{size}" for kind in "fiu" for size in (2, 4, 8)} | {"|i1", "|u1", "|b1"}
_DEEPEST = 20  # records and lists in each other
_LONGEST = 2**48  # of an array along any side; more than fits anywhere, and still an index
_SPECIAL = {repr(x): x for x in (math.inf, -math.inf, math.nan)}

Meta = dict[str, Any]  # what JSON carries
Arrays = dict[str, np.ndarray]


def pack(kind: str, meta: Meta, arrays: Arrays) -> bytes:
    """The bytes of a model file."""
    plain = {
        name: np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        for name, array in arrays.items()
    }
    for name, array in plain.items():
        if array.dtype.str not in _DTYPES:
            raise InputError(
                f"the array {name} of type {array.dtype} cannot be saved: only real numbers of at "
                "most 64 bits can."
            )
    header = {
        "kind": kind,
        "meta": _encode(meta, _DEEPEST),
        "arrays": [
            {"name": name, "dtype": a.dtype.str, "shape": arrays[name].shape}
            for name, a in plain.items()
        ],
    }
    text = to_json(header)
    body = b"".join(
        [SIGNATURE, VERSION.to_bytes(4, "little"), len(text).to_bytes(8, "little"), text]
        + [array.tobytes() for array in plain.values()]
    )
    return body + hashlib.sha256(body).digest()


def write(path: str | os.PathLike[str], kind: str, meta: Meta, arrays: Arrays) -> None:
    """`pack` into a file, which is replaced as a whole or not at all."""
    data = pack(kind, meta, arrays)
    try:
        write_atomically(Path(path), data)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise InputError(
            f"path: '{path}' cannot be written ({_reason(error)}); give another place."
        ) from None


def unpack(
    path: str | os.PathLike[str], kind: str, *, name: str = "path", fix: str | None = None
) -> tuple[Meta, Arrays]:
    """(meta, arrays) of a file of the given kind.

    ``name`` begins the messages, ``fix`` ends them.

    **Raises** `InputError` for a file that is missing, of another sort or kind, of an unknown
    version, cut short, or changed.
    """

    def refusal(what: str, usual: str) -> InputError:
        return InputError(f"{name}: '{path}' {what}; {fix or usual}.")

    try:
        with Path(path).open("rb") as file:
            data = file.read(_FIXED)
            if data[: len(SIGNATURE)] != SIGNATURE:
                what = "is not a deeplinear model file (its signature is missing)"
                raise refusal(what, "give a saved model")
            data += file.read()
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise refusal(f"cannot be read ({_reason(error)})", "check the name") from None
    damaged = refusal("is damaged or cut short (its checksum is wrong)", "save or copy it again")
    if len(data) < _FIXED + _DIGEST:
        raise damaged
    version = int.from_bytes(data[8:12], "little")
    if not 1 <= version <= VERSION:
        what = f"has the format version {version}, and this deeplinear reads up to {VERSION}"
        raise refusal(what, "update deeplinear")
    view = memoryview(data)
    if hashlib.sha256(view[:-_DIGEST]).digest() != view[-_DIGEST:]:
        raise damaged
    with unreadable(path, name=name, fix=fix):
        found, meta, listed, begin = _header(data)
        if found != kind:
            raise refusal(f"holds a {found}, not a {kind}", "load it with that class")
        return meta, _arrays(view[begin:-_DIGEST], listed)


def _reason(error: Exception) -> object:
    return getattr(error, "strerror", None) or error


@contextmanager
def unreadable(
    path: str | os.PathLike[str], *, name: str = "path", fix: str | None = None
) -> Iterator[None]:
    """Let an `InputError` about contents name the file in which they are, and the fix."""
    try:
        yield
        return
    except InputError as error:
        if str(error).startswith(f"{name}: '{path}'"):
            raise
        reason = str(error)
    reason = " ".join(reason.split()).rstrip(".")
    raise InputError(
        f"{name}: '{path}' holds what this deeplinear does not write ({reason[:160]}); "
        f"{fix or 'save it again'}."
    )


def named(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays with ``prefix`` before each name."""
    return {prefix + name: array for name, array in arrays.items()}


def take_group(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays whose names begin with ``prefix``, without it; taken out of ``arrays``."""
    names = [name for name in arrays if name.startswith(prefix)]
    return {name.removeprefix(prefix): arrays.pop(name) for name in names}


def to_json(value: Any) -> bytes:
    """JSON text, UTF-8; half characters, which undecodable names contain, pass."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")


def from_json(data: bytes, name: str) -> Any:
    """The value whose `to_json` is ``data``; `InputError` that calls it ``name`` if there is none.

    No other spelling is read: no key comes twice, and no number is written in two ways.
    """
    try:
        value = json.loads(data.decode("utf-8", "surrogatepass"))
        if to_json(value) == data:
            return value
    except (ValueError, RecursionError):
        pass
    raise InputError(f"{name} is not written as JSON is here.")


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """What kind a file says it holds, from its header alone; None where that is unreadable.

    `unpack` says why.
    """
    try:
        with Path(path).open("rb") as file:
            fixed = file.read(_FIXED)
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(fixed[12:20], "little")
            if fixed[: len(SIGNATURE)] != SIGNATURE or length > size:
                return None
            kind = json.loads(file.read(length))["kind"]
            return kind if isinstance(kind, str) and kind.isidentifier() else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _header(data: bytes) -> tuple[str, Meta, list[dict[str, Any]], int]:
    """The kind, the meta data, what is said of the arrays, and where these begin."""
    begin = _FIXED + int.from_bytes(data[12:20], "little")
    if begin > len(data) - _DIGEST:
        raise InputError("its header is longer than the file.")
    match from_json(data[_FIXED:begin], "its header"):
        case {"kind": str(kind), "meta": dict(meta), "arrays": list(listed), **rest}:
            content = _decode(meta, _DEEPEST)
            if kind.isidentifier() and isinstance(content, dict) and not rest:
                return kind, content, listed, begin
    raise InputError("its header has another form.")


def _arrays(body: memoryview, listed: list[dict[str, Any]]) -> Arrays:
    """The arrays that fill ``body`` as they are ``listed``."""
    arrays: Arrays = {}
    position = 0
    for entry in listed:
        name, dtype, shape = _listed(entry)
        count = math.prod(shape)
        if name in arrays:
            raise InputError(f"the array {name} comes twice.")
        if count * dtype.itemsize > len(body) - position:
            raise InputError(f"the array {name} is longer than the file.")
        flat = np.frombuffer(body, dtype, count, position)
        if dtype.kind == "b" and (flat.view(np.uint8) > 1).any():
            raise InputError(f"the array {name} holds what is neither true nor false.")
        arrays[name] = flat.reshape(shape).astype(dtype.newbyteorder("="))
        position += count * dtype.itemsize
    if position != len(body):
        raise InputError("the arrays do not fill the file.")
    return arrays


def _listed(entry: Any) -> tuple[str, np.dtype[Any], list[int]]:
    """Name, type and shape of an array, as the header lists them."""
    match entry:
        case {"name": str(name), "dtype": str(dtype), "shape": list(shape), **rest}:
            sides = [n for n in shape if type(n) is int and n >= 0]
            right = len(sides) == len(shape) and math.prod(n or 1 for n in sides) < _LONGEST
            if right and dtype in _DTYPES and not rest:
                return name, np.dtype(dtype), shape
    raise InputError("an array has no name, type and shape.")


def _encode(value: Any, room: int) -> Any:
    """JSON without NaN or infinity: those become {"float": "inf"}, tuples {"tuple": [...]}.

    ``room``: so many records and lists may be in each other.
    """
    if isinstance(value, np.generic):
        value = value.item()
    special = isinstance(value, float) and not math.isfinite(value)
    if value is None or (isinstance(value, bool | int | float | str) and not special):
        return value
    if room < 1:
        raise InputError("a parameter cannot be saved in a model file: it is nested too deeply.")
    match value:
        case float():
            return {"float": repr(value)}
        case dict():
            return {key: _encode(part, room - 1) for key, part in value.items()}
        case tuple():
            return {"tuple": [_encode(part, room - 1) for part in value]}
        case list():
            return [_encode(part, room - 1) for part in value]
    raise InputError(
        f"a parameter of the type {type(value).__name__} cannot be saved in a model file: set it "
        "to a number or None."
    )


def _decode(value: Any, room: int) -> Any:
    """What `_encode` was given; ``room``: so many records and lists may be in each other."""
    if not isinstance(value, dict | list):
        return value
    if room < 1:
        raise InputError("its header is nested too deeply.")
    match value:
        case {"float": word, **rest} if not rest:
            if not (isinstance(word, str) and word in _SPECIAL):
                raise InputError("its header holds a number that is none.")
            return _SPECIAL[word]
        case {"tuple": list(parts), **rest} if not rest:
            return tuple(_decode(part, room - 1) for part in parts)
        case dict():
            return {key: _decode(part, room - 1) for key, part in value.items()}
    return [_decode(part, room - 1) for part in value]
