"""A damaged HDF5 file can crash or hang the HDF5 library, so another process reads it first."""

import io
import math
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .limits import check_entries

if TYPE_CHECKING:
    import h5py

# Seconds of the clock, where a machine may be busy with other work, and of the processor, of which
# the libraries take one to load; and bytes per second beyond that, far below what any disk reads.
_PATIENCE, _WORK = 20.0, 4
_PACE = 5e6
_ENDLESS = "the HDF5 library does not come to an end with it"


def check_survival(path: Path) -> None:
    """ValueError if reading and changing the file ends a process of Python, or never ends."""
    more = path.stat().st_size / _PACE
    command = [sys.executable, "-P", "-m", __name__, str(path), str(_WORK + int(more))]
    try:
        code = subprocess.run(command, capture_output=True, timeout=_PATIENCE + more).returncode
    except subprocess.TimeoutExpired:
        raise ValueError(_ENDLESS) from None
    judge(code)


def judge(code: int) -> None:
    """ValueError if a process that has tried a file ended with this code."""
    if code == -getattr(signal, "SIGXCPU", 0):
        raise ValueError(_ENDLESS)
    if code not in (0, 1):  # 1 is an exception, which the reader meets again
        raise ValueError("the HDF5 library crashes on it")


def check_size(path: Path, dataset: "h5py.Dataset") -> None:
    """`InputError` if a file is far too small for a dataset, or for one of its chunks, which the
    HDF5 library reserves memory for.
    """
    for count in (dataset.size or 0, math.prod(dataset.chunks or ())):
        check_entries(path, count)
        check_entries(path, count * dataset.dtype.itemsize // 8)


def limit_work(seconds: int) -> None:
    """End this process after so many seconds of the processor, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def attempt(path: str) -> None:
    """Read all names, attributes and matrices, and write an entry of each matrix, in memory."""
    import h5py

    found: list[h5py.Dataset] = []

    def look(name: str, item: h5py.Dataset | h5py.Group) -> None:
        dict(item.attrs)
        if isinstance(item, h5py.Dataset):
            found.append(item)

    with h5py.File(io.BytesIO(Path(path).read_bytes()), "r+") as file:
        file.visititems(look)
        for dataset in found:
            with suppress(Exception):  # the reader may look at others only
                if dataset.is_virtual or dataset.external:
                    continue
                check_size(Path(path), dataset)
                dataset[()]
                if dataset.ndim == 2 and dataset.size:
                    dataset[-1, -1] = dataset[-1, -1]


if __name__ == "__main__":
    limit_work(int(sys.argv[2]))
    attempt(sys.argv[1])
