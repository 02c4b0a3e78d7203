"""Files of models and of running fits: arrays and a JSON header, with a checksum.

Layout, all integers little-endian:

    bytes 0–7 the signature 89 44 4C 4E 0D 0A 1A 0A ("\\x89DLN\\r\\n\\x1a\\n": text-mode transfers
    damage it visibly) bytes 8–11 format version, uint32 (this module writes 1) bytes 12–19 length h
    of the header, uint64 next h bytes header, UTF-8 JSON: {"kind": …, "meta": {…}, "arrays":
    [{"name", "dtype", "shape"}, …]} then the arrays in the header's order, C order, little-endian,
    without gaps; dtype is NumPy's, as "<f8" last 32 bytes SHA-256 of everything before

A reader checks signature, version, checksum, then the header, and that the arrays fill the file;
NaN and infinities are {"float": "inf"}. The checksum tells damage, not intent: what the numbers
are used for is checked by who reads them, against the schema by which they were written.
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
# What contents of another form than those that are written come to.
_STRANGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
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
        "meta": _encode(meta),
        "arrays": [
            {"name": name, "dtype": a.dtype.str, "shape": arrays[name].shape}
            for name, a in plain.items()
        ],
    }
    text = json.dumps(header, ensure_ascii=False, allow_nan=False).encode()
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
    """Turn what comes of contents that this library does not write into one `InputError`."""
    try:
        yield
        return
    except InputError as error:
        if str(error).startswith(f"{name}: '{path}'"):
            raise
        reason = str(error)
    except _STRANGE as error:
        reason = f"{type(error).__name__}: {error}"
    reason = " ".join(reason.split()).rstrip(".")
    raise InputError(
        f"{name}: '{path}' holds what this deeplinear does not write ({reason[:160]}); "
        f"{fix or 'save it again'}."
    )


def named(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays with ``prefix`` before each name."""
    return {prefix + name: array for name, array in arrays.items()}


def grouped(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


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
        raise ValueError("its header is longer than the file")
    header = json.loads(data[_FIXED:begin], parse_constant=_no_constant)
    kind, meta, listed = header["kind"], _decode(header["meta"]), header["arrays"]
    names = isinstance(kind, str) and kind.isidentifier()
    if not (names and isinstance(meta, dict) and isinstance(listed, list)):
        raise ValueError("its header has another form")
    return kind, meta, listed, begin


def _no_constant(text: str) -> float:
    raise ValueError(f"its header holds {text}")


def _arrays(body: memoryview, listed: list[dict[str, Any]]) -> Arrays:
    """The arrays that fill ``body`` as they are ``listed``."""
    arrays: Arrays = {}
    position = 0
    for entry in listed:
        name, shape = entry["name"], entry["shape"]
        if not (isinstance(name, str) and isinstance(shape, list)) or name in arrays:
            raise ValueError("an array has no name of its own, or no shape")
        if entry["dtype"] not in _DTYPES or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"the array {name} has the type {entry['dtype']} and shape {shape}")
        dtype, count = np.dtype(entry["dtype"]), math.prod(shape)
        if count * dtype.itemsize > len(body) - position:
            raise ValueError(f"the array {name} is longer than the file")
        flat = np.frombuffer(body, dtype, count, position)
        if dtype.kind == "b" and (flat.view(np.uint8) > 1).any():
            raise ValueError(f"the array {name} holds what is neither true nor false")
        arrays[name] = flat.reshape(shape).astype(dtype.newbyteorder("="))
        position += count * dtype.itemsize
    if position != len(body):
        raise ValueError("the arrays do not fill the file")
    return arrays


def _encode(value: Any) -> Any:
    """JSON without NaN or infinity: those become {"float": "inf"}, tuples {"tuple": [...]}."""
    if isinstance(value, dict):
        return {key: _encode(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return {"tuple": [_encode(part) for part in value]}
    if isinstance(value, list):
        return [_encode(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(
        f"a parameter of the type {type(value).__name__} cannot be saved in a model file: set it "
        "to a number or None."
    )


def _decode(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"float"}:
        return _SPECIAL[value["float"]]
    if isinstance(value, dict) and set(value) == {"tuple"}:
        return tuple(_decode(part) for part in value["tuple"])
    if isinstance(value, dict):
        return {key: _decode(part) for key, part in value.items()}
    return [_decode(part) for part in value] if isinstance(value, list) else value
