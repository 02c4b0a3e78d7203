"""What a compiled program depends on, as text that is the same in every process."""

import dataclasses
import functools
import hashlib
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from types import MethodType
from typing import Any

import jax
import numpy as np

# Packages whose functions and classes are known by name and version. All others are unknown: a
# function of the user's may be another one tomorrow.
_KNOWN = ("jax", "jaxlib", "numpy", "equinox", "diffrax", "optimistix", "lineax", "jaxtyping")
_OURS = __name__.split(".")[0]
#: Of this package: where programs are made, and all that these import.
FOLDERS = ("", "geometry", "dynamics", "exact", "asymptotics", "verify", "compilation")


class UnknownError(Exception):
    """An argument holds something whose content cannot be told."""


def describe(x: object) -> object:
    """``x`` as nested tuples of text: arrays by shape and type, functions and classes by name."""
    if isinstance(x, jax.ShapeDtypeStruct):
        return "array", x.shape, str(x.dtype), bool(x.weak_type)
    if isinstance(x, type) or (callable(x) and hasattr(x, "__qualname__")):
        return "name", _name(x)
    if isinstance(getattr(x, "fingerprint", None), str):
        return _name(type(x)), x.fingerprint  # type: ignore[attr-defined]
    if isinstance(x, MethodType):
        return "method", describe(x.__func__), describe(x.__self__)
    if isinstance(x, np.ndarray):
        return "numbers", x.shape, str(x.dtype), hashlib.sha256(x.tobytes()).hexdigest()
    if x is None or isinstance(x, bool | int | float | complex | str | np.generic | np.dtype):
        return type(x).__name__, repr(x)
    if isinstance(x, tuple | list):
        return _name(type(x)), *map(describe, x)
    if isinstance(x, dict):
        return "dict", *((describe(key), describe(value)) for key, value in x.items())
    if not getattr(x, "__dict__", True):  # without a state, as sentinels are
        return "object", _name(type(x))
    if dataclasses.is_dataclass(x):
        names = [field.name for field in dataclasses.fields(x)]
        parts = ((name, describe(getattr(x, name, None))) for name in names)
        return _name(type(x)), *parts
    raise UnknownError(type(x).__name__)


def _name(x: object) -> str:
    module, name = getattr(x, "__module__", None) or "", getattr(x, "__qualname__", "<>")
    if module.split(".")[0] not in (_OURS, *_KNOWN, "builtins") or "<" in name:
        raise UnknownError(f"{module}.{name}")
    return f"{module}.{name}"


def digest(*parts: object) -> str:
    """A name for a program that depends on ``parts``, and on all that `_surroundings` holds."""
    return hashlib.sha256(repr((_surroundings(), settings(), parts)).encode()).hexdigest()


def setting(name: str) -> Any:
    """What JAX's setting of this name is here, in this thread."""
    return getattr(jax.config, name)


def settings() -> tuple[object, ...]:
    """The settings of JAX that a program may depend on."""
    values = jax.config.values  # made anew at each access
    return tuple(values[name] for name in _SETTINGS)


_SETTINGS = sorted(name for name in jax.config.values if "cache" not in name)


@functools.cache
def _surroundings() -> tuple[object, ...]:
    """Versions, our own source, the device and the flags of the compiler."""
    device = jax.devices()[0]
    return (
        sys.version_info[:2],
        [(name, version(name)) for name in _KNOWN],
        _source(),
        (device.platform, device.device_kind, device.client.platform_version),
        (platform.machine(), _processor(), os.cpu_count()),
        [(name, os.environ.get(name)) for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")],
    )


def _source() -> str:
    """The source of this package: a program is as old as any line that it was made from."""
    root, found = Path(__file__).parent.parent, hashlib.sha256()
    for folder in FOLDERS:
        files = (root / folder).rglob("*.py") if folder else root.glob("*.py")
        for file in sorted(files):
            found.update(file.read_bytes())
    return found.hexdigest()


def _processor() -> str:
    """What instructions there are."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = [line for line in file if line.startswith(("flags", "Features", "model name"))]
        return hashlib.sha256("".join(sorted(set(lines))).encode()).hexdigest()
    except OSError:
        return platform.processor()


def is_known(kind: type) -> bool:
    """Whether the class is this library's own, or of a package that is known by its version."""
    try:
        return bool(_name(kind)) and kind.__module__ != "builtins"
    except UnknownError:
        return False
