"""Where deeplinear keeps things: whether it may, how large they are, and how much room is left."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from .finding import Finding, look

SECTION = "folders"
_ROOM = 100 << 20  # bytes that should be free


def findings() -> list[Finding]:
    """Findings about caches, the temporary and the current folder."""
    return [
        look(SECTION, "compiled programs", "set DEEPLINEAR_CACHE", _programs),
        look(SECTION, "compiled loops' cache", "set NUMBA_CACHE_DIR", _loops),
        look(SECTION, "data sets", "set DEEPLINEAR_DATA", _data),
        look(SECTION, "temporary folder", "set TMPDIR to a folder with room", _temporary),
        look(SECTION, "current folder", "change to another", _current),
    ]


def _programs() -> Finding:
    from ..compilation import cache_folder

    name, place = "compiled programs", cache_folder()
    if place is None:
        text = "nothing is kept, as DEEPLINEAR_CACHE says: every process compiles anew."
        return Finding(SECTION, name, None, text, {})
    return _place(name, place, "set DEEPLINEAR_CACHE to a folder of yours")


def _data() -> Finding:
    from ..datasets.cache import cache_place

    fix = "set DEEPLINEAR_DATA to a folder of yours"
    return _place("data sets", cache_place(), fix, ("compiled",))  # these have a line of their own


def _loops() -> Finding:
    """numba keeps them beside the source, or in a folder of the user where it may not."""
    from ..completion.backends import loops

    place = Path(getattr(loops.solve, "stats").cache_path or "")  # noqa: B009
    name = "compiled loops' cache"
    if not place.name:
        text = "nothing is kept, so that every process compiles; set NUMBA_CACHE_DIR."
        return Finding(SECTION, name, False, text, {})
    return _place(name, place, "set NUMBA_CACHE_DIR to a folder of yours")


def _temporary() -> Finding:
    return _place("temporary folder", Path(tempfile.gettempdir()), "set TMPDIR", None)


def _current() -> Finding:
    found = _place("current folder", Path.cwd(), "results need another --output", None)
    if not found.figures["writable"] and found.figures["free"] >= _ROOM:
        text = f"{Path.cwd()} lets us not write; give results a place elsewhere."
        return Finding(SECTION, found.name, None, text, found.figures)
    return found


def _place(name: str, path: Path, fix: str, skip: Sequence[str] | None = ()) -> Finding:
    """A folder that may not exist yet; ``skip`` (None: all) of it does not count in its size."""
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    free, writable = shutil.disk_usage(there).free, _is_writable(there)
    size = 0 if skip is None or there != path else sum(_sizes(path, skip))
    figures = {"path": str(path), "bytes": size, "free": free, "writable": writable}
    if not writable:
        return Finding(SECTION, name, False, f"{path} lets us not write; {fix}.", figures)
    if free < _ROOM:
        text = f"{path} has {free / 1e6:.0f} MB left; free some room, or {fix}."
        return Finding(SECTION, name, False, text, figures)
    kept = "" if skip is None else f"{size / 1e6:.1f} MB kept, "
    text = f"{path} ({kept}{free / 1e9:.1f} GB free)."
    return Finding(SECTION, name, True, text, figures)


def _is_writable(folder: Path) -> bool:
    """Asking the file system is the only test that also sees read-only mounts and quotas."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"deeplinear")
    except OSError:
        return False
    return True


def _sizes(folder: Path, skip: Sequence[str]) -> Iterator[int]:
    """Bytes of every file below ``folder``; what vanishes or may not be read counts nothing."""
    for place, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if name not in skip]
        for name in names:
            try:
                yield os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
