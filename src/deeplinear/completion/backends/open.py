"""Which backend works on given data, and for how long it holds threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

from threadpoolctl import threadpool_limits

from ...errors import InputError
from ...extras import installed, needed_by
from ...processors import processor_count
from ..data.observations import Observations
from .base import AbstractBackend

DEVICES = ("cpu", "gpu", "jax")
Device = str | AbstractBackend
# A table is dense from one observed cell in `DENSE_RATIO` on, up to `DENSE_CELLS` cells (which take
# 32 bytes each); below `SMALL_CELLS` no compiler is loaded, however few entries are observed.
DENSE_RATIO = 8
DENSE_CELLS = 1 << 26
SMALL_CELLS = 1 << 18


def check_threads(threads: int | None) -> int:
    """The number of threads to use: all cores this process may run on, unless given."""
    if threads is None:
        return processor_count()
    if threads < 1 or threads != int(threads):
        raise InputError(
            f"threads must be a positive integer or None (all cores), got {threads!r}."
        )
    return int(threads)


def is_dense(observations: Observations) -> bool:
    """Whether products of dense matrices beat loops over the entries, compiling included, or are
    all that there is, where numba is not installed.
    """
    cells = observations.shape[0] * observations.shape[1]
    if not installed("numba"):
        return cells <= DENSE_CELLS
    return cells <= min(max(DENSE_RATIO * observations.nnz, SMALL_CELLS), DENSE_CELLS)


class _OneThread:
    """BLAS with one thread while anyone is inside.

    What was before comes back when the last one, of any thread, leaves.
    """

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._limit: threadpool_limits | None = None

    def __enter__(self) -> None:
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
def open_backend(
    observations: Observations, threads: int | None = None, device: Device = "cpu"
) -> Iterator[AbstractBackend]:
    """The backend for ``observations`` during a ``with`` block.

    ``device`` "cpu": `dense.Dense` for tables and anything small, else `threads.Loops`; "gpu" or
    "jax": `devices.Devices`; a backend of your own is taken as it is. BLAS keeps to one thread: its
    threads would wait in a busy loop, and its sums would depend on how many there are.

    **Raises** `InputError` for observations whose arrays compiled loops could not follow.
    """
    observations.check()
    if isinstance(device, AbstractBackend):
        with _one_thread:
            yield device
        return
    if device not in DEVICES:
        raise InputError(f'device must be "cpu", "gpu" or "jax", got {device!r}.')
    with workers(threads) as pool:
        yield _backend(observations, device, pool)


@contextmanager
def workers(threads: int | None = None) -> Iterator[ThreadPoolExecutor | None]:
    """So many threads, with BLAS in one thread of each, during a ``with`` block; None for one."""
    count = check_threads(threads)
    with _one_thread:
        if count == 1:
            yield None
            return
        with ThreadPoolExecutor(count, thread_name_prefix="deeplinear") as pool:
            yield pool


def _backend(
    observations: Observations, device: str, pool: ThreadPoolExecutor | None
) -> AbstractBackend:
    cpu: AbstractBackend
    if is_dense(observations):
        from .dense import Dense

        cpu = Dense(pool)
    else:
        with needed_by(f"sparse data of more than {DENSE_CELLS:,} cells"):
            import numba  # noqa: F401  # by the first of the loops otherwise
        from .threads import Loops

        cpu = Loops(pool)
    if device == "cpu":
        return cpu
    with needed_by("devices"):
        from .devices import Devices

    return Devices(device, cpu)
