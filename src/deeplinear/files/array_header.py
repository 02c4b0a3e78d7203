"""What the first bytes of NumPy's ``.npy`` say of the array behind them."""

import math
from typing import IO

import numpy as np


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape and type of an array, which may hold objects that need unpickling, and where its
    entries begin.
    """
    readers = {(1, 0): np.lib.format.read_array_header_1_0}
    reader = readers.get(np.lib.format.read_magic(file), np.lib.format.read_array_header_2_0)
    shape, _, dtype = reader(file)
    return shape, dtype, file.tell()


def check_length(file: IO[bytes], size: int) -> None:
    """ValueError unless the header of an array announces what a file of ``size`` bytes holds, which
    NumPy would reserve memory for before it looks.
    """
    shape, dtype, start = read_header(file)
    needed, there = math.prod(shape) * dtype.itemsize, size - start
    if not dtype.hasobject and 0 <= needed < there:
        raise ValueError("it goes on behind the array")
    if not dtype.hasobject and needed != there:
        raise ValueError(f"its header speaks of {needed:,} bytes, and there are {there:,}")
