"""Experiments of the literature, each by one command, and sweeps over grids of settings that survive failures.

Needs ``pip install 'deeplinear[experiments]'`` (xarray, zarr, dask).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .registry import Experiment, experiment_names, load_experiment
    from .store import load_dataset, save_dataset

# Resolved on first use, as in the package itself: listing experiments needs neither xarray nor dask.
_HOME = {
    "Experiment": "registry",
    "experiment_names": "registry",
    "load_experiment": "registry",
    "load_dataset": "store",
    "save_dataset": "store",
}

__all__ = [
    "Experiment",
    "experiment_names",
    "load_experiment",
    "load_dataset",
    "save_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'deeplinear.experiments' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
