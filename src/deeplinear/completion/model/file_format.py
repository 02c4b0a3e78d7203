"""Model files: arrays and a JSON header in one documented, versioned, checksummed file.

A reader takes numbers and text only and unpickles nothing.

Layout, all integers little-endian:

    bytes 0–7 the signature 89 44 4C 4E 0D 0A 1A 0A ("\\x89DLN\\r\\n\\x1a\\n": text-mode transfers
    damage it visibly) bytes 8–11 format version, uint32 (this module writes 1) bytes 12–19 length h
    of the header, uint64 next h bytes header, UTF-8 JSON: {"kind": …, "meta": {…}, "arrays":
    [{"name", "dtype", "shape"}, …]} then the arrays in the header's order, C order, little-endian,
    without gaps; dtype is NumPy's, as "<f8" last 32 bytes SHA-256 of everything before

A reader checks signature, version, checksum, then the header; NaN and infinities are {"float":
"inf"}.
"""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic import write_atomically
from ...errors import InputError

SIGNATURE = b"\x89DLN\r\n\x1a\n"
VERSION = 1
_FIXED = len(SIGNATURE) + 4 + 8
_DIGEST = 32


def pack(kind: str, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of a model file."""
    plain = {
        name: np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        for name, array in arrays.items()
    }
    for name, array in plain.items():
        if array.dtype.kind not in "fiub":
            raise InputError(
                f"the array {name} of type {array.dtype} cannot be saved: only real numbers can."
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


def write(
    path: str | os.PathLike[str], kind: str, meta: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """`pack` into a file, which is replaced as a whole or not at all."""
    try:
        write_atomically(Path(path), pack(kind, meta, arrays))
    except OSError as error:
        raise InputError(
            f"path: '{path}' cannot be written ({error.strerror}); give another place."
        ) from None


def unpack(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(meta, arrays) of a model file of the given kind.

    **Raises** `InputError` for a file that is missing, of another sort or kind, of a newer version,
    cut short, or changed.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"path: '{path}' cannot be read ({error.strerror}); check the name."
        ) from None
    if data[: len(SIGNATURE)] != SIGNATURE:
        raise InputError(
            f"path: '{path}' is not a deeplinear model file (its signature is missing); give a "
            "saved model."
        )
    version = int.from_bytes(data[8:12], "little")
    if version > VERSION:
        raise InputError(
            f"path: '{path}' has the format version {version}, and this deeplinear reads up to "
            f"{VERSION}: update deeplinear."
        )
    if len(data) < _FIXED + _DIGEST or hashlib.sha256(data[:-_DIGEST]).digest() != data[-_DIGEST:]:
        raise InputError(
            f"path: '{path}' is damaged or cut short (its checksum is wrong); save or copy it "
            "again."
        )
    length = int.from_bytes(data[12:20], "little")
    header = json.loads(data[_FIXED : _FIXED + length])
    if header["kind"] != kind:
        raise InputError(
            f"path: '{path}' holds a {header['kind']}, not a {kind}; load it with that class."
        )
    arrays, position = {}, _FIXED + length
    for entry in header["arrays"]:
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        count = math.prod(shape)
        arrays[entry["name"]] = (
            np.frombuffer(data, dtype, count, position)
            .reshape(shape)
            .astype(dtype.newbyteorder("="))
        )
        position += count * dtype.itemsize
    return _decode(header["meta"]), arrays


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """What kind a model file says it holds, from its header alone; None where that is unreadable.

    `unpack` says why.
    """
    try:
        with Path(path).open("rb") as file:
            fixed = file.read(_FIXED)
            if fixed[: len(SIGNATURE)] != SIGNATURE:
                return None
            return json.loads(file.read(int.from_bytes(fixed[12:20], "little")))["kind"]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError):
        return None


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
        return float(value["float"])
    if isinstance(value, dict) and set(value) == {"tuple"}:
        return tuple(_decode(part) for part in value["tuple"])
    if isinstance(value, dict):
        return {key: _decode(part) for key, part in value.items()}
    return [_decode(part) for part in value] if isinstance(value, list) else value
