"""Compute the blocks of a sweep: in this process, on a local Dask cluster, or on a running one."""

import asyncio
import logging
import queue
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from ..errors import InputError, SweepError
from ..extras import needed_by
from .worker import BlockResult, BlockSpec, run_block

if TYPE_CHECKING:
    from distributed import Client, Future

Answer = TypeVar("Answer")

_LOST = (
    "scheduler: it stopped answering before the sweep was complete; "
    "what was written is kept: start again with --resume."
)
WATCH, PATIENCE = 5.0, 120.0  # seconds between looks at the workers; without any, before we give up


def compute(
    specs: Sequence[BlockSpec], *, scheduler: str | None, workers: int, timeout: float
) -> Generator[BlockResult, None, None]:
    """Compute the blocks and hand over each when it is done, in any order.

    ``scheduler`` is the address of a Dask scheduler; without one, ``workers`` local processes are
    started (0: this process does the work). **Raises** `SweepError` if the scheduler is lost on the
    way, and what a block raised (a store that takes no more).
    """
    if scheduler is None and workers == 0:
        for spec in specs:
            yield run_block(spec)
        return
    with _client(scheduler, workers, timeout) as client:
        yield from _computed(client, specs)


def _computed(client: "Client", specs: Sequence[BlockSpec]) -> Generator[BlockResult, None, None]:
    # keys are new in every run: a scheduler must not answer from an earlier one
    session = uuid.uuid4().hex[:12]
    keys = [f"deeplinear-sweep-{session}-{spec.start}" for spec in specs]
    futures = client.map(run_block, specs, key=keys, pure=False, batch_size=1000)
    spec_of = {future.key: spec for future, spec in zip(futures, specs, strict=True)}
    ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
    for future in futures:
        future.add_done_callback(ended.put)
    try:
        for _ in specs:
            future = _patiently(client, lambda seconds: ended.get(timeout=seconds))
            if future.status == "cancelled":
                raise SweepError(_LOST)
            yield _outcome(client, future, spec_of[future.key])
            future.release()
    finally:
        _cancel(client, futures)


def _patiently(client: "Client", ask: Callable[[float], Answer]) -> Answer:
    """What ``ask`` answers within the seconds that it is given; `SweepError` if there is nobody
    left to work on it (Dask itself would wait forever).

    It is given more each time, so that an answer may be long under way.
    """
    alone, seconds = 0.0, WATCH
    while alone < PATIENCE:
        try:
            return ask(seconds)
        except (queue.Empty, TimeoutError):
            if _has_workers(client):
                alone, seconds = 0.0, min(2 * seconds, PATIENCE)
            elif seconds > WATCH:  # how long they have been gone is not known: look closely first
                seconds = WATCH
            else:
                alone += seconds
    raise SweepError(
        f"scheduler: it has had no worker for {PATIENCE:g} s; "
        "what was written is kept: start workers, then start again with --resume."
    )


def _has_workers(client: "Client") -> bool:
    try:
        return bool(client.nthreads())
    except Exception as error:
        # no answer counts as no worker; if the scheduler is lost, the futures end and say so
        logging.getLogger(__name__).debug("asking for workers failed: %r", error)
        return False


def _outcome(client: "Client", future: "Future", spec: BlockSpec) -> BlockResult:
    """The block's result; a block whose processes die again and again is reported as failed, like
    a task that raises. If its worker dies before the result is here, it is computed again.
    """
    from distributed import KilledWorker

    try:
        error = _patiently(client, future.exception)
        if error is None:
            return _patiently(client, future.result)
    except OSError:  # the connection was lost while the answer came
        raise SweepError(_LOST) from None
    if isinstance(error, KilledWorker):
        reason = "its worker died every time (out of memory?)"
        return BlockResult(failures={task: reason for task in range(spec.start, spec.stop)})
    if isinstance(error, SweepError | InputError):
        raise error
    raise SweepError(
        f"scheduler: a worker could not compute tasks {spec.start}–{spec.stop - 1}: {error!r}."
    ) from error


def _cancel(client: "Client", futures: "Iterable[Future]") -> None:
    """Let nothing more of this sweep start. A lost scheduler is no reason to fail here."""
    pending = [future for future in futures if not future.done()]
    if pending and client.status == "running":
        try:
            client.cancel(pending, force=True)
        except Exception as error:
            logging.getLogger(__name__).debug("cancelling failed: %r", error)


@contextmanager
def _client(scheduler: str | None, workers: int, timeout: float) -> "Iterator[Client]":
    distributed = import_distributed()
    # what matters is reported by our own messages
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if scheduler is None:
        import dask

        settings = {
            # No block waits at a worker: if one kills its process again and again, no other is
            # blamed for it.
            "distributed.scheduler.worker-saturation": 1.0,
            # A process that died is started again; on a busy machine that takes longer than the 15
            # s after which it is given up.
            "distributed.deploy.lost-worker-timeout": "10 minutes",
        }
        with (
            dask.config.set(settings),
            distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            ) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    client = distributed.Client(scheduler, timeout=timeout, set_as_default=False)
    with client:
        try:
            client.wait_for_workers(1, timeout=timeout)
        except TimeoutError:
            raise InputError(
                f"--scheduler: '{scheduler}' had no worker within {timeout:g} s; start one with "
                "`dask worker`."
            ) from None
        yield client


def check_scheduler(scheduler: str, timeout: float) -> None:
    """`InputError` unless something at this address shakes hands in time (a `Client` would wait for
    a silent one forever).
    """
    import_distributed()
    from distributed.comm import connect

    async def probe() -> None:
        comm = await asyncio.wait_for(connect(scheduler, timeout=timeout), timeout)
        comm.abort()

    try:
        with ThreadPoolExecutor(1) as aside:  # in a notebook this thread runs a loop already
            aside.submit(lambda: asyncio.run(probe())).result()
    except (OSError, TimeoutError, ValueError) as error:
        what = f" ({error})" if isinstance(error, ValueError) else ""
        raise InputError(
            f"--scheduler: no answer from '{scheduler}' within {timeout:g} s{what}; check the "
            "address, "
            "as in tcp://host:8786, or leave it out for a local cluster."
        ) from None


def import_distributed() -> ModuleType:
    """Dask's distributed; one sentence if the extra is not installed."""
    with needed_by("sweeps on several processes"):
        import distributed
    return distributed
