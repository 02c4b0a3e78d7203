"""How the estimators write themselves to model files, and back."""

import os
from abc import abstractmethod
from dataclasses import astuple
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ..errors import InputError
from .data.observations import Observations
from .model import file_format
from .model.predictor import MISSING_ENTRIES, Model
from .model.serialize import Arrays, Meta, dump, restore
from .solver.selection import Trial

PathLike = str | os.PathLike[str]
# Attributes that are not read off the model.
_STATE = ("validation_score_", "standardized_score_", "converged_", "n_iter_")


class SavedEstimator(BaseEstimator):
    """An estimator whose fitted state is a `Model`, the trials, and a few numbers."""

    model_: Model
    trials_: tuple[Trial, ...]

    @abstractmethod
    def _describe(self) -> None:
        """Set the attributes that are read off the model."""

    def _entries(self, what: str) -> Observations:
        check_is_fitted(self)
        if self.model_.seen is None:
            raise InputError(MISSING_ENTRIES.format(what=what))
        return self.model_.seen

    def save(self, path: PathLike, *, entries: bool = True) -> None:
        """Write the model to a file of numbers and text, laid out as `model.file_format` says.

        ``entries=False`` leaves the training entries out: smaller, and none of them leaves the
        house; then there is nothing that needs them: no deviations, draws, ``partial_fit`` or
        ``exclude_seen``. Parameters that are functions or generators are not saved.
        """
        check_is_fitted(self)
        meta, arrays = dump(self.model_, entries=entries)
        plain = (type(None), bool, int, float, str, tuple, list, np.generic)
        params = {
            k: _as_list(v) for k, v in self.get_params(deep=False).items() if k != "checkpoint"
        }
        meta["params"] = {k: v for k, v in params.items() if isinstance(v, plain)}
        meta["state"] = {name: getattr(self, name) for name in _STATE if hasattr(self, name)}
        meta["trials"] = [list(astuple(trial)) for trial in self.trials_]
        self._dump_more(meta, arrays)
        file_format.write(path, type(self).__name__, meta, arrays)

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """A saved model; it predicts what the saved one did, bit for bit.

        **Raises** `InputError` if the file is damaged, newer, or of another estimator.
        """
        meta, arrays = file_format.unpack(path, cls.__name__)
        estimator = cls(**meta["params"])
        estimator._restore_more(meta, arrays)
        estimator.model_ = restore(meta, arrays)
        estimator.trials_ = tuple(Trial(*trial) for trial in meta["trials"])
        for name, value in meta["state"].items():
            setattr(estimator, name, value)
        estimator._describe()
        return estimator

    def _dump_more(self, meta: Meta, arrays: Arrays) -> None:
        """Add to a model file what the subclass needs."""

    def _restore_more(self, meta: Meta, arrays: Arrays) -> None:
        """Take what `_dump_more` added, out of ``arrays`` too."""


def _as_list(parameter: Any) -> Any:
    """Arrays, series and ranges as lists, which a model file can carry."""
    if hasattr(parameter, "tolist"):
        return parameter.tolist()
    return list(parameter) if isinstance(parameter, range) else parameter
