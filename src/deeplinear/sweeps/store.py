"""The store of a sweep: laid out before the first task, then filled by one writer per chunk.

Along ``task`` every array has chunks of the same length, and the tasks of one chunk (a *block*) are
computed by one process, so that no two processes ever write to one file. A chunk appears whole or
not at all (zarr renames it into place), ``status`` last: where it is not zero, everything else of
that task is there.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError, SweepError
from ..extras import needed_by
from ..results.integrity import check_chunks, chunk_files
from ..results.parameters import derive_seed, differences
from ..results.schema import label, validate
from ..results.store import (
    RECOMPUTE,
    build,
    import_xarray,
    load_variable,
    open_dataset,
    portable_text,
    write_dataset,
)
from .task import Output, Task

if TYPE_CHECKING:
    import xarray as xr

#: Values of the variable ``status``.
MISSING, OK, PARTIAL, EMPTY = 0, 1, 2, 3
STATUS = {
    MISSING: "not computed yet",
    OK: "computed",
    PARTIAL: "computed; some runs were left out of the statistics (see runs_excluded)",
    EMPTY: "computed, but a result is NaN",
}
_OWN = ("status", "key", "task")


def layout(
    path: Path,
    task: Task,
    table: Sequence[dict[str, Any]],
    fixed: Mapping[str, Any],
    *,
    parameters: str,
    chunk: int,
    force: bool = False,
) -> None:
    """Make the store of a sweep with every array in place, and no task computed."""
    seed = int(fixed.get("seed", 0))  # an axis "seed" is a coordinate, as any other axis
    ds = label(
        _template(task, table, fixed, chunk),
        kind="sweep",
        name=task.name,
        parameters=parameters,
        seed=seed,
    )
    ds = portable_text(validate(ds, str(path)))
    try:
        build(
            path, lambda place: write_dataset(ds, place, compress=False, compute=False), force=force
        )
    except OSError as error:
        raise SweepError(
            f"store '{path}': cannot lay it out ({error.strerror or error}); free space or give "
            "another place."
        ) from None


def check_names(task: Task, parameters: Iterable[str]) -> None:
    """`InputError` if a parameter that varies or an output has a name that is taken in the store.

    Taken are ``task``, ``status`` and ``key``, names of outputs and of their dimensions.
    """
    dimensions = {dimension for spec in task.outputs.values() for dimension in spec.dims}
    for output in task.outputs:
        if output in {*_OWN, *dimensions}:
            raise InputError(
                f"outputs: '{output}' is the name of a dimension or of the sweep's own; give "
                "another one."
            )
    for name in parameters:
        if not name.isidentifier():
            raise InputError(f"grid: '{name}' is no name of an axis; use letters, digits and _.")
        if name in {*_OWN, *task.outputs, *dimensions}:
            raise InputError(
                f"grid: an axis cannot be called '{name}', which is a name of an output or of the "
                "sweep's own; rename the parameter, or set it in fixed."
            )
    for dimension in dimensions & {*_OWN}:
        raise InputError(f"outputs: the dimension '{dimension}' is the sweep's own; rename it.")


def task_key(row: Mapping[str, Any], fixed: Mapping[str, Any]) -> int:
    """The seed of one task: from its parameters alone."""
    return derive_seed("task", {**fixed, **row})


def _template(
    task: Task, table: Sequence[dict[str, Any]], fixed: Mapping[str, Any], chunk: int
) -> "xr.Dataset":
    with needed_by("sweeps"):
        import dask.array
    xarray = import_xarray()
    count = len(table)
    arrays: dict[str, Any] = {}
    coordinates: dict[str, Any] = {"task": np.arange(count)}
    for parameter in table[0]:
        values = np.array([row[parameter] for row in table])
        coordinates[parameter] = (
            "task",
            values,
            {"description": f"parameter {parameter} of the task"},
        )
    keys = np.array([task_key(row, fixed) for row in table], dtype=np.int64)
    coordinates["key"] = (
        "task",
        keys,
        {"description": "seed that depends on the parameters of the task alone"},
    )
    for output, spec in task.outputs.items():
        shape, chunks = (count, *spec.shape), (chunk, *spec.shape)
        empty = dask.array.full(shape, spec.fill, dtype=spec.dtype, chunks=chunks)
        arrays[output] = (
            ("task", *spec.dims),
            empty,
            {"units": spec.units, "description": spec.description},
        )
        for dimension, labels in zip(spec.dims, spec.labels, strict=False):
            coordinates[dimension] = list(labels)
    meanings = "; ".join(f"{code}: {meaning}" for code, meaning in STATUS.items())
    status = dask.array.zeros(count, dtype="int8", chunks=chunk)
    arrays["status"] = ("task", status, {"units": "1", "description": meanings})
    return xarray.Dataset(arrays, coordinates)


def check_same(path: Path, parameters: str) -> dict[str, str]:
    """The versions that the store in ``path`` was made with; `InputError` if its schema or
    parameters are others: says which.
    """
    stored = open_dataset(path)
    if stored.attrs.get("kind") != "sweep":
        raise InputError(f"--out: '{path}' is not the store of a sweep; give another name.")
    for name in map(str, stored.coords):
        check_chunks(path, name)
        load_variable(stored, name, path)
    other = differences(stored.attrs["parameters"], parameters)
    if other:
        raise InputError(
            f"--resume: '{path}' was made with other parameters ({'; '.join(other)}); "
            "give another --out, or --force to replace it."
        )
    return json.loads(stored.attrs["versions"])


def drop_damaged(path: Path, names: Iterable[str], count: int, chunk: int) -> int:
    """Make the tasks of blocks missing of which a chunk was lost or changed on disk.

    ``names`` are the arrays of the store beside ``status``; returns the number of these tasks.
    """
    import zarr

    dropped = 0
    arrays = {name: zarr.open_array(path, path=name, mode="r") for name in ("status", *names)}
    for start in range(0, count, chunk):
        files = [file for name in arrays for file in chunk_files(path, name, start // chunk)]
        if not files[0].exists():  # status: nothing was computed
            continue
        stop = min(start + chunk, count)
        if not _is_whole(files, arrays.values(), slice(start, stop)):
            for file in files:  # status first, so that the others count no more
                file.unlink(missing_ok=True)
            dropped += stop - start
    return dropped


def check_computed(path: Path, names: Iterable[str]) -> None:
    """`InputError` if a chunk is gone of a block that has a status."""
    names = list(names)
    for index, file in enumerate(chunk_files(path, "status")):
        for name in names if file.exists() else ():
            check_chunks(path, name, index, RECOMPUTE)


def _is_whole(files: Iterable[Path], arrays: Iterable[Any], place: slice) -> bool:
    try:
        for array in arrays:
            array[place]  # its check sum is compared
    except Exception:  # each codec raises its own
        return False
    return all(file.is_file() for file in files)


def read_status(path: Path) -> np.ndarray:
    """The status of every task."""
    import zarr

    return np.asarray(zarr.open_array(path, path="status", mode="r")[:])


def read_excluded(path: Path) -> int:
    """How many runs were left out of the statistics, in all tasks."""
    import zarr

    if not (path / "runs_excluded").exists():
        return 0
    return int(np.asarray(zarr.open_array(path, path="runs_excluded", mode="r")[:]).sum())


def remove_leftovers(path: Path) -> int:
    """Delete the half-written files of processes that were killed; returns their number."""
    leftovers = list(path.rglob("*.partial"))
    for file in leftovers:
        file.unlink(missing_ok=True)
    return len(leftovers)


class Block:
    """Tasks ``start`` … ``stop`` of a store: a chunk of every array, in memory until `flush`."""

    def __init__(self, path: Path, task: Task, start: int, stop: int, chunk: int) -> None:
        import zarr

        self._path, self._place, self._index = path, slice(start, stop), start // chunk
        try:
            # a chunk that happens to hold fill values only must be written too: it was computed
            # (the argument ``config`` of open_array says so in vain for an array that exists)
            with zarr.config.set({"array.write_empty_chunks": True}):
                self._arrays = {
                    name: zarr.open_array(path, path=name, mode="r+")
                    for name in (*task.outputs, "status")
                }
            status = np.array(self._arrays["status"][self._place])
            if (status == MISSING).all():  # the usual case: nothing to read
                self.columns = {
                    name: np.full((stop - start, *spec.shape), spec.fill, spec.dtype)
                    for name, spec in task.outputs.items()
                }
            else:
                self.columns = {
                    name: np.array(self._arrays[name][self._place]) for name in task.outputs
                }
            self.columns["status"] = status
        except (OSError, ValueError, KeyError) as error:
            raise SweepError(
                f"store '{path}': cannot read chunk {self._index} ({error}); let every worker see "
                "this folder."
            ) from None
        self._outputs = task.outputs

    @property
    def missing(self) -> list[int]:
        """Tasks of the block without a result, counted from its start."""
        return np.flatnonzero(self.columns["status"] == MISSING).tolist()

    def put(self, row: int, result: Mapping[str, Any]) -> None:
        """Take in the result of one task, checked against the declaration."""
        if not isinstance(result, Mapping) or set(result) != set(self._outputs):
            got = (
                ", ".join(map(str, result))
                if isinstance(result, Mapping)
                else type(result).__name__
            )
            raise InputError(
                f"outputs: the task returned {got} where {', '.join(self._outputs)} is declared."
            )
        values = {name: _fitting(name, result[name], spec) for name, spec in self._outputs.items()}
        for name, value in values.items():
            self.columns[name][row] = value
        status = (
            EMPTY if any(np.isnan(v).any() for v in values.values() if v.dtype.kind == "f") else OK
        )
        if status == OK and "runs_excluded" in values and values["runs_excluded"] > 0:
            status = PARTIAL
        self.columns["status"][row] = status

    def flush(self) -> None:
        """Write every array's chunk, ``status`` last; `SweepError` names store and chunk."""
        for name, array in self._arrays.items():
            try:
                array[self._place] = self.columns[name]
            except OSError as error:
                raise SweepError(
                    f"store '{self._path}': cannot write chunk {self._index} of '{name}' "
                    f"({error.strerror or error}); what was written before is kept: "
                    "make room or permit writing, then start again with --resume."
                ) from None


def _fitting(name: str, value: ArrayLike, spec: Output) -> np.ndarray:
    array = np.asarray(value)
    if array.shape != spec.shape:
        raise InputError(
            f"outputs: '{name}' has shape {array.shape} where {spec.shape} is declared."
        )
    if not np.can_cast(array.dtype, spec.dtype, casting="same_kind"):
        raise InputError(
            f"outputs: '{name}' has dtype {array.dtype} where {spec.dtype} is declared."
        )
    return array.astype(spec.dtype)


def blocks(count: int, chunk: int, status: np.ndarray) -> Iterable[tuple[int, int]]:
    """(start, stop) of the blocks with something to compute."""
    for start in range(0, count, chunk):
        stop = min(start + chunk, count)
        if (status[start:stop] == MISSING).any():
            yield start, stop
