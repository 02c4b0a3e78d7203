"""Grids of parameters: products of axes, of axes that move together, and of lists of tasks."""

import itertools
import math
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

#: Tasks of one sweep.
MOST = 1_000_000
_LONGEST = 60  # characters of a value in a message
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
    lengths, no task at all, or more than `MOST` of them.

    >>> from deeplinear.sweeps.grid import expand
    >>> expand({"depth": [2, 3]}, zipped=[{"size": [10, 20], "observed": [60, 200]}])[1]
    {'depth': 2, 'size': 20, 'observed': 200}
    """
    found = axis_groups(grid, zipped, tasks)
    if not found:
        raise InputError("grid: there is no axis; give at least one, such as depth = [2, 3].")
    count = math.prod(map(len, found))
    if count > MOST:
        raise too_many(count)
    return [_merge(choice) for choice in itertools.product(*found)]


def too_many(count: int) -> InputError:
    """The error about a grid of so many tasks."""
    shown = f"{count:,}" if count < 10**15 else "more than 10¹⁵"
    return InputError(
        f"grid: there are {shown} tasks, and at most {MOST:,} in a sweep; give fewer values, or "
        "make several sweeps."
    )


def axis_groups(
    grid: Mapping[str, Axis],
    zipped: Sequence[Mapping[str, Axis]] = (),
    tasks: Sequence[Mapping[str, Scalar]] = (),
) -> list[AxisGroup]:
    """The factors of the product that `expand` takes, each as the list of its alternatives."""
    if not all(isinstance(group, Mapping) for group in zipped):
        raise InputError("zip: a group must be a table of axes; write [[zip]] above its lists.")
    if not all(isinstance(task, Mapping) for task in tasks):
        raise InputError("tasks: a task must be a table of values; write [[tasks]] above them.")
    found = [
        [{name: value} for value in axis_values(name, values)] for name, values in grid.items()
    ]
    found += [_zip(group) for group in zipped]
    if tasks:
        found.append(_explicit(tasks))
    _check_apart(found)
    return found


def axis_values(name: str, values: Axis, where: str = "grid") -> list[Scalar]:
    """The values of one axis as a list, each a number or a text, none twice."""
    found = _listed(name, values, where)
    if not found:
        raise InputError(f"grid: the axis '{name}' is empty; give at least one value.")
    seen: set[str] = set()
    for value in found:
        text = encode({"": value})
        if text in seen:
            raise InputError(
                f"grid: the axis '{name}' has {shown(value)} twice; repeat a task with an axis "
                "'seed' instead."
            )
        seen.add(text)
    return found


def check_scalar(what: str, value: object) -> None:
    """`InputError` unless ``value`` is one number or one text that the store can hold: no NaN, no
    integer of more than 64 bits, no zero byte.
    """
    if not isinstance(value, bool | int | float | str | np.generic):
        raise InputError(
            f"grid: {what} must hold numbers or texts, got {shown(value)}; give one value for each "
            "task."
        )
    if value != value:
        raise InputError(f"grid: {what} has a NaN; leave it out, or give another value.")
    plain = canonical(value)
    if isinstance(plain, int) and not -(2**63) <= plain < 2**63:
        raise InputError(f"grid: {what} has an integer of more than 64 bits; give a smaller one.")
    if isinstance(plain, str) and "\0" in plain:
        raise InputError(f"grid: {what} has a text with a zero byte; write it without.")


def check_whole(what: str, value: object, least: int) -> None:
    """`InputError` unless ``value`` is a whole number, at least ``least``, and no truth value."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or int(value) != value or value < least:  # type: ignore[arg-type,call-overload,operator]
        raise InputError(f"{what} must be a whole number ≥ {least}, got {shown(value)}.")


def shown(value: object) -> str:
    """A value in a message."""
    text = repr(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _listed(name: str, values: Axis, where: str) -> list[Scalar]:
    """The values of one axis, which are of one kind: numbers, texts or truth values."""
    if isinstance(values, Mapping):
        values = _from_range(name, values)
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, str) or not isinstance(values, Sequence):
        text = shown(values)
        raise InputError(
            f"{where}: the axis '{name}' must be a list of values, got {text}: write [{text}]."
        )
    for value in values:
        check_scalar(f"the axis '{name}'", value)
    check_one_kind(f"the axis '{name}'", values)
    return list(values)


def check_one_kind(what: str, values: Sequence[Scalar]) -> None:
    """`InputError` unless all values are numbers, all are texts or all are truth values, so that
    they stay what they are as a coordinate of the store.
    """
    kinds = {np.asarray(value).dtype.kind.replace("f", "i").replace("u", "i") for value in values}
    if len(kinds) > 1:
        raise InputError(
            f"grid: {what} mixes numbers, texts and truth values; give values of one kind."
        )


def _from_range(name: str, spec: Mapping[str, Sequence[float]]) -> list[Scalar]:
    if len(spec) != 1 or next(iter(spec)) not in _RANGES:
        raise InputError(
            f"grid: the axis '{name}' must be a list, or a table with one of {', '.join(_RANGES)}."
        )
    kind, given = next(iter(spec.items()))
    needed = (1, 2, 3) if kind == "range" else (3,)
    numbers = isinstance(given, Sequence) and all(
        isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in given
    )
    why = f"{' to '.join(map(str, sorted({needed[0], needed[-1]})))} finite numbers are needed"
    if numbers and not isinstance(given, str) and len(given) in needed:
        try:
            count = _range_length(kind, given)
            if count > MOST:
                raise too_many(int(count))
            with np.errstate(all="ignore"):  # the values are checked
                return _RANGES[kind](*given).tolist()  # type: ignore[operator]
        except (TypeError, ValueError, ArithmeticError) as error:
            if isinstance(error, InputError):
                raise
            why = str(error)
    raise InputError(
        f"grid: {kind} of the axis '{name}' got {shown(given)} ({why}); see numpy.{kind}."
    )


def _range_length(kind: str, given: Sequence[float]) -> float:
    """How many numbers a range has; 0 where it is empty."""
    if kind != "range":
        return given[2]
    start, stop = (0, given[0]) if len(given) == 1 else given[:2]
    return max(0, (stop - start) / (given[2] if len(given) > 2 else 1))


def _zip(group: Mapping[str, Axis]) -> AxisGroup:
    lists = {name: _listed(name, values, "zip") for name, values in group.items()}
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        got = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "none"
        raise InputError(
            f"zip: axes that move together need lists of one length, got {got}; make them equal."
        )
    together = zip(*lists.values(), strict=True)
    return _distinct([dict(zip(lists, values, strict=True)) for values in together])


def _explicit(tasks: Sequence[Mapping[str, Scalar]]) -> AxisGroup:
    names = list(tasks[0])
    for index, task in enumerate(tasks):
        if set(task) != set(names):
            raise InputError(
                f"tasks: task {index} sets {', '.join(task)} where the first sets "
                f"{', '.join(names)}; let every task set the same."
            )
        for name, value in task.items():
            check_scalar(f"'{name}' of task {index}", value)
    for name in names:
        check_one_kind(f"'{name}' of the tasks", [task[name] for task in tasks])
    return _distinct([{name: task[name] for name in names} for task in tasks])


def _distinct(group: AxisGroup) -> AxisGroup:
    """``group``, whose alternatives all differ; then so do the tasks of a product."""
    first: dict[str, int] = {}
    for index, row in enumerate(group):
        other = first.setdefault(encode(dict(row)), index)
        if other != index:
            raise InputError(
                f"tasks: tasks {other} and {index} are the same; repeat a task with an axis 'seed' "
                "instead."
            )
    return group


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
