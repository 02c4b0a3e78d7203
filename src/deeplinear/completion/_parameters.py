"""The parameters that the estimators share, and what cannot be meant by them."""

import math
import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from ..depths import check_depth
from ..errors import DepthError, InputError
from ._losses import LossParameter
from ._saving import SavedEstimator
from .backends.base import AbstractBackend
from .backends.open import DEVICES
from .data.holdout import STRUCTURES
from .solver.flow import NO_ENERGY

#: A number, "auto", or several to choose from.
Choice: TypeAlias = float | str | Sequence[float] | np.ndarray
RandomState: TypeAlias = int | np.random.RandomState | None

AUTO_DEPTHS = (2.0, 3.0, 4.0, math.inf)
_EXAMPLES = {"depth": "(2, 3)", "strength": "(0.1, 0.3)"}


class CompletionParameters(LossParameter, SavedEstimator):
    """Parameters as they are declared, read and checked."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "depth": [Interval(Real, 1, None, closed="both"), StrOptions({"auto"}), "array-like"],
        "loss": [str, Mapping, list, tuple],
        "regularization": [StrOptions({"explicit", "implicit"})],
        "strength": [
            StrOptions({"auto"}),
            Interval(Real, 0, None, closed="left"),
            "array-like",
        ],
        "max_rank": [Interval(Integral, 1, None, closed="left"), None],
        "weighted_trace_norm": [Interval(Real, 0, 1, closed="both")],
        "early_stopping": ["boolean"],
        "start_scale": [Interval(Real, 0, None, closed="neither")],
        "n_draws": [Interval(Integral, 0, None, closed="left")],
        "burn_in": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "holdout": [StrOptions({"auto", *STRUCTURES})],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "threads": [Interval(Integral, 1, None, closed="left"), None],
        "device": [StrOptions(set(DEVICES)), AbstractBackend],
        "random_state": ["random_state"],
        "checkpoint": [str, os.PathLike, None],
        "verbose": ["boolean"],
        "callback": [callable, None],
    }
    _thorough: ClassVar[bool] = False  # whether choices take their time, as tables can afford
    implicit_feedback = False  # a parameter of those that have it

    @abstractmethod
    def _strength_path(self) -> Sequence[float]:
        """The strengths among which held-out entries choose, unless they are given."""

    @property
    def _column_noise(self) -> bool:
        """Whether columns differ in what can be predicted, and are judged each by itself."""
        return False

    @property
    def _is_implicit(self) -> bool:
        return self.regularization == "implicit"

    def _depths(self) -> list[float]:
        if _is_auto(self.depth):
            return list(AUTO_DEPTHS)
        return _numbers(self.depth, "depth")

    def _strengths(self) -> list[float]:
        if _is_auto(self.strength):
            return [NO_ENERGY] if self._is_implicit else list(self._strength_path())
        return _numbers(self.strength, "strength")

    def _check(self) -> None:
        """Refuse parameters that cannot be meant, before anything is computed."""
        for depth in self._depths():
            check_depth(depth, scalar=True)
        strengths = self._strengths()
        try:
            self._validate_params()
        except ValueError as error:
            raise InputError(str(error)) from None
        except (TypeError, OverflowError):  # of a number that NumPy does not know, as a fraction
            odd = [
                name
                for name, value in self.get_params(deep=False).items()
                if isinstance(value, Real) and not isinstance(value, int | float | np.number)
            ]
            raise InputError(f"{', '.join(odd)} must be plain numbers: convert to float.") from None
        if any(not 0 <= strength < math.inf for strength in strengths):
            raise InputError(f"strength must hold finite numbers ≥ 0, got {self.strength!r}.")
        if self._is_implicit and not all(0 < strength < 1 for strength in strengths):
            raise InputError(
                "strength must lie between 0 and 1 for the implicit flow, the part of the energy "
                f"at which it stops, got {', '.join(f'{x:g}' for x in strengths)}."
            )
        if self.max_rank is not None and min(self._depths()) < 2 and not self._is_implicit:
            raise InputError(
                f"max_rank must be None below depth 2 (got depth {min(self._depths()):g}), where "
                "every rank is used."
            )
        if self.validation_fraction == 0 and (
            len(self._depths()) > 1 or len(strengths) > 1 or _is_auto(self.strength)
        ):
            raise InputError(
                "validation_fraction must be positive for a choice of depth or strength, got 0: "
                "hold out 0.1, say, or give one depth and one strength."
            )
        self._check_loss(self._depths())
        self._check_checkpoint()

    def _check_checkpoint(self) -> None:
        if self.checkpoint is None:
            return
        if not Path(self.checkpoint).absolute().parent.is_dir():
            raise InputError(
                f"checkpoint: the folder of '{self.checkpoint}' does not exist; make it, or give "
                "another place."
            )
        if self._is_implicit:
            raise InputError(
                'checkpoint needs regularization="explicit", got "implicit": leave the checkpoint '
                "out."
            )


def _is_auto(value: object) -> bool:
    return isinstance(value, str) and value == "auto"


def _numbers(values: float | Iterable[float], name: str) -> list[float]:
    """``values`` as a list of floats without repeats; `InputError` unless they are numbers."""
    try:
        if isinstance(values, Real | float):
            return [float(values)]
        if any(isinstance(x, str | bytes) for x in values):
            raise TypeError
        numbers = list(dict.fromkeys(float(x) for x in values))
    except (TypeError, ValueError, OverflowError):
        error = DepthError if name == "depth" else InputError
        raise error(
            f'{name} must be "auto", a number, or a sequence of numbers, as {_EXAMPLES[name]}, got '
            f"{values!r}."
        ) from None
    if not numbers:
        raise InputError(
            f"{name} must hold at least one number, got none: give {_EXAMPLES[name]}, say."
        )
    return numbers
