"""The parameter ``loss`` of the estimators: names, what it cannot be combined with, learning."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from .data.observations import Observations
from .loss import HUBER, ORDINAL, POISSON, SQUARED, Losses
from .solver.pilot import learn

#: The kind of each name.
LOSSES = {
    "squared": SQUARED,
    "huber": HUBER,
    "logistic": ORDINAL,
    "ordinal": ORDINAL,
    "poisson": POISSON,
}


# Means of counts go no further beyond the largest one that was seen: e^η knows no bound.
_BEYOND = 1.5


class LossParameter:
    """What entries cost in a fit."""

    loss: Any = "squared"

    @abstractmethod
    def _loss_names(self) -> Sequence[str]:
        """The name of the loss of all columns (one), or of each column of the fit."""

    @property
    def _has_losses(self) -> bool:
        """Whether any is asked for but the squared one."""
        return any(name != "squared" for name in loss_of(self.loss).values())

    def _learned_losses(self, seen: Observations, **options: Any) -> dict[str, Losses]:
        """As an option of a fit to ``seen``; ``options`` are the others."""
        names = self._loss_names()
        if all(name == "squared" for name in names):
            return {}
        how = {k: v for k, v in options.items() if k in ("bias_ridge", "threads", "seed")}
        return {"losses": learn([LOSSES[name] for name in names], seen, **how)}

    def _check_loss(self, depths: Sequence[float]) -> None:
        for name in loss_of(self.loss).values():
            if not isinstance(name, str) or name not in LOSSES:
                raise InputError(f"loss must be one of {', '.join(LOSSES)}, got {name!r}.")
        if not self._has_losses:
            return
        given: dict[str, Any] = vars(self)
        wrong = {
            "depth ≥ 2": min(depths) < 2,
            'regularization="explicit"': given["regularization"] != "explicit",
            'device="cpu"': given["device"] != "cpu",
            "n_draws=0": given["n_draws"] > 0,
            "sample_posterior=False": bool(given.get("sample_posterior", False)),
        }
        for need, broken in wrong.items():
            if broken:
                raise InputError(f'loss: one that is not "squared" needs {need}; set it.')

    def _refuse_draws(self, losses: Losses | None) -> None:
        """`InputError` where posterior draws would be those of another loss."""
        if losses is not None:
            raise InputError(
                'draws come from the posterior of the squared error: fit with loss="squared", or '
                "take interval."
            )


def limits_of(loss: str, values: np.ndarray) -> tuple[float, float] | None:
    """What means of entries like ``values`` never go beyond."""
    if LOSSES[loss] == ORDINAL:
        return float(values.min()), float(values.max())
    return (0.0, _BEYOND * float(values.max())) if loss == "poisson" else None


def loss_of(loss: Any) -> dict[Any, Any]:
    """A mapping, or pairs (column, name), as a dict; one name for all has the key None."""
    if isinstance(loss, str):
        return {None: loss}
    try:
        return dict(loss.items() if isinstance(loss, Mapping) else loss)
    except (TypeError, ValueError):
        raise InputError(
            f"loss must be a name, or a mapping of columns to names, got {loss!r}."
        ) from None
