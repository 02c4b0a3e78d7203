"""Tasks of sweeps: built-in ones, and functions of yours with declared outputs."""

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from ..errors import InputError
from ..results.suggest import nearest

REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Output:
    """What a task returns under one name: extra dimensions with their sizes (none: one number),
    type, units and meaning.

    ``fill`` stands where a task has not been computed. ``labels`` are coordinates of the
    dimensions, if any.
    """

    dims: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = "float64"
    units: str = "1"
    description: str = ""
    labels: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if len(self.dims) != len(self.shape):
            raise InputError(
                f"outputs: {len(self.dims)} names of dimensions and {len(self.shape)} sizes; give "
                "as many."
            )
        if "task" in self.dims:
            raise InputError(
                "outputs: the dimension 'task' is the sweep's own; name only the dimensions of one "
                "task."
            )
        if np.dtype(self.dtype).kind not in "fiub":
            raise InputError(
                f"outputs: dtype must be a kind of number or bool, got {self.dtype}; see the "
                "schema."
            )

    @property
    def fill(self) -> float | int | bool:
        return {"f": float("nan"), "b": False}.get(np.dtype(self.dtype).kind, 0)


@dataclass(frozen=True)
class Task:
    """A task: its name, its function, the parameters it takes and the outputs it returns.

    ``parameters`` maps each name to its default, or to `REQUIRED`. With ``open`` the function takes
    any keyword. ``refuse`` raises `InputError` for values that the function would refuse.
    """

    name: str
    function: Callable[..., Mapping[str, Any]]
    parameters: dict[str, Any]
    outputs: dict[str, Output]
    open: bool = False
    refuse: Callable[..., None] | None = None

    def check_values(self, values: Mapping[str, Any]) -> None:
        """`InputError` for the values of one task that it would refuse, if it says which."""
        if self.refuse is None:
            return
        try:
            self.refuse(**values)
        except InputError as error:
            where = ", ".join(f"{name} = {value!r}" for name, value in values.items())
            raise InputError(f"grid: no task for {where}: {error}") from None

    def check(self, name: str) -> None:
        """`InputError` with the nearest name if the task has no parameter ``name``."""
        if name not in self.parameters and not self.open:
            known = [parameter for parameter in self.parameters if parameter != "key"]
            raise InputError(
                f"grid: the task '{self.name}' has no parameter '{name}': {nearest(name, known)}."
            )


def task(
    refuse: Callable[..., None] | None = None, /, **outputs: Output
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a function as a task of sweeps, with what it returns: a dictionary with one value for
    each of ``outputs``.

    ``refuse``, if given, is called with the keywords of every task before the store is laid out,
    and raises `InputError` for values that make no task.

    The function is called with keywords: the parameters of one task. If it takes ``key``, it gets a
    seed that depends on the values of the parameters alone (not on their order, nor on that of the
    tasks), so that tasks are independent; with the plain ``seed`` of the grid tasks that differ
    elsewhere share their random numbers. A run that has no number returns NaN.

    >>> import deeplinear as dl
    >>> @dl.experiments.task(square=dl.experiments.Output(units="m²"))
    ... def area(side):
    ...     return {"square": side**2}
    >>> area(side=3)
    {'square': 9}

    In a sweep, here in this process:

    >>> import tempfile
    >>> store = tempfile.mkdtemp() + "/areas.zarr"
    >>> sweep = dl.experiments.Sweep(area, grid={"side": [1.0, 2.0]})
    >>> dl.experiments.run_sweep(sweep, store, workers=0).computed
    2
    >>> dl.experiments.open_sweep(store).square.values.tolist()
    [1.0, 4.0]
    """
    if not outputs:
        raise InputError("outputs: a task must return something; declare task(name=Output(...)).")

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__sweep_outputs__ = outputs  # type: ignore[attr-defined]
        function.__sweep_refuse__ = refuse  # type: ignore[attr-defined]
        return function

    return declare


# Tasks that have a name, and where they are: they import this module, so they are imported when
# asked for.
BUILTIN = {"completion": "deeplinear.sweeps.completion_task:completion"}


def resolve(what: str | Callable[..., Any], folder: str = "") -> Task:
    """The task of that name, of ``"module:function"`` (``folder`` is searched too), or of a
    function declared by `task`.
    """
    if callable(what):
        return _declared(what, getattr(what, "__qualname__", "function"))
    if ":" in what:
        return _declared(_imported(what, folder), what)
    if what not in BUILTIN:
        raise InputError(
            f"task: there is no task '{what}': {nearest(what, BUILTIN)}; a function of yours is "
            "'module:function'."
        )
    return _declared(_imported(BUILTIN[what], ""), what)


def _imported(what: str, folder: str) -> Callable[..., Any]:
    module_name, _, name = what.partition(":")
    if folder and folder not in sys.path and os.path.isdir(folder):
        sys.path.insert(0, folder)
    if not all(map(str.isidentifier, module_name.split("."))):
        raise InputError(f"task: '{module_name}' is no name of a module; give 'module:function'.")
    try:
        module = import_module(module_name)
    except Exception as error:  # of any kind: it is the user's module
        why = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise InputError(
            f"task: '{module_name}' cannot be imported ({why}); give an installed module."
        ) from None
    if not callable(getattr(module, name, None)):
        functions = [key for key, value in vars(module).items() if callable(value)]
        raise InputError(
            f"task: '{module_name}' has no function '{name}': {nearest(name, functions)}."
        )
    return getattr(module, name)


def _declared(function: Callable[..., Any], name: str) -> Task:
    outputs = getattr(function, "__sweep_outputs__", None)
    if outputs is None:
        raise InputError(
            f"task: '{name}' does not say what it returns; decorate it with "
            "@deeplinear.experiments.task(x=Output(...))."
        )
    signature = inspect.signature(function).parameters.values()
    return Task(
        name,
        function,
        {
            p.name: p.default
            for p in signature
            if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        },
        dict(outputs),
        any(p.kind is p.VAR_KEYWORD for p in signature),
        getattr(function, "__sweep_refuse__", None),
    )
