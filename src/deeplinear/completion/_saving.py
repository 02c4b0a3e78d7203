"""How the estimators write themselves to model files, and back."""

import os
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ..errors import InputError
from . import file_format
from .data.observations import Observations
from .file_format import Arrays, Meta
from .model.predictor import MISSING_ENTRIES, Model
from .model.serialize import dump, restore
from .schema import NUMBER, TRUTH, Field, Schema, check_arrays, check_nothing_left, take, take_part
from .solver.trial import Trial, dump_trials, restore_trials

PathLike = str | os.PathLike[str]
#: A held-out error; NaN where nothing was held out.
SCORE = Field(NUMBER, least=0, infinite=True, nan=True)
_UNSAVED = "checkpoint"  # a place of this machine


class SavedEstimator(BaseEstimator):
    """An estimator whose fitted state is a `Model`, the trials, and a few numbers."""

    #: Attributes that are not read off the model.
    _state: ClassVar[Schema] = {"validation_score_": SCORE, "converged_": Field(TRUTH)}
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
        ``exclude_seen``. Parameters that are functions or generators, and the checkpoint, are saved
        as their defaults.
        """
        check_is_fitted(self)
        params = type(self)().get_params(deep=False)
        params |= {k: _plain(v) for k, v in self.get_params(deep=False).items() if _is_plain(v)}
        params[_UNSAVED] = None
        try:
            type(self)(**params)._check()
            meta, arrays = dump(self.model_, entries=entries)
            self._dump_more(meta, arrays)
            meta["params"] = params
            meta["state"] = {name: getattr(self, name) for name in self._state}
            check_arrays(self._state, meta["state"])
            meta["trials"] = dump_trials(self.trials_)
        except InputError as error:
            raise InputError(f"path: this model cannot be saved, for {error}") from None
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
            estimator = cls(**cls._parameters(take_part(meta, "params")))
            estimator._check()
            estimator.model_ = restore(meta, arrays)
            estimator._restore_more(meta, arrays)
            estimator.trials_ = restore_trials(take_part(meta, "trials"))
            state = take_part(meta, "state")
            for name, value in take(cls._state, state).items():
                setattr(estimator, name, value)
            check_nothing_left(state, meta, arrays)
            estimator._describe()
        return estimator

    def _dump_more(self, meta: Meta, arrays: Arrays) -> None:
        """Add to a model file what the subclass needs."""

    def _restore_more(self, meta: Meta, arrays: Arrays) -> None:
        """Take out what `_dump_more` added; ``model_`` is there."""

    @classmethod
    def _parameters(cls, params: Meta) -> Meta:
        """``params``, if these are those of the class, and plain."""
        known = cls().get_params(deep=False)
        if params.keys() != known.keys() or params[_UNSAVED] is not None:
            # a fit would remove the file that a checkpoint names
            raise InputError(f"its parameters are not those of {cls.__name__} without checkpoint.")
        strange = [
            name
            for name, value in params.items()
            if isinstance(value, Mapping) or not _is_plain(value)  # mappings are saved as pairs
        ]
        if strange:
            raise InputError(f"its parameter {strange[0]} is no number, text or list of these.")
        return params


def _is_plain(value: Any) -> bool:
    """Whether a model file can carry a parameter: numbers of 64 bits, texts, lists of these."""
    value = _plain(value)
    if isinstance(value, list | tuple):
        return all(_is_plain(part) for part in value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or isinstance(value, float | str)


def _plain(parameter: Any) -> Any:
    """Arrays, series, sets and ranges as lists, mappings as pairs, NumPy's numbers as Python's."""
    if isinstance(parameter, Mapping):
        return [[key, value] for key, value in parameter.items()]
    if hasattr(parameter, "tolist"):
        return parameter.tolist()
    if isinstance(parameter, set | frozenset):
        return sorted(parameter, key=str)
    return list(parameter) if isinstance(parameter, range) else parameter
