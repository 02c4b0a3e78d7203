"""Which experiments there are: every module of ``experiments/figures`` is one, by being there, and
so is a file of one's own.
"""

import ast
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..extras import needed_by
from ..progress import Progress, ProgressCallback, Stopped
from ..results.store import import_xarray
from ..results.suggest import nearest
from . import figures
from .settings import change

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Experiment:
    """One module of ``figures``: its settings, what it simulates, and how its dataset is drawn.

    ``source`` is the paper and its figure, ``duration`` what the full settings take, and
    ``conclusion`` what they say; all three may be empty in a file of one's own.
    """

    name: str
    title: str
    source: str
    duration: str
    conclusion: str
    doc: str
    full: dict[str, Any]
    smoke: dict[str, Any]
    simulate: "Callable[..., xr.Dataset]"
    draw: "Callable[[xr.Dataset], Figure]"
    summary: "Callable[[xr.Dataset], dict[str, str | float]]"
    called: str  # what commands call it by: its name, or the path of a file of one's own

    def settings(self, smoke: bool, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The keyword arguments of `simulate`: FULL, or FULL updated by SMOKE, with ``changes``.

        **Raises** `InputError` for a change that does not fit.
        """
        settings = {**self.full, **self.smoke} if smoke else dict(self.full)
        return change(settings, changes or {}, self.name)

    def run(
        self,
        *,
        smoke: bool,
        seed: int,
        changes: Mapping[str, Any] | None = None,
        progress: ProgressCallback | None = None,
    ) -> "xr.Dataset":
        """Simulate with these `settings`; ``progress`` is passed to a ``simulate`` that reports.

        **Raises** `Stopped` if ``progress`` returns True: half a dataset would be misread.
        """
        reporting: dict[str, ProgressCallback | None] = {}
        if "progress" in _parameters(self.simulate):
            reporting["progress"] = None if progress is None else _or_stop(progress)
        return self.simulate(seed=seed, **self.settings(smoke, changes), **reporting)


def experiment_names() -> list[str]:
    """The names of all experiments, sorted.

    >>> import deeplinear as dl
    >>> all(name.isidentifier() for name in dl.experiments.experiment_names())
    True
    """
    return sorted(
        m.name for m in pkgutil.iter_modules(figures.__path__) if not m.name.startswith("_")
    )


@dataclass(frozen=True)
class Card:
    """What a list says of an experiment."""

    title: str
    source: str = ""
    duration: str = ""


def experiment_card(name: str) -> Card:
    """The card of an experiment, from the source of its module: nothing of it is loaded."""
    found = {}
    for line in ast.parse(experiment_source(name)).body:
        if not isinstance(line, ast.Assign):
            continue
        key = getattr(line.targets[0], "id", "")
        if key in ("TITLE", "SOURCE", "DURATION"):
            found[key.lower()] = str(ast.literal_eval(line.value))
    return Card(**found) if "title" in found else Card(load_experiment(name).title)


def experiment_source(name: str) -> str:
    """The text of the module of an experiment.

    **Raises** `InputError` with the nearest name if there is none.
    """
    _check_name(name)
    (path,) = figures.__path__
    return (Path(path) / f"{name}.py").read_text(encoding="utf-8")


def load_experiment(name: str) -> Experiment:
    """The experiment of that name, or of a file of one's own (a path that ends in ``.py``).

    A file is run as if it lay in ``experiments/figures``, so that a copy of one of these works as
    it is.

    **Raises** `InputError` with the nearest name if there is none, with what its module lacks, or
    with the package that is not installed.
    """
    if not isinstance(name, str):
        raise InputError(f"NAME must be the name of an experiment, got {name!r}.")
    import_xarray()  # before anything is computed that could not be kept
    called, own = name, name.endswith(".py")
    module = _of_file(Path(name)) if own else _of_house(name)
    name = Path(name).stem if own else name
    for needed in ("TITLE", "FULL", "SMOKE", "simulate", "draw"):
        if not hasattr(module, needed):
            raise InputError(
                f"NAME: the experiment '{name}' has no {needed}; define it in {module.__file__}."
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
        getattr(module, "SOURCE", ""),
        getattr(module, "DURATION", ""),
        getattr(module, "CONCLUSION", ""),
        inspect.getdoc(module) or "",
        dict(module.FULL),
        dict(module.SMOKE),
        module.simulate,
        module.draw,
        getattr(module, "summary", lambda ds: {}),
        called,
    )


def _check_name(name: str) -> None:
    known = experiment_names()
    if name not in known:
        raise InputError(
            f"NAME: there is no experiment '{name}': {nearest(name, known)}; a file of your own is "
            "given with its ending, .py."
        )


def _of_house(name: str) -> ModuleType:
    _check_name(name)
    with needed_by("experiments"):
        return import_module(f"{figures.__name__}.{name}")


def _of_file(path: Path) -> ModuleType:
    """The module of a file of one's own, with the package of the others for relative imports."""
    if not path.is_file():
        raise InputError(f"NAME: there is no file '{path}'; see deeplinear experiment list.")
    if not path.stem.isidentifier():
        raise InputError(
            f"NAME: '{path.name}' must be named like a Python name, such as mine.py, for results "
            "are called after it."
        )
    spec = spec_from_file_location(f"{figures.__name__}._own_{path.stem}", path)
    assert spec is not None  # as for every file that ends in .py
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses of the file look for themselves there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        reason = str(error).splitlines() or [""]
        raise InputError(
            f"NAME: '{path}' cannot be loaded ({type(error).__name__}: {reason[0]}); run "
            f"python {path} to see where."
        ) from error
    return module


def _or_stop(progress: ProgressCallback) -> ProgressCallback:
    """``progress``, which raises where it asks for an end."""

    def call(state: Progress) -> None:
        if progress(state):
            raise Stopped("the callback asked for an end")

    return call


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)
