"""The manifest: who made a store, with what, when.

It lies beside the data, which so depend on the settings alone.
"""

import json
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ..atomic import write_atomically
from ..labels import printable
from ..processors import processor_count

_PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "diffrax", "xarray", "zarr", "dask", "distributed")


def versions() -> dict[str, str]:
    """Versions of Python, of this library and of what its numbers depend on."""
    from .. import __version__

    found = {"deeplinear": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def version_changes(stored: dict[str, str]) -> list[str]:
    """In words, which versions differ now from those ``stored``."""
    return [
        f"{name} {stored.get(name, 'none')} → {new}"
        for name, new in versions().items()
        if stored.get(name) != new
    ]


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def command() -> str:
    """The command line of this process, as one would type it; what is not text is escaped."""
    program = Path(sys.argv[0]).name
    return printable(shlex.join([program, *sys.argv[1:]]))


def machine() -> str:
    """Operating system, architecture and the number of processors that this process may use."""
    return f"{platform.system()} {platform.machine()}, {processor_count()} processors"


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest in ``path``; empty if there is none, or if it is not JSON (it is a record,
    nothing depends on it).
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_manifest(path: Path, content: dict[str, Any]) -> None:
    """Write JSON with sorted keys, whole or not at all."""
    write_atomically(
        path, (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    )
