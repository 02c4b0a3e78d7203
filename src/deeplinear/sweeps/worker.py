"""One block of a sweep, from start to end: what a worker process does. Knows nothing of
schedulers.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .store import Block, task_key
from .task import Kind, resolve

# a block of slow tasks is written this often, so that no more than this is lost with its process
FLUSH_SECONDS = 2.0


@dataclass(frozen=True)
class Job:
    """What a worker needs to know to compute a block: plain data, so that it can travel."""

    store: str
    task: str | Callable[..., Any]
    folder: str  # where "module:function" is searched first
    start: int
    stop: int
    chunk: int
    table: list[dict[str, Any]]  # what varies, for each task of the block
    fixed: dict[str, Any]
    retries: int


@dataclass
class Done:
    """What came of a block: how many tasks were computed now, and the errors of those that
    failed.
    """

    tasks: int = 0
    failures: dict[int, str] = field(default_factory=dict)  # task → its last error


def run_block(job: Job) -> Done:
    """Compute the tasks of a block that have no result yet, and write them. Errors of a task are
    told, not raised.
    """
    import jax

    with jax.enable_x64(True):
        return _run_block(job)


def _run_block(job: Job) -> Done:
    kind = resolve(job.task, job.folder)
    block = Block(Path(job.store), kind, job.start, job.stop, job.chunk)
    done, flushed, waiting = Done(), time.monotonic(), 0
    for row in block.missing:
        try:
            block.put(row, _attempt(kind, job, row))
        except Exception as error:  # any: it is the user's function; the other tasks go on
            done.failures[job.start + row] = f"{type(error).__name__}: {error}"
            continue
        done.tasks += 1
        waiting += 1
        if time.monotonic() - flushed > FLUSH_SECONDS:
            block.flush()
            flushed, waiting = time.monotonic(), 0
    if waiting:
        block.flush()
    return done


def _attempt(kind: Kind, job: Job, row: int) -> Any:
    arguments = {**job.fixed, **job.table[row]}
    if "key" in kind.parameters:
        arguments["key"] = task_key(job.table[row], job.fixed)
    for left in range(job.retries, -1, -1):
        try:
            with np.errstate(all="ignore"):  # a NaN is told by the status
                return kind.function(**arguments)
        except InputError:  # a second try would end the same way
            raise
        except Exception:
            if left == 0:
                raise
    raise AssertionError("unreachable")
