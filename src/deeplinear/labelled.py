"""Results as labelled data: data sets of xarray, frames of pandas, and a few lines of text.

A result says once what its arrays are (`Variable`: dimensions, unit, meaning); what is written
here turns that into an `xarray.Dataset` and into a tidy frame, bit for bit.
"""

import dataclasses
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .checks import is_traced
from .extras import needed_by
from .labels import depth_number
from .status import Status, counted
from .transforms import needs_values

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

#: Dimensions of one matrix: a frame has a column for each place along them.
INNER = ("row", "column", "k", "k2")
#: The unit of times: that of the flow, in which E falls like the square of its gradient.
TIME_UNITS = "time of the flow, with the factor 1/N"
_PACKAGES = ("jax", "jaxlib", "numpy", "diffrax")


class Variable(NamedTuple):
    """An array with the names of its axes, what it is, and its unit ("1": none).

    ``framed``: whether a frame has it too. Codes of `Status` are kept as they are in data sets,
    with their names in the attributes, and are names in frames.
    """

    dims: tuple[str, ...]
    values: Any
    about: str = ""
    units: str = "1"
    framed: bool = True
    is_status: bool = False


def status_variable(dims: tuple[str, ...], codes: Any) -> Variable:
    """How runs ended."""
    return Variable(dims, np.asarray(codes, np.int32), "how it ended", is_status=True)


class Labelled:
    """What results have in common: `to_xarray`, `to_frame` and their text.

    A subclass gives ``_variables()`` (by name; one named like a dimension is its coordinate) and
    ``_attributes()``, and ``_lines()`` for its text.
    """

    def _variables(self) -> dict[str, Variable]:
        raise NotImplementedError

    def _attributes(self) -> dict[str, Any]:
        return {}

    def _lines(self) -> list[str]:
        raise NotImplementedError

    @needs_values
    def to_xarray(self) -> "xr.Dataset":
        """The result as an `xarray.Dataset`, bit for bit: named dimensions (``run`` or ``chain``,
        ``time``, ``row``, ``column``, ``k`` for the index of a singular value), coordinates, units
        and a description of each variable; depth, the sentence of the status and versions as
        attributes. Codes of `Status` have their names in ``flag_values`` and ``flag_meanings``.

        **Raises** `InputError` without xarray (the extra ``experiments``) and inside ``jit``.
        """
        with needed_by("data sets"):
            import xarray
        found = {name: _array(v) for name, v in self._variables().items()}
        dims = {dim for dims, _, _ in found.values() for dim in dims}
        coords = {name: v for name, v in found.items() if name in dims or name in ("t", "time")}
        data = {name: v for name, v in found.items() if name not in coords}
        made = {"result": type(self).__name__, **self._attributes(), "versions": versions()}
        return xarray.Dataset(data, coords, {k: v for k, v in made.items() if v is not None})

    @needs_values
    def to_frame(self) -> "pd.DataFrame":
        """The result as a tidy frame of pandas, bit for bit: a line for each run and time, with a
        column for each number and for each entry of vectors and matrices (``W_1_2``,
        ``singular_values_1``: places count from 1, as in formulas). Factors are in `to_xarray`.

        **Raises** `InputError` without pandas (the extra ``frames``) and inside ``jit``.
        """
        with needed_by("frames"):
            import pandas
        framed = {name: v for name, v in self._variables().items() if v.framed}
        outer: dict[str, int] = {}
        # the one with most axes has them in their order
        for variable in sorted(framed.values(), key=lambda v: -len(v.dims)):
            for dim, size in zip(variable.dims, np.shape(variable.values), strict=True):
                if dim not in INNER:
                    outer.setdefault(dim, size)
        columns: dict[str, np.ndarray] = {}
        for dim, size in outer.items():
            if dim not in framed:  # no coordinate: places, from 0
                columns[dim] = _spread(np.arange(size), (dim,), outer)
        first = sorted(framed.items(), key=lambda item: item[0] not in (*outer, "t", "time"))
        for name, variable in first:
            if name not in INNER:
                columns.update(_columns(name, variable, outer))
        return pandas.DataFrame(columns)

    def __repr__(self) -> str:
        head, *more = self._lines()
        return "\n".join([f"{type(self).__name__}({head}", *(f"  {line}" for line in more)]) + ")"


class Numbers(Labelled):
    """Results that are a few numbers: every field is a variable, text and `Status` are attributes.

    ``_axis`` names the leading axis of arrays, ``_matrices`` the fields that are m×n at the end.
    Also for named tuples, which take these methods over one by one.
    """

    _axis = "place"
    _matrices: tuple[str, ...] = ("W",)

    def _items(self) -> dict[str, Any]:
        names = getattr(self, "_fields", None)
        if names is None:
            names = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        return {name: getattr(self, name) for name in names}

    def _variables(self) -> dict[str, Variable]:
        found: dict[str, Variable] = {}
        for name, value in self._items().items():
            if name == "factors":
                found |= factor_variables((), value)
            elif name != "status" and not isinstance(value, str | dict | None):
                array = np.asarray(value)
                inner = ("row", "column")[: 2 * (name in self._matrices)]
                outer = [f"{self._axis}_{i + 1}" if i else self._axis for i in range(array.ndim)]
                found[name] = Variable((*outer[: array.ndim - len(inner)], *inner), array)
        return found

    def _attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in self._items().items():
            if name == "status":
                found[name] = ending(value)
            elif isinstance(value, str):
                found[name] = value
            elif isinstance(value, dict):
                found |= {f"{name}_{key}": number for key, number in value.items()}
        return found

    def _lines(self) -> list[str]:
        items = {k: v for k, v in self._items().items() if k not in ("status", "factors")}
        if is_traced(self):
            return ["traced: its numbers are known outside jit, vmap and grad"]
        words = [
            f"{name} {value if isinstance(value, str) else number_range(value, '.4g')}"
            for name, value in items.items()
            if not isinstance(value, dict | None)
        ]
        status = self._items().get("status")
        return [", ".join(words), *([] if status is None else [ending(status)])]


def _array(variable: Variable) -> tuple[tuple[str, ...], np.ndarray, dict[str, Any]]:
    values = np.asarray(variable.values)
    attributes: dict[str, Any] = {"units": variable.units, "description": variable.about}
    if variable.is_status:
        codes = np.unique(values)
        attributes["flag_values"] = codes
        attributes["flag_meanings"] = " ".join(Status(int(code)).name for code in codes)
    return variable.dims, values, {k: v for k, v in attributes.items() if not np.array_equal(v, "")}


def _spread(values: np.ndarray, dims: tuple[str, ...], outer: Mapping[str, int]) -> np.ndarray:
    """``values`` with axes ``dims`` along all of ``outer``, as one column."""
    order = [dim for dim in outer if dim in dims]
    values = np.transpose(values, [dims.index(dim) for dim in order])
    shape = [size if dim in dims else 1 for dim, size in outer.items()]
    return np.broadcast_to(values.reshape(shape), tuple(outer.values())).reshape(-1)


def _columns(name: str, variable: Variable, outer: Mapping[str, int]) -> dict[str, np.ndarray]:
    """A column for each place along the inner dimensions of a variable."""
    values = np.asarray(variable.values)
    if variable.is_status:
        names = [Status(int(code)).name for code in values.ravel()]
        values = np.array(names, dtype=object).reshape(values.shape)
    inner = [axis for axis, dim in enumerate(variable.dims) if dim in INNER]
    sizes = [values.shape[axis] for axis in inner]
    dims = tuple(dim for dim in variable.dims if dim not in INNER)
    values = np.moveaxis(values, inner, range(len(inner)))
    return {
        "_".join([name, *(str(i + 1) for i in place)]): _spread(values[place], dims, outer)
        for place in np.ndindex(*sizes)
    }


def times(ts: np.ndarray, dims: tuple[str, ...]) -> dict[str, Variable]:
    """The coordinates of time for ts with axes ``dims``, of which the last is "time".

    ``time`` where all runs have the same increasing, finite times; ``t``, on all axes, otherwise.
    Of ends alone (``dims`` without "time") it is ``t`` too.
    """
    what = "infinite where it was not reached", TIME_UNITS
    if dims[-1:] != ("time",):
        return {"t": Variable(dims, ts, *what)}
    first = ts.reshape(-1, ts.shape[-1])[0] if ts.size else ts.reshape(-1)
    if np.isfinite(first).all() and (np.diff(first) > 0).all() and (ts == first).all():
        return {"time": Variable(("time",), first, *what)}
    return {"t": Variable(dims, ts, *what)}


def factor_variables(dims: tuple[str, ...], factors: Any) -> dict[str, Variable]:
    """``factor_1`` … ``factor_N``; widths between the layers are dimensions ``width_1`` …"""
    depth = len(factors or ())
    names = ["column", *(f"width_{p}" for p in range(1, depth)), "row"]
    return {
        f"factor_{p}": Variable((*dims, names[p], names[p - 1]), W, f"W_{p}", framed=False)
        for p, W in enumerate(factors or (), start=1)
    }


def ending(status: Any) -> str:
    """The sentence of one status; of several how many ended how."""
    codes = np.asarray(status)
    return Status(int(codes)).sentence if codes.ndim == 0 else counted(codes)


def depth_of(depth: Any) -> float | None:
    """A depth as a number, where it is known and one; ``vmap`` gives one for each run."""
    values = np.unique([] if depth is None else np.asarray(depth, float))
    return float(values[0]) if values.size == 1 else None


def about_depth(depth: Any) -> str:
    """``, depth 3`` or nothing, where it is not known."""
    number = depth_of(depth)
    return "" if number is None else f", depth {depth_number(number)}"


def versions() -> str:
    """Versions of this library, Python and of what numbers depend on, as JSON."""
    from . import __version__

    found = {"deeplinear": __version__, "python": platform.python_version()}
    return json.dumps(found | {name: metadata.version(name) for name in _PACKAGES})


def number_range(values: Any, spec: str = ".3g") -> str:
    """``0.5``, or ``0.1 … 2`` of several: the finite ones among ``values``."""
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return "not finite"
    low, high = (format(float(x), spec) for x in (finite.min(), finite.max()))
    return low if low == high else f"{low} … {high}"


def rank_of(log_s: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """How many singular values stand above the rounding of the largest, from log σ (…, k)."""
    noise = max(shape) * np.finfo(log_s.dtype).eps
    top = log_s[..., :1]
    return np.sum((log_s > top + np.log(noise)) & (log_s > -np.inf), axis=-1)


def spectrum_line(log_s: Any, shape: tuple[int, int]) -> str:
    """Rank and effective rank, of one matrix or of the range of several; from log σ (…, k)."""
    from .run_plots import effective_rank

    log_s = np.asarray(log_s)
    rank, effective = rank_of(log_s, shape), effective_rank(log_s)
    if not np.isfinite(effective).any():
        return "W is not finite"
    rank = rank[np.isfinite(effective)]
    return f"rank {number_range(rank, 'g')} (effective {number_range(effective)})"
