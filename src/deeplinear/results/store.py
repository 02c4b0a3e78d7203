"""Datasets on disk: zarr stores, whole or not there, checked when written and when read."""

from collections.abc import Callable, Hashable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atomic import build_atomically
from ..errors import InputError
from ..extras import needed_by
from .integrity import (
    OWN,
    check_chunks,
    check_metadata,
    checked_encoding,
    damaged,
    read_attributes,
    seal,
)
from .schema import check_version, validate

if TYPE_CHECKING:
    import xarray as xr

#: What mends a damaged result of a sweep.
RECOMPUTE = "go on with --resume, which computes it again"


def import_xarray() -> ModuleType:
    """xarray, with zarr at hand; one sentence if the extra is not installed."""
    with needed_by("experiments"):
        import xarray
        import zarr  # noqa: F401
    return xarray


def save_dataset(ds: "xr.Dataset", path: str | Path, *, force: bool = False) -> None:
    """Write ``ds`` as a zarr (v3) store; ``force`` replaces one that is there. `InputError` if
    ``ds`` breaks the schema.
    """
    import_xarray()
    path = Path(path)
    validate(ds, str(path))
    build(path, lambda place: write_dataset(portable_text(ds), place), force=force)


def write_dataset(ds: "xr.Dataset", place: Path, *, compress: bool = True, **options: Any) -> None:
    """Write ``ds`` with check sums of all chunks, and digests of all else."""
    encoding = checked_encoding(ds, compress=compress)
    ds.to_zarr(
        place,
        mode="w-",
        zarr_format=3,
        consolidated=False,
        encoding=encoding,
        write_empty_chunks=True,
        **options,
    )
    seal(place)


def load_dataset(path: str | Path) -> "xr.Dataset":
    """Read a store into memory; `InputError` if it is none, of another version of the schema,
    breaks the schema, or is not as it was written: an array, a chunk or a byte is lost or changed.

    >>> import tempfile
    >>> import deeplinear as dl
    >>> data = dl.experiments.run("cmv_fig4", depths=3, runs=10).dataset
    >>> path = tempfile.mkdtemp() + "/data.zarr"
    >>> dl.experiments.save_dataset(data, path)
    >>> dl.experiments.load_dataset(path).equals(data)
    True
    """
    ds, path = open_dataset(path), Path(path)
    partial = ds.attrs.get("kind") == "sweep"  # of which tasks may be missing
    for name in map(str, ds.variables):
        if partial and name in ds.data_vars:
            load_variable(ds, name, path, RECOMPUTE)
        else:
            check_chunks(path, name)
            load_variable(ds, name, path)
    text = [name for name, v in ds.variables.items() if _is_text_of_any_length(v)]
    return validate(_recast(ds, text, _fixed_width), str(path))


def load_variable(ds: "xr.Dataset", name: str, path: Path, fix: str = "") -> None:
    """Read one variable into memory; `InputError` if one of its chunks is damaged."""
    try:
        ds.variables[name].load()
    except Exception as error:  # each codec raises its own
        raise damaged(path, f"'{name}': {_first_line(error)}", fix) from None


def portable_text(ds: "xr.Dataset") -> "xr.Dataset":
    """``ds`` with text of variable length, the only text that zarr's format 3 specifies. Reading
    turns it back.
    """
    text = [name for name, v in ds.variables.items() if v.dtype.kind == "U"]
    return _recast(ds, text, lambda values: values.astype(np.dtypes.StringDType()))


def _is_text_of_any_length(variable: "xr.Variable") -> bool:
    """Also where xarray holds it as objects (with pandas before 3), and tells of what was read."""
    return np.dtype(variable.encoding.get("dtype", variable.dtype)).kind == "T"


def _fixed_width(text: np.ndarray) -> np.ndarray:
    return np.array(text.tolist(), dtype=str).reshape(text.shape)


def _recast(
    ds: "xr.Dataset", names: list[Hashable], convert: Callable[[np.ndarray], np.ndarray]
) -> "xr.Dataset":
    variables = {name: ds.variables[name] for name in names}
    new = {name: (v.dims, convert(v.values), v.attrs) for name, v in variables.items()}
    return ds.assign_coords({k: v for k, v in new.items() if k in ds.coords}).assign(
        {k: v for k, v in new.items() if k in ds.data_vars}
    )


def open_dataset(path: str | Path) -> "xr.Dataset":
    """Open a store without reading its arrays; all but their values is checked."""
    xarray = import_xarray()
    path = Path(path)
    if not (path / "zarr.json").is_file():
        what = "is not a zarr store" if path.exists() else "does not exist"
        raise InputError(
            f"store: '{path}' {what}; give the folder of a dataset that was made here."
        )
    attributes = read_attributes(path)
    check_version(attributes, str(path))
    check_metadata(path, attributes)
    try:
        ds = xarray.open_zarr(path, consolidated=False, chunks=None)
    except Exception as error:  # xarray and zarr raise many kinds for damaged metadata
        raise InputError(
            f"store: '{path}' cannot be read ({_first_line(error)}); make it again."
        ) from None
    ds.attrs = {name: value for name, value in ds.attrs.items() if name not in OWN}
    return ds


def build(path: Path, write: Callable[[Path], object], *, force: bool = False) -> None:
    """Let ``write`` make a folder under a temporary name, then give it its name: ``path`` is whole
    or not there.
    """
    if path.exists() and not force:
        raise InputError(
            f"store: '{path}' exists; add --force to replace it, or give another name."
        )
    if path.exists() and not (path / "zarr.json").is_file():
        raise InputError(
            f"store: '{path}' exists and is not a zarr store; --force does not replace it, give "
            "another name."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    build_atomically(path, write)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
