"""Experiments of the literature, each by one command, and sweeps that survive failures.

Needs ``pip install 'deeplinear[experiments]'`` (xarray, zarr, dask).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..results.store import load_dataset, save_dataset
    from ..sweeps.sweep import Sweep, SweepReport, open_sweep, read_sweep, run_sweep
    from ..sweeps.task import Output, task
    from .registry import Experiment, experiment_names, load_experiment
    from .result import ExperimentResult, run

# Resolved on first use, as in the package itself: listing experiments needs neither xarray nor
# dask.
_HOME = {
    "Experiment": ".registry",
    "experiment_names": ".registry",
    "load_experiment": ".registry",
    "run": ".result",
    "ExperimentResult": ".result",
    "load_dataset": "..results.store",
    "save_dataset": "..results.store",
    "task": "..sweeps.task",
    "Output": "..sweeps.task",
    "open_sweep": "..sweeps.sweep",
    "read_sweep": "..sweeps.sweep",
    "run_sweep": "..sweeps.sweep",
    "SweepReport": "..sweeps.sweep",
    "Sweep": "..sweeps.sweep",
}

__all__ = [
    "Experiment",
    "experiment_names",
    "load_experiment",
    "run",
    "ExperimentResult",
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
    return getattr(import_module(_HOME[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
