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
from ..errors import InputError
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
    program = [Path(sys.argv[0]).name]
    if program == ["__main__.py"]:  # python -m package
        program = ["python", "-m", Path(sys.argv[0]).parent.name]
    return printable(shlex.join([*program, *sys.argv[1:]]))


def machine() -> str:
    """Operating system, architecture and the number of processors that this process may use."""
    return f"{platform.system()} {platform.machine()}, {processor_count()} processors"


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest in ``path``, empty if there is none; `InputError` if it is not a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, str(error) or type(error).__name__) from None
    if not isinstance(content, dict):
        raise unreadable(path, "it is no JSON object")
    return content


def unreadable(path: Path, why: str) -> InputError:
    """The error about a manifest that is none."""
    return InputError(
        f"manifest: '{path}' is not the record of a store ({why}); remove it, and a new one is "
        "begun."
    )


def write_manifest(path: Path, content: dict[str, Any]) -> None:
    """Write JSON with sorted keys, whole or not at all."""
    write_atomically(
        path, (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    )
