"""Sweeps: one task for each point of a grid, into one store, by any number of processes."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..interrupts import uninterrupted
from ..processors import processor_count
from ..progress import ProgressCallback
from ..progress import report as tell
from ..results.manifest import version_changes, versions
from ..results.parameters import encode
from ..results.suggest import nearest
from .grid import axis_groups, check_scalar, check_whole, expand, shown
from .lock import only_writer
from .record import begin_record, end_record
from .store import (
    EMPTY,
    MISSING,
    PARTIAL,
    blocks,
    check_computed,
    check_names,
    check_same,
    drop_damaged,
    layout,
    read_excluded,
    read_status,
    remove_leftovers,
)
from .task import REQUIRED, Task, resolve

if TYPE_CHECKING:
    import xarray as xr

    from .worker import BlockResult, BlockSpec

_KEYS = ("task", "grid", "zip", "tasks", "fixed", "chunk")


@dataclass(frozen=True)
class Sweep:
    """What a sweep computes: a task, and the parameters that it is computed for.

    - ``task``: ``"completion"`` (see `completion_task.completion`), ``"module:function"``, or a
      function, declared with `task`;
    - ``grid``: axis → list of values, combined in all ways; ``zipped``: groups of lists that move
      together; ``tasks``: explicit combinations; the three multiply;
    - ``fixed``: parameters that are the same everywhere;
    - ``chunk``: tasks of one chunk of the store, computed by one process (default: such that there
      are at most 1,000 chunks).

    **Raises** `InputError` for a parameter that the task does not have (with the nearest name), one
    that it needs and does not get, and for what `grid.expand` refuses.

    >>> import deeplinear as dl
    >>> grid = {"depth": [2, 3, math.inf], "observed": [20, 30]}
    >>> sweep = dl.experiments.Sweep("completion", grid=grid, fixed={"size": 8})
    >>> len(sweep.table), sweep.table[-1]
    (6, {'depth': inf, 'observed': 30})
    """

    task: str | Callable[..., Any]
    grid: Mapping[str, Any] = field(default_factory=dict)
    zipped: Sequence[Mapping[str, Any]] = ()
    tasks: Sequence[Mapping[str, Any]] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    chunk: int | None = None
    folder: str = ""  # where "module:function" is searched first

    def __post_init__(self) -> None:
        task = self.resolved
        table = expand(self.grid, self.zipped, self.tasks)
        for name, value in self.fixed.items():
            task.check(name)
            check_scalar(f"the fixed parameter '{name}'", value)
            if name in table[0]:
                raise InputError(f"fixed: '{name}' is an axis too; keep one of them.")
        for name in table[0]:
            task.check(name)
        for name, default in task.parameters.items():
            if (
                default is REQUIRED
                and name != "key"
                and name not in self.fixed
                and name not in table[0]
            ):
                raise InputError(
                    f"fixed: the task '{task.name}' needs '{name}'; set it in grid or in fixed."
                )
        check_names(task, table[0])
        if self.chunk is not None:
            check_whole("chunk", self.chunk, 1)
        if "key" in self.fixed:
            raise InputError("fixed: 'key' is the seed that the sweep makes; leave it out.")
        if "seed" in self.fixed:
            check_whole("fixed: 'seed'", self.fixed["seed"], 0)
        for row in table:
            task.check_values({**self.fixed, **row})
        object.__setattr__(self, "_table", table)

    @property
    def resolved(self) -> Task:
        """The task, with what it takes and returns."""
        return resolve(self.task, self.folder)

    @property
    def table(self) -> list[dict[str, Any]]:
        """What varies, for each task in order."""
        return self._table  # type: ignore[attr-defined]

    @property
    def chunk_length(self) -> int:
        """Tasks of one chunk."""
        count = len(self.table)
        return min(int(self.chunk), count) if self.chunk else max(1, -(-count // 1000))

    @property
    def parameters(self) -> str:
        """All that the numbers depend on, as text: stores are compared by it."""
        groups = axis_groups(self.grid, self.zipped, self.tasks)
        outputs = {
            name: [list(spec.dims), list(spec.shape), spec.dtype, spec.units]
            for name, spec in self.resolved.outputs.items()
        }
        return encode(
            {
                "task": self.resolved.name,
                "order": [list(group[0]) for group in groups],
                "axes": {
                    name: [row[name] for row in group] for group in groups for name in group[0]
                },
                "fixed": self.fixed,
                "chunk": self.chunk_length,
                "outputs": outputs,
            }
        )


def read_sweep(path: str | Path) -> Sweep:
    """A sweep from a TOML file with ``task``, and ``[grid]``, ``[[zip]]``, ``[[tasks]]``,
    ``[fixed]`` and ``chunk`` as in `Sweep`. **Raises** `InputError` for what is none.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"FILE: '{path}' cannot be read ({error.strerror}); check the name."
        ) from None
    except (ValueError, RecursionError) as error:  # also of digits without an end
        raise InputError(
            f"FILE: '{path}' is not TOML ({error}); see docs/experiments.md for an example."
        ) from None
    for key in content:
        if key not in _KEYS:
            raise InputError(
                f"FILE: '{path}' has an unknown key {shown(key)}: {nearest(key, _KEYS)}."
            )
    if not isinstance(content.get("task"), str):
        raise InputError(f"FILE: '{path}' names no task; add a line such as task = \"completion\".")
    for key, wanted in (("grid", dict), ("fixed", dict), ("zip", list), ("tasks", list)):
        if not isinstance(content.get(key, wanted()), wanted):
            header = f"[{key}]" if wanted is dict else f"[[{key}]]"
            raise InputError(
                f"FILE: '{key}' of '{path}' must be a table; write {header} above its values."
            )
    return Sweep(
        content["task"],
        content.get("grid", {}),
        content.get("zip", ()),
        content.get("tasks", ()),
        content.get("fixed", {}),
        content.get("chunk"),
        str(path.absolute().parent),
    )


@dataclass
class SweepReport:
    """What a call of `run_sweep` did: counts of tasks, and the errors of those that failed."""

    tasks: int  # of the whole sweep
    kept: int  # computed by an earlier call
    computed: int = 0
    partial: int = 0  # in the store at the end: with runs left out
    empty: int = 0  # in the store at the end: with a NaN
    excluded: int = 0  # runs left out, in the store at the end
    damaged: int = 0  # whose results were damaged on disk since, and so are missing again
    failures: dict[int, str] = field(default_factory=dict)
    version_changes: list[str] = field(default_factory=list)  # since the store was laid out

    @property
    def done(self) -> int:
        """Tasks with a result in the store."""
        return self.kept + self.computed

    @property
    def stage(self) -> str:
        """``12 of 40 tasks``, and how many have failed, if any."""
        failed = f", {len(self.failures):,} failed" if self.failures else ""
        return f"{self.done:,} of {self.tasks:,} tasks{failed}"

    def add(self, result: "BlockResult") -> None:
        """Count a block."""
        self.computed += result.computed
        self.failures |= result.failures


def run_sweep(
    sweep: Sweep,
    store: str | Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    resume: bool = False,
    force: bool = False,
    retries: int = 2,
    timeout: float = 15.0,
    callback: ProgressCallback | None = None,
) -> SweepReport:
    """Compute every task of ``sweep`` into the zarr store ``store``.

    ``scheduler`` is the address of a Dask scheduler that is running; without it ``workers`` local
    processes are started (default: as many as there are processors; 0 computes in this process).
    ``resume`` goes on with a store of the same sweep and computes only what is missing, ``force``
    replaces any store. A task that raises is tried ``retries`` times more, then left missing and
    named in the report. ``timeout`` in seconds is how long a scheduler may take to answer.
    ``callback`` is called with a `Progress` at the start and after each block; if it returns True,
    the sweep ends there, and ``resume`` goes on with it later.

    The finished store has the same bytes whatever was killed on the way, on one machine and with
    the same versions; beside it ``STORE.manifest.json`` records versions, parameters and every
    call. (A script that starts local processes needs Python's usual
    ``if __name__ == "__main__":``.) ``resume`` compares all check sums first; tasks whose results
    were damaged on disk are computed again, and counted in the report.

    **Raises** `InputError` for a store that exists (without ``resume`` or ``force``), that was made
    by another version of the schema or with other parameters, on which another sweep is at work,
    or whose parameters or metadata are damaged, and for a scheduler that does not answer;
    `SweepError`, with what was computed kept, if the scheduler is lost or the store cannot be
    written (names store and chunk).
    """
    from ..results.store import import_xarray
    from .cluster import import_distributed

    import_xarray()
    path, workers = Path(store), processor_count() if workers is None else workers
    if workers or scheduler is not None:
        import_distributed()
    _check_call(path, workers, retries, timeout, new=not (resume or force), scheduler=scheduler)
    with ExitStack() as held:
        old = path.exists()
        if old:
            held.enter_context(only_writer(path))
        stored, damaged = _open_or_lay_out(sweep, path, force=force)
        if force or not old:
            held.enter_context(only_writer(path))
        status = read_status(path)
        report = SweepReport(
            len(status),
            int((status != MISSING).sum()),
            damaged=damaged,
            version_changes=version_changes(stored),
        )
        specs = [
            _block_spec(sweep, path, start, stop, retries)
            for start, stop in blocks(len(status), sweep.chunk_length, status)
        ]
        where = scheduler or ("this process" if workers == 0 else f"{workers} local processes")
        record = begin_record(path, sweep.parameters, report.kept, where, afresh=not resume)
        workers = min(workers, max(1, len(specs)))
        settings = {"scheduler": scheduler, "workers": workers, "timeout": timeout}
        _work(path, specs, report, record, settings, callback)
    return report


def _work(
    path: Path,
    specs: "list[BlockSpec]",
    report: SweepReport,
    record: dict[str, Any],
    settings: dict[str, Any],
    callback: ProgressCallback | None,
) -> None:
    """Compute the blocks, and count and record what became of them."""
    from .cluster import compute

    ended = "stopped"
    try:
        if not _tell(callback, report):
            with closing(compute(specs, **settings)) as results:  # at a stop: the rest is cancelled
                for result in results:
                    report.add(result)
                    if _tell(callback, report):
                        break
                else:
                    # with what workers of an earlier call, stopped since, have written meanwhile
                    report.kept = int((read_status(path) != MISSING).sum()) - report.computed
                    ended = "complete" if report.done == report.tasks else "incomplete"
        if ended != "stopped":  # after a stop, workers of a scheduler may still be writing
            remove_leftovers(path)
        _count_incomplete(path, report)
    finally:
        end_record(
            path,
            record,
            ended=ended,
            computed=report.computed,
            runs_excluded=report.excluded,
            failures=report.failures,
        )


def _check_call(
    path: Path, workers: int, retries: int, timeout: float, *, new: bool, scheduler: str | None
) -> None:
    """Refuse what cannot work before anything is replaced."""
    from .cluster import check_scheduler

    check_whole("--workers", workers, 0)
    check_whole("--retries", retries, 0)
    if not (isinstance(timeout, int | float) and timeout > 0):
        raise InputError(f"--timeout must be positive, got {timeout!r}.")
    if new and path.exists():
        raise InputError(
            f"--out: '{path}' exists; add --resume to go on, --force to replace it, or give "
            "another name."
        )
    if scheduler is not None:
        check_scheduler(scheduler, timeout)


def _open_or_lay_out(sweep: Sweep, path: Path, *, force: bool) -> tuple[dict[str, str], int]:
    """Check the store, or make one: versions it was made with, and how many results are lost."""
    if path.exists() and not force:
        made_with = check_same(path, sweep.parameters)
        count, names = len(sweep.table), sweep.resolved.outputs
        return made_with, drop_damaged(path, names, count, sweep.chunk_length)
    with uninterrupted(path):
        layout(
            path,
            sweep.resolved,
            sweep.table,
            sweep.fixed,
            parameters=sweep.parameters,
            chunk=sweep.chunk_length,
            force=force,
        )
    return versions(), 0


def _tell(callback: ProgressCallback | None, report: SweepReport) -> bool:
    """Report progress; True if the callback asks for an end."""
    return tell(callback, report.stage, report.done / report.tasks)


def _count_incomplete(path: Path, report: SweepReport) -> None:
    """Count tasks with a NaN or with runs left out in the whole store, so also of earlier calls."""
    status = read_status(path)
    report.partial, report.empty = int((status == PARTIAL).sum()), int((status == EMPTY).sum())
    report.excluded = read_excluded(path)


def open_sweep(store: str | Path) -> "xr.Dataset":
    """The results of a sweep, checked against the schema: variables over ``task``, with the
    parameters as coordinates.

    Tasks not computed have status 0 and NaN.
    ``ds.set_index(task=["depth", "scale"]).unstack("task")`` makes axes of them.
    """
    from ..results.store import load_dataset

    ds = load_dataset(store)
    if ds.attrs["kind"] != "sweep":
        raise InputError(
            f"store: '{store}' holds the {ds.attrs['kind']} '{ds.attrs['name']}', not a sweep."
        )
    check_computed(Path(store), map(str, ds.data_vars))
    return ds


def _block_spec(sweep: Sweep, path: Path, start: int, stop: int, retries: int) -> "BlockSpec":
    from .worker import BlockSpec

    return BlockSpec(
        str(path.absolute()),
        sweep.task,
        sweep.folder,
        start,
        stop,
        sweep.chunk_length,
        sweep.table[start:stop],
        dict(sweep.fixed),
        retries,
    )
