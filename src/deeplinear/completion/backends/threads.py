"""Blocks of lines, worked off by a few threads. The blocks depend on the data alone, so that sums
come out the same.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np

from ...errors import InputError


def check_threads(threads: int | None) -> int:
    """The number of threads to use: all cores this process may run on, unless told otherwise."""
    if threads is None:
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    if threads < 1 or threads != int(threads):
        raise InputError(
            f"threads must be a positive integer or None (all cores), got {threads!r}."
        )
    return int(threads)


class Workers:
    """The two passes over the entries, on the compiled loops of `loops`, by ``threads`` threads."""

    def __init__(self, pool: ThreadPoolExecutor | None, threads: int) -> None:
        self._pool, self.threads = pool, threads

    def run(self, ranges: list[tuple[int, int]], call: Callable[[int, int], Any]) -> list[Any]:
        """``call(lo, hi)`` for every block; the results in the order of the blocks."""
        if self._pool is None or len(ranges) < 2:
            return [call(lo, hi) for lo, hi in ranges]
        return list(self._pool.map(lambda pair: call(*pair), ranges))

    def solve(
        self,
        lines: Any,
        Z: Any,
        Y: Any,
        mean: Any,
        ridge: Any,
        extra: Any,
        scale: Any,
        free: Any,
        steps: int,
    ) -> tuple[Any, ...]:
        """`loops.solve` for all lines, in place: (energy, pull, bend)."""
        from . import loops

        def block(lo: int, hi: int) -> tuple[Any, ...]:
            pull, bend = np.zeros(Z.shape[1]), np.zeros(Z.shape[1])
            energy = loops.solve(
                lo, hi, *lines.arrays, mean, Z, Y, ridge, extra, scale, free, steps, pull, bend
            )
            return energy, pull, bend

        parts = self.run(lines.blocks, block)
        return tuple(sum(part[i] for part in parts) for i in range(3))

    def pull_back(self, lines: Any, Z: Any, Y: Any, X: Any, mean: Any, seed: int) -> Any:
        """`loops.pull_back` for all lines: the rows of R X."""
        from . import loops

        out = np.empty((len(Z), X.shape[1]), Z.dtype)
        self.run(
            lines.blocks,
            lambda lo, hi: loops.pull_back(lo, hi, *lines.arrays, mean, Z, Y, X, out, seed),
        )
        return out


class _OneThread:
    """BLAS with one thread while anyone is inside; what was before comes back when the last one, of
    any thread, leaves.
    """

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._limit: Any = None

    def __enter__(self) -> None:
        from threadpoolctl import threadpool_limits

        with self._lock:
            if not self._inside:
                self._limit = threadpool_limits(1, user_api="blas")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._limit is not None:
                self._limit.restore_original_limits()
                self._limit = None


_one_thread = _OneThread()


@contextmanager
def workers(threads: int | None, device: str = "cpu") -> Iterator[Any]:
    """`Workers` (or `accelerator.Devices`) for the duration of a ``with`` block.

    BLAS keeps to one thread: its part is small, its threads would wait in a busy loop, and its sums
    would depend on them.
    """
    if device not in ("cpu", "gpu", "jax"):
        raise InputError(f'device must be "cpu", "gpu" or "jax", got {device!r}.')
    count = check_threads(threads)
    if device != "cpu":
        from .devices import Devices

        with _one_thread:
            yield Devices(device)
        return
    with _one_thread:
        if count == 1:
            yield Workers(None, 1)
            return
        with ThreadPoolExecutor(count, thread_name_prefix="deeplinear") as pool:
            yield Workers(pool, count)
