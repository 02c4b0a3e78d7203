"""Datasets on disk: zarr stores, whole or not there, checked when written and when read."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..extras import needed_by
from ..interrupts import uninterrupted
from .schema import check_version, validate

if TYPE_CHECKING:
    import xarray as xr


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
    ds = portable_text(ds)
    build(
        path,
        lambda place: ds.to_zarr(place, mode="w-", zarr_format=3, consolidated=False),
        force=force,
    )


def load_dataset(path: str | Path) -> "xr.Dataset":
    """Read a store into memory; `InputError` if it is none, of another version of the schema, or
    breaks the schema.
    """
    ds = open_dataset(path).load()
    return validate(
        _recast(ds, "T", lambda text: np.array(text.tolist(), dtype=str).reshape(text.shape)),
        str(path),
    )


def portable_text(ds: "xr.Dataset") -> "xr.Dataset":
    """``ds`` with text of variable length, the only text that zarr's format 3 specifies. Reading
    turns it back.
    """
    return _recast(ds, "U", lambda text: text.astype(np.dtypes.StringDType()))


def _recast(
    ds: "xr.Dataset", kind: str, convert: Callable[[np.ndarray], np.ndarray]
) -> "xr.Dataset":
    found = {
        name: variable for name, variable in ds.variables.items() if variable.dtype.kind == kind
    }
    new = {name: (v.dims, convert(v.values), v.attrs) for name, v in found.items()}
    return ds.assign_coords({k: v for k, v in new.items() if k in ds.coords}).assign(
        {k: v for k, v in new.items() if k in ds.data_vars}
    )


def open_dataset(path: str | Path) -> "xr.Dataset":
    """Open a store without reading its arrays; only the version of its schema is checked."""
    xarray = import_xarray()
    path = Path(path)
    if not (path / "zarr.json").is_file():
        what = "is not a zarr store" if path.exists() else "does not exist"
        raise InputError(
            f"store: '{path}' {what}; give the folder of a dataset that was made here."
        )
    try:
        ds = xarray.open_zarr(path, consolidated=False, chunks=None)
    except Exception as error:  # xarray and zarr raise many kinds for damaged metadata
        raise InputError(
            f"store: '{path}' cannot be read ({_first_line(error)}); make it again."
        ) from None
    check_version(ds.attrs, str(path))
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
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        write(temporary / "new")
        with uninterrupted():
            _exchange(path, temporary)
    finally:
        with uninterrupted():
            shutil.rmtree(temporary, ignore_errors=True)


def _exchange(path: Path, temporary: Path) -> None:
    """Give the new folder its name; where that fails, the old one keeps it."""
    replaced = path.exists()
    if replaced:
        path.rename(temporary / "old")
    try:
        (temporary / "new").rename(path)
    except OSError:
        if replaced:
            (temporary / "old").rename(path)
        raise


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
