"""A damaged HDF5 file can crash or hang the HDF5 library, so another process reads it first, and
writes the copy of it that is the output.

What the library does to a damaged file depends on what is written: how large packed chunks become
decides whether their index changes.
"""

import io
import math
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .limits import check_entries

if TYPE_CHECKING:
    import h5py

# Seconds of the clock, where a machine may be busy with other work, and of the processor, of which
# the libraries take one to load; and bytes per second beyond that, far below what any disk reads.
_PATIENCE, _WORK = 20.0, 4
_PACE = 5e6
_LONGER = 10  # the output may take so many times as long: a fit would be lost with it
_OVERTIME = -getattr(signal, "SIGXCPU", 24)  # the exit code where time was up
_SPOILED = 3  # the exit code of a process that could read everything, but not write
_PART = 1000  # rows and columns of an array that are written into to try it
_ENDLESS = "the HDF5 library does not come to an end with it"


def check_survival(path: Path) -> None:
    """ValueError if reading and changing the file ends a process of Python, or never ends."""
    code, _ = _elsewhere([str(path)], path.stat().st_size)
    judge(code)


def rewritten(content: bytes, name: str, array: np.ndarray) -> bytes:
    """The HDF5 file ``content`` with this array as its dataset ``name``."""
    given = pickle.dumps((content, name, array), protocol=5)
    code, out = _elsewhere([], _LONGER * (len(content) + array.nbytes), given, _LONGER)
    return accept(code, out, name)


def accept(code: int, out: bytes, name: str) -> bytes:
    """What a process of `rewrite` wrote, if it ended well."""
    with suppress(ValueError):
        judge(code)
        if code == 0:
            return out
    raise InputError(
        f"INPUT: the HDF5 library cannot write into '{name}' of a copy of this file, which seems "
        "to be damaged; mend it with h5repack, or export the dataset."
    )


def _elsewhere(
    arguments: list[str], size: int, given: bytes = b"", patience: int = 1
) -> tuple[int, bytes]:
    """The exit code and the output of this module in a process of its own."""
    work, time = (patience * most + size / _PACE for most in (_WORK, _PATIENCE))
    command = [sys.executable, "-P", "-m", __name__, str(int(work)), *arguments]
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=time)
    except subprocess.TimeoutExpired:
        return _OVERTIME, b""
    return done.returncode, done.stdout


def judge(code: int) -> None:
    """ValueError if a process that has tried a file ended with this code."""
    if code == _OVERTIME:
        raise ValueError(_ENDLESS)
    if code == _SPOILED:
        raise ValueError("the HDF5 library cannot change it; h5repack may mend it")
    if code not in (0, 1):  # 1 is an exception, which the reader meets again
        raise ValueError("the HDF5 library crashes on it")


def check_size(path: Path, dataset: "h5py.Dataset") -> None:
    """`InputError` if a file is far too small for a dataset, or for one of its chunks, which the
    HDF5 library reserves memory for.
    """
    for count in (dataset.size or 0, math.prod(dataset.chunks or ())):
        check_entries(path, count)
        check_entries(path, count * dataset.dtype.itemsize // 8)


def limit(seconds: int) -> None:
    """End this process after so many seconds of the processor, where the system can, and at an
    error of closing something, which Python would ignore.
    """
    sys.unraisablehook = lambda _: os._exit(_SPOILED)
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def attempt(path: str) -> int:
    """Read everything, and write zeros, and numbers that nothing packs, into the arrays of numbers,
    in memory; the exit code.
    """
    content = Path(path).read_bytes()
    names = _read(Path(path), content)
    try:
        for entries in (np.zeros, np.random.default_rng(0).random):
            _fill(content, names, entries)
    except Exception:
        return _SPOILED
    return 0


def _read(path: Path, content: bytes) -> list[str]:
    """Read all names, attributes and arrays; those that may be written into."""
    import h5py

    found: list[str] = []

    def look(name: str, item: h5py.Dataset | h5py.Group) -> None:
        dict(item.attrs)
        if isinstance(item, h5py.Dataset):
            found.append(name)

    numbers = []
    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(look)
        for name in found:
            with suppress(Exception):  # the reader may look at others only
                dataset = file[name]
                if dataset.is_virtual or dataset.external:
                    continue
                check_size(path, dataset)
                dataset[()]
                if dataset.ndim in (1, 2) and dataset.size and dataset.dtype.kind in "fiub":
                    numbers.append(name)
    return numbers


def _fill(content: bytes, names: list[str], entries: Callable[[tuple[int, ...]], Any]) -> None:
    import h5py

    with h5py.File(io.BytesIO(content), "r+") as file:  # what is spoilt may show when it is closed
        for name in names:
            with suppress(Exception):  # packed by what only reads; it may not be what is completed
                dataset = file[name]
                shape = tuple(min(n, _PART) for n in dataset.shape)
                end = tuple(slice(n - k, n) for n, k in zip(dataset.shape, shape, strict=True))
                dataset[end] = (100 * entries(shape)).astype(dataset.dtype)


def rewrite(content: bytes, name: str, array: np.ndarray) -> bytes:
    """`rewritten`, in this process."""
    import h5py

    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        if array.dtype == file[name].dtype:
            file[name][...] = array
        else:
            _replace(file, name, array)
    with h5py.File(buffer) as file:
        if not np.array_equal(file[name][()], array, equal_nan=array.dtype.kind == "f"):
            raise ValueError("what is read is not what was written")
    return buffer.getvalue()


def _replace(file: "h5py.File", name: str, array: np.ndarray) -> None:
    """Put a dataset of another type in the place of one, with its storage and attributes."""
    old = file[name]
    attributes = dict(old.attrs)
    storage = {"chunks": old.chunks, "compression": old.compression, "maxshape": old.maxshape}
    if old.chunks is None:
        storage = {}
    del file[name]
    new = file.create_dataset(name, data=array, **storage)
    for key, value in attributes.items():
        new.attrs[key] = np.bytes_("double") if key == "MATLAB_class" else value


if __name__ == "__main__":
    limit(int(sys.argv[1]))
    if sys.argv[2:]:
        sys.exit(attempt(sys.argv[2]))
    out = rewrite(*pickle.load(sys.stdin.buffer))  # from `rewritten`
    sys.stdout.buffer.write(out)
