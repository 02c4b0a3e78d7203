"""The work of one process on one block of a sweep; schedulers are the business of `cluster`."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from .store import Block, task_key
from .task import Task, resolve

# a block of slow tasks is written this often, so that no more than this is lost with its process
FLUSH_SECONDS = 2.0


@dataclass(frozen=True)
class BlockSpec:
    """What a worker needs in order to compute a block: plain data, which can be sent."""

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
class BlockResult:
    """The outcome of a block: the number of tasks computed now, and the errors of the others."""

    computed: int = 0
    failures: dict[int, str] = field(default_factory=dict)  # task → its last error


def run_block(spec: BlockSpec) -> BlockResult:
    """Compute the tasks of a block that have no result yet, and write them. Errors of a task are
    reported, not raised.
    """
    import jax

    with jax.enable_x64(True):
        return _run_block(spec)


def _run_block(spec: BlockSpec) -> BlockResult:
    task = resolve(spec.task, spec.folder)
    block = Block(Path(spec.store), task, spec.start, spec.stop, spec.chunk)
    result, flushed, waiting = BlockResult(), time.monotonic(), 0
    for row in block.missing:
        try:
            block.put(row, _attempt(task, spec, row))
        except Exception as error:  # any: it is the user's function; the other tasks go on
            result.failures[spec.start + row] = f"{type(error).__name__}: {error}"
            continue
        result.computed += 1
        waiting += 1
        if time.monotonic() - flushed > FLUSH_SECONDS:
            block.flush()
            flushed, waiting = time.monotonic(), 0
    if waiting:
        block.flush()
    return result


def _attempt(task: Task, spec: BlockSpec, row: int) -> Mapping[str, ArrayLike]:
    arguments = {**spec.fixed, **spec.table[row]}
    if "key" in task.parameters:
        arguments["key"] = task_key(spec.table[row], spec.fixed)
    for left in range(spec.retries, -1, -1):
        try:
            with np.errstate(all="ignore"):  # the status says that there is a NaN
                return task.function(**arguments)
        except InputError:  # a second try would end the same way
            raise
        except Exception:
            if left == 0:
                raise
    raise AssertionError("unreachable")
