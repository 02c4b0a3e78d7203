"""Which experiments there are: every module of ``experiments/figures`` is one, by being there."""

import ast
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..extras import needed_by
from ..progress import Progress, ProgressCallback, Stopped
from ..results.store import import_xarray
from ..results.suggest import nearest
from . import figures

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Experiment:
    """One module of ``figures``: its settings, what it simulates, and how its dataset is drawn."""

    name: str
    title: str
    doc: str
    full: dict[str, Any]
    smoke: dict[str, Any]
    simulate: "Callable[..., xr.Dataset]"
    draw: "Callable[[xr.Dataset], Figure]"
    summary: "Callable[[xr.Dataset], dict[str, str | float]]"

    def settings(self, smoke: bool) -> dict[str, Any]:
        """The keyword arguments of `simulate`: FULL, or FULL updated by SMOKE."""
        return {**self.full, **self.smoke} if smoke else dict(self.full)

    def run(
        self, *, smoke: bool, seed: int, progress: ProgressCallback | None = None
    ) -> "xr.Dataset":
        """Simulate; ``progress`` is passed to a ``simulate`` that reports.

        **Raises** `Stopped` if ``progress`` returns True: half a dataset would be misread.
        """
        reporting: dict[str, ProgressCallback | None] = {}
        if "progress" in _parameters(self.simulate):
            reporting["progress"] = None if progress is None else _or_stop(progress)
        return self.simulate(seed=seed, **self.settings(smoke), **reporting)


def experiment_names() -> list[str]:
    """The names of all experiments, sorted.

    >>> import deeplinear as dl
    >>> all(name.isidentifier() for name in dl.experiments.experiment_names())
    True
    """
    return sorted(
        m.name for m in pkgutil.iter_modules(figures.__path__) if not m.name.startswith("_")
    )


def experiment_title(name: str) -> str:
    """The title of an experiment, from the source of its module: nothing of it is loaded."""
    (path,) = figures.__path__
    for line in ast.parse((Path(path) / f"{name}.py").read_text(encoding="utf-8")).body:
        if isinstance(line, ast.Assign) and getattr(line.targets[0], "id", "") == "TITLE":
            return str(ast.literal_eval(line.value))
    return load_experiment(name).title


def load_experiment(name: str) -> Experiment:
    """The experiment of that name.

    **Raises** `InputError` with the nearest name if there is none, with what its module lacks, or
    with the package that is not installed.
    """
    known = experiment_names()
    if name not in known:
        raise InputError(f"NAME: there is no experiment '{name}': {nearest(name, known)}.")
    import_xarray()  # before anything is computed that could not be kept
    with needed_by("experiments"):
        module = import_module(f"{figures.__name__}.{name}")
    for needed in ("TITLE", "FULL", "SMOKE", "simulate", "draw"):
        if not hasattr(module, needed):
            raise InputError(
                f"NAME: the experiment '{name}' has no {needed}; define it in {module.__name__}."
            )
    for settings in ("FULL", "SMOKE"):
        for key in getattr(module, settings):
            if key not in _parameters(module.simulate):
                raise InputError(
                    f"NAME: {settings} of the experiment '{name}' sets '{key}', which its simulate "
                    "does not take: "
                    f"{nearest(key, _parameters(module.simulate))}."
                )
    return Experiment(
        name,
        module.TITLE,
        inspect.getdoc(module) or "",
        dict(module.FULL),
        dict(module.SMOKE),
        module.simulate,
        module.draw,
        getattr(module, "summary", lambda ds: {}),
    )


def _or_stop(progress: ProgressCallback) -> ProgressCallback:
    """``progress``, which raises where it asks for an end."""

    def call(state: Progress) -> None:
        if progress(state):
            raise Stopped("the callback asked for an end")

    return call


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)
