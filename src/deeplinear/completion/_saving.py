"""How the estimators write themselves to model files, and back."""

import os
from abc import abstractmethod
from dataclasses import astuple
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ..errors import InputError
from . import file_format
from .data.observations import Observations
from .file_format import Arrays, Meta
from .model.predictor import MISSING_ENTRIES, Model
from .model.serialize import dump, restore
from .schema import NUMBER, TRUTH, WHOLE, Field, Schema, check_arrays
from .solver.path import TRIAL, Trial

PathLike = str | os.PathLike[str]
# Attributes that are not read off the model.
_STATE: Schema = {
    "validation_score_": Field(NUMBER, least=0, finite=False),
    "standardized_score_": Field(NUMBER, least=0, finite=False),
    "converged_": Field(TRUTH),
    "n_iter_": Field(WHOLE, least=0),
}
_UNSAVED = "checkpoint"  # a place of this machine


class SavedEstimator(BaseEstimator):
    """An estimator whose fitted state is a `Model`, the trials, and a few numbers."""

    model_: Model
    trials_: tuple[Trial, ...]

    @abstractmethod
    def _check(self) -> None:
        """Refuse parameters that cannot be meant."""

    @abstractmethod
    def _describe(self) -> None:
        """Set the attributes that are read off the model."""

    def _entries(self, what: str) -> Observations:
        check_is_fitted(self)
        if self.model_.seen is None:
            raise InputError(MISSING_ENTRIES.format(what=what))
        return self.model_.seen

    def save(self, path: PathLike, *, entries: bool = True) -> None:
        """Write the model to a file of numbers and text, laid out as `file_format` says.

        ``entries=False`` leaves the training entries out: smaller, and none of them leaves the
        house; then there is nothing that needs them: no deviations, draws, ``partial_fit`` or
        ``exclude_seen``. Parameters that are functions or generators are not saved.
        """
        check_is_fitted(self)
        try:
            meta, arrays = dump(self.model_, entries=entries)
            self._dump_more(meta, arrays)
        except InputError as error:
            raise InputError(f"path: this model cannot be saved, for {error}") from None
        plain = (type(None), bool, int, float, str, tuple, list, np.generic)
        params = {k: _as_list(v) for k, v in self.get_params(deep=False).items() if k != _UNSAVED}
        meta["params"] = {k: v for k, v in params.items() if isinstance(v, plain)}
        meta["state"] = {name: getattr(self, name) for name in _STATE if hasattr(self, name)}
        meta["trials"] = [list(astuple(trial)) for trial in self.trials_]
        file_format.write(path, type(self).__name__, meta, arrays)

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """A saved model; it predicts what the saved one did, bit for bit.

        **Raises** `InputError` if the file is damaged, newer, of another estimator, or holds
        anything that `save` would not have written: parameters, numbers, and the kind, shape and
        range of every array are checked.
        """
        meta, arrays = file_format.unpack(path, cls.__name__)
        with file_format.unreadable(path):
            estimator = cls(**_parameters(meta["params"]))
            estimator._check()
            estimator.model_ = restore(meta, arrays)
            estimator._restore_more(meta, arrays)
            estimator.trials_ = tuple(Trial(*trial) for trial in meta["trials"])
            for trial in estimator.trials_:
                check_arrays(TRIAL, vars(trial))
            state = {name: meta["state"][name] for name in _STATE if name in meta["state"]}
            check_arrays({name: _STATE[name] for name in state}, state)
            for name, value in state.items():
                setattr(estimator, name, value)
            estimator._describe()
        return estimator

    def _dump_more(self, meta: Meta, arrays: Arrays) -> None:
        """Add to a model file what the subclass needs."""

    def _restore_more(self, meta: Meta, arrays: Arrays) -> None:
        """Take what `_dump_more` added; ``model_`` is there."""


def _parameters(params: Meta) -> Meta:
    if _UNSAVED in params:  # a fit removes the file that this names
        raise ValueError(f"the parameter {_UNSAVED}, which is not saved")
    return params


def _as_list(parameter: Any) -> Any:
    """Arrays, series and ranges as lists, which a model file can carry."""
    if hasattr(parameter, "tolist"):
        return parameter.tolist()
    return list(parameter) if isinstance(parameter, range) else parameter
