"""Experiments of the literature, each by one command, and sweeps over grids of settings that survive failures.

Needs ``pip install 'deeplinear[experiments]'`` (xarray, zarr, dask).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .kinds import Output, task
    from .registry import Experiment, experiment_names, load_experiment
    from .store import load_dataset, save_dataset
    from .sweep import Sweep, SweepReport, open_sweep, read_sweep, run_sweep

# Resolved on first use, as in the package itself: listing experiments needs neither xarray nor dask.
_HOME = {
    "Experiment": "registry",
    "experiment_names": "registry",
    "load_experiment": "registry",
    "load_dataset": "store",
    "save_dataset": "store",
    "task": "kinds",
    "Output": "kinds",
    "open_sweep": "sweep",
    "read_sweep": "sweep",
    "run_sweep": "sweep",
    "SweepReport": "sweep",
    "Sweep": "sweep",
}

__all__ = [
    "Experiment",
    "experiment_names",
    "load_experiment",
    "load_dataset",
    "save_dataset",
    "task",
    "Output",
    "open_sweep",
    "read_sweep",
    "run_sweep",
    "SweepReport",
    "Sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'deeplinear.experiments' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
