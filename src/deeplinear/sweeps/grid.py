"""Grids of parameters: products of axes, of axes that move together, and of lists of tasks."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from ..errors import InputError
from ..results.parameters import canonical, encode

# One value of a parameter, and the values of one axis: a list, or a range as in `expand`.
Scalar: TypeAlias = bool | int | float | str | np.generic
Axis: TypeAlias = Sequence[Scalar] | np.ndarray | Mapping[str, Sequence[float]]
# The alternatives of one factor of the product: one axis, or axes that move together.
AxisGroup: TypeAlias = list[dict[str, Scalar]]

_RANGES = {"range": np.arange, "linspace": np.linspace, "geomspace": np.geomspace}


def expand(
    grid: Mapping[str, Axis],
    zipped: Sequence[Mapping[str, Axis]] = (),
    tasks: Sequence[Mapping[str, Scalar]] = (),
) -> list[dict[str, Scalar]]:
    """All tasks of a sweep, as dictionaries of what varies: the first axis varies slowest.

    ``grid`` has one list for each axis; ``zipped`` are groups of lists of equal length that move
    together; ``tasks`` is a list of explicit combinations. A list may be given as
    ``{"range": [start, stop]}``, ``{"linspace": [a, b, n]}`` or ``{"geomspace": [a, b, n]}``, with
    NumPy's meaning.

    **Raises** `InputError` for an empty axis, a value twice, an axis in two places, unequal
    lengths, or no task at all.

    >>> from deeplinear.sweeps.grid import expand
    >>> expand({"depth": [2, 3]}, zipped=[{"size": [10, 20], "observed": [60, 200]}])[1]
    {'depth': 2, 'size': 20, 'observed': 200}
    """
    found = axis_groups(grid, zipped, tasks)
    if not found:
        raise InputError("grid: there is no axis; give at least one, such as depth = [2, 3].")
    return [_merge(choice) for choice in itertools.product(*found)]


def axis_groups(
    grid: Mapping[str, Axis],
    zipped: Sequence[Mapping[str, Axis]] = (),
    tasks: Sequence[Mapping[str, Scalar]] = (),
) -> list[AxisGroup]:
    """The factors of the product that `expand` takes, each as the list of its alternatives."""
    found = [
        [{name: value} for value in axis_values(name, values)] for name, values in grid.items()
    ]
    found += [_zip(group) for group in zipped]
    if tasks:
        found.append(_explicit(tasks))
    _check_apart(found)
    return found


def axis_values(name: str, values: Axis) -> list[Scalar]:
    """The values of one axis as a list, each a number or a text, none twice."""
    if isinstance(values, Mapping):
        values = _from_range(name, values)
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(
            f"grid: the axis '{name}' must be a list of values, got {values!r}: write [{values!r}]."
        )
    if len(values) == 0:
        raise InputError(f"grid: the axis '{name}' is empty; give at least one value.")
    for value in values:
        check_scalar(f"the axis '{name}'", value)
    seen = [encode({"": value}) for value in values]
    repeated = next(
        (value for value, text in zip(values, seen, strict=True) if seen.count(text) > 1), None
    )
    if repeated is not None and len(set(seen)) < len(seen):
        raise InputError(
            f"grid: the axis '{name}' has {repeated!r} twice; repeat a task with an axis 'seed' "
            "instead."
        )
    return list(values)


def check_scalar(what: str, value: object) -> None:
    """`InputError` unless ``value`` is one number (no NaN) or one text, as a coordinate must be."""
    if not isinstance(value, bool | int | float | str | np.generic):
        raise InputError(
            f"grid: {what} must hold numbers or texts, got {value!r}; give one value for each task."
        )
    canonical(value)  # refuses NaN


def _from_range(name: str, spec: Mapping[str, Sequence[float]]) -> list[Scalar]:
    if len(spec) != 1 or next(iter(spec)) not in _RANGES:
        raise InputError(
            f"grid: the axis '{name}' must be a list, or a table with one of {', '.join(_RANGES)}."
        )
    kind, arguments = next(iter(spec.items()))
    try:
        return _RANGES[kind](*arguments).tolist()  # type: ignore[operator]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"grid: {kind} of the axis '{name}' got {arguments!r} ({error}); see numpy.{kind}."
        ) from None


def _zip(group: Mapping[str, Axis]) -> AxisGroup:
    lists = {name: _listed(name, values) for name, values in group.items()}
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        got = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "none"
        raise InputError(
            f"zip: axes that move together need lists of one length, got {got}; make them equal."
        )
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def _listed(name: str, values: Axis) -> list[Scalar]:
    if isinstance(values, Mapping):
        return _from_range(name, values)
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        raise InputError(
            f"zip: '{name}' must be a list of values, got {values!r}: write [{values!r}]."
        )
    for value in values:
        check_scalar(f"'{name}'", value)
    return list(values)


def _explicit(tasks: Sequence[Mapping[str, Scalar]]) -> AxisGroup:
    names = list(tasks[0])
    for index, task in enumerate(tasks):
        if set(task) != set(names):
            raise InputError(
                f"tasks: task {index} sets {', '.join(task)} where the first sets "
                f"{', '.join(names)}; "
                "let every task set the same."
            )
        for name, value in task.items():
            check_scalar(f"'{name}' of task {index}", value)
    return [{name: task[name] for name in names} for task in tasks]


def _check_apart(groups: Sequence[AxisGroup]) -> None:
    seen: set[str] = set()
    for group in groups:
        for name in group[0]:
            if name in seen:
                raise InputError(f"grid: '{name}' is set in two places; keep one of them.")
            seen.add(name)


def _merge(choice: Sequence[dict[str, Scalar]]) -> dict[str, Scalar]:
    merged: dict[str, Scalar] = {}
    for part in choice:
        merged |= part
    return merged
