"""Blocks of lines, worked off by a few threads. The blocks depend on the data alone, so that sums come out the same."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import InputError

# Entries per block: enough to forget the cost of a call, few enough to share out evenly.
BLOCK = 1 << 17


def check_threads(threads: int | None) -> int:
    """The number of threads to use: all cores this process may run on, unless told otherwise."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads < 1 or threads != int(threads):
        raise InputError(f"threads must be a positive integer or None (all cores), got {threads!r}.")
    return int(threads)


def blocks(indptr: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of lines with about `BLOCK` entries (and at most as many lines) each, in order, covering all lines."""
    lines = len(indptr) - 1
    work = indptr[1:] + np.arange(1, lines + 1)
    ends = np.searchsorted(work, np.arange(BLOCK, work[-1] if lines else 0, BLOCK)) + 1
    edges = np.unique(np.r_[0, ends, lines])
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


class Workers:
    """Runs ``call(lo, hi)`` for every block, on ``threads`` threads, and returns the results in the order of the blocks."""

    def __init__(self, pool: ThreadPoolExecutor | None, threads: int) -> None:
        self._pool, self.threads = pool, threads

    def run(self, ranges: list[tuple[int, int]], call: Callable[[int, int], Any]) -> list[Any]:
        if self._pool is None or len(ranges) < 2:
            return [call(lo, hi) for lo, hi in ranges]
        return list(self._pool.map(lambda pair: call(*pair), ranges))


@contextmanager
def workers(threads: int | None) -> Iterator[Workers]:
    """`Workers` for the duration of a ``with`` block, BLAS kept to the same number of threads."""
    from threadpoolctl import threadpool_limits

    count = check_threads(threads)
    with threadpool_limits(count, user_api="blas"):
        if count == 1:
            yield Workers(None, 1)
            return
        with ThreadPoolExecutor(count, thread_name_prefix="deeplinear") as pool:
            yield Workers(pool, count)
