"""The schema of results: what every stored dataset promises to its reader.

docs/experiments.md has the same in prose. A store says in its attributes by which version of the
schema it was made.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    import xarray as xr

#: Raised by one whenever a reader of the old schema would misread a store of the new one.
SCHEMA_VERSION = 1

#: Dimension names with one meaning everywhere, and that of their coordinates. Others are free.
DIMENSIONS = {
    "task": "one set of parameters of a sweep; coordinate: 0, 1, 2, …",
    "run": "one start of an ensemble; coordinate, if any: whole numbers",
    "depth": "the depth N; coordinate: real numbers ≥ 1, or inf",
    "scale": "the standard deviation of the entries of the start; coordinate: positive",
    "time": "time of the flow, with the factor 1/N; coordinate: non-negative, increasing",
    "row": "rows of a matrix",
    "column": "columns of a matrix",
    "k": "index of a singular value, the largest first",
    "seed": "repetition; coordinate: whole numbers",
}

#: Attributes of every store. ``parameters`` and ``versions`` are JSON; times are in the manifest.
ATTRIBUTES = ("schema_version", "kind", "name", "parameters", "seed", "versions")
KINDS = ("experiment", "sweep")

_DTYPES = ("float64", "float32", "int64", "int32", "int8", "uint8", "bool")


def label(ds: "xr.Dataset", *, kind: str, name: str, parameters: str, seed: int) -> "xr.Dataset":
    """``ds`` with the attributes of the schema, and with ``units`` on every number ("1" where none
    is given).
    """
    from .manifest import versions

    ds = ds.assign_attrs(
        schema_version=SCHEMA_VERSION,
        kind=kind,
        name=name,
        parameters=parameters,
        seed=seed,
        versions=json.dumps(versions(), sort_keys=True),
    )
    for variable in ds.variables.values():
        if variable.dtype.kind in "fiu":
            variable.attrs.setdefault("units", "1")
    return ds


def validate(ds: "xr.Dataset", where: str) -> "xr.Dataset":
    """Return ``ds`` if it keeps the schema; `InputError` with the first thing that does not, and
    the fix, otherwise.
    """
    check_version(ds.attrs, where)
    for attribute in ATTRIBUTES:
        if attribute not in ds.attrs:
            raise InputError(
                f"{where}: the attribute '{attribute}' is missing; write it with "
                "experiments.save_dataset."
            )
    if ds.attrs["kind"] not in KINDS:
        raise InputError(f"{where}: kind is {ds.attrs['kind']!r}; give one of {', '.join(KINDS)}.")
    if not ds.data_vars:
        raise InputError(f"{where}: the dataset holds no data variable; return at least one.")
    for name, variable in ds.variables.items():
        _check_variable(str(name), variable, where)
    for dimension in ds.dims:
        if dimension in ds.coords:
            _check_coordinate(str(dimension), ds.coords[dimension].values, where)
    return ds


def check_version(attributes: Mapping[str, object], where: str) -> None:
    """`InputError` if the attributes are not those of a store of this version of the schema."""
    version = attributes.get("schema_version")
    if version is None:
        raise InputError(
            f"{where}: this is no store of deeplinear's (it has no schema_version); give another "
            "one."
        )
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{where}: the store was made by version {version} of the schema, and this is version "
            f"{SCHEMA_VERSION}; "
            "read it with the release that made it, or make it again."
        )


def _check_variable(name: str, variable: "xr.Variable", where: str) -> None:
    if not name.isidentifier():
        raise InputError(
            f"{where}: the variable name '{name}' is not an identifier; use letters, digits and _."
        )
    # U and T: text of fixed and of variable width
    if variable.dtype.name not in _DTYPES and variable.dtype.kind not in "UT":
        raise InputError(
            f"{where}: '{name}' has dtype {variable.dtype}; give one of {', '.join(_DTYPES)}, or "
            "fixed-width text."
        )
    for dimension in variable.dims:
        if not str(dimension).isidentifier():
            raise InputError(
                f"{where}: the dimension '{dimension}' is not an identifier; use letters, digits "
                "and _."
            )
    units = variable.attrs.get("units")
    if variable.dtype.kind in "fiu" and not isinstance(units, str):
        raise InputError(
            f"{where}: '{name}' has no units; set attrs['units'], \"1\" for a number without any."
        )


def _check_coordinate(name: str, values: np.ndarray, where: str) -> None:
    if values.ndim != 1 or len(np.unique(values)) != len(values):
        raise InputError(
            f"{where}: the coordinate '{name}' repeats a value or has a NaN; give each place its "
            "own."
        )
    number = values.dtype.kind in "fiu"
    if number and np.isnan(values.astype(float)).any():
        raise InputError(
            f"{where}: the coordinate '{name}' has a NaN; give each place its own value."
        )
    whole = number and bool(
        np.all(np.isfinite(values.astype(float)) & (values == np.round(values)))
    )
    rules = {
        "task": lambda: whole and bool(np.array_equal(values, np.arange(len(values)))),
        "run": lambda: whole,
        "seed": lambda: whole,
        "depth": lambda: number and bool(np.all(values >= 1)),
        "scale": lambda: number and bool(np.all(values > 0)),
        "time": lambda: number and bool(np.all(values >= 0)) and bool(np.all(np.diff(values) > 0)),
    }
    if name in rules and not rules[name]():
        raise InputError(
            f"{where}: the coordinate of '{name}' is not as the schema says ({DIMENSIONS[name]})."
        )
