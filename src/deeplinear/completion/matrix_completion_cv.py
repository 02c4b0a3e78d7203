"""The estimator that chooses its depth."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from ..errors import InputError
from .matrix_completion import DeepMatrixCompletion


class DeepMatrixCompletionCV(DeepMatrixCompletion):
    """`DeepMatrixCompletion` with the depth, and the strength along a path at each depth, chosen on
    held-out entries.

    All depths see the same held-out entries and stop early by them. Where depth gains nothing the
    nuclear norm (depth 2) is among the candidates, so nothing is lost but the noise of the
    comparison. The winner is fitted again to all entries.

    Parameters
    ----------
    depths : sequence of real numbers ≥ 2 or ``math.inf``, default (2, 3, 4)
    strengths : sequence of floats > 0, optional
        Default: those of `deeplinear.completion.solver.path`, from 0.7 down to nearly 0. Of the
        implicit flow the least one counts.
    all others : as for `DeepMatrixCompletion` (``depth`` and ``strength`` are not used).

    Attributes
    ----------
    depth_, strength_, trials_, … : as there.

    >>> import deeplinear as dl
    >>> ratings = dl.datasets.make_ratings(60, 40, 800)
    >>> model = dl.DeepMatrixCompletionCV(depths=(2, 3), strengths=(0.4,), max_rank=4, random_state=0).fit(ratings.triples)
    >>> model.depth_ in (2, 3), len(model.trials_)
    (True, 2)
    """

    _kind: ClassVar[str] = "DeepMatrixCompletionCV"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{
            k: v
            for k, v in DeepMatrixCompletion._parameter_constraints.items()
            if k not in ("depth", "strength")
        },
        "depths": ["array-like"],
        "strengths": ["array-like", None],
    }

    def __init__(
        self,
        depths=(2.0, 3.0, 4.0),
        *,
        strengths=None,
        regularization="explicit",
        max_rank=None,
        biases=True,
        scaling=0.5,
        start_scale=1e-3,
        ensemble=1,
        burn_in=10,
        features=False,
        clip=None,
        unseen="marginals",
        columns=("user", "item", "rating"),
        duplicates="error",
        validation_fraction=0.1,
        max_sweeps=None,
        tol=1e-5,
        threads=None,
        device="cpu",
        random_state=None,
        checkpoint=None,
        callback=None,
    ):
        super().__init__(
            regularization=regularization,
            max_rank=max_rank,
            biases=biases,
            scaling=scaling,
            start_scale=start_scale,
            ensemble=ensemble,
            burn_in=burn_in,
            features=features,
            clip=clip,
            unseen=unseen,
            columns=columns,
            duplicates=duplicates,
            validation_fraction=validation_fraction,
            max_sweeps=max_sweeps,
            tol=tol,
            threads=threads,
            device=device,
            random_state=random_state,
            checkpoint=checkpoint,
            callback=callback,
        )
        self.depths = depths
        self.strengths = strengths

    def _depths(self) -> Sequence[float]:
        return tuple(self.depths)

    def _strengths(self) -> Sequence[float]:
        return self._all_strengths() if self.strengths is None else tuple(self.strengths)

    def _check(self) -> None:
        depths = _numbers(self.depths, "depths")
        if not depths:
            raise InputError("depths must hold at least one depth, got none: give (2, 3), say.")
        if self.strengths is not None:
            strengths = _numbers(self.strengths, "strengths")
            if any(not 0 <= strength < math.inf for strength in strengths) or not strengths:
                raise InputError(f"strengths must hold finite numbers ≥ 0, got {self.strengths!r}.")
        super()._check()

    def _check_choice(self) -> None:
        if self.validation_fraction == 0 and len(self._depths()) * len(self._strengths()) > 1:
            raise InputError(
                "validation_fraction must be positive for a choice of depth or strength, got 0: "
                "hold out 0.1, say, or give "
                "one depth and one strength."
            )


def _numbers(values: Any, name: str) -> list[float]:
    """``values`` as a list of floats; `InputError` unless they are a sequence of numbers."""
    try:
        if isinstance(values, str | bytes) or any(isinstance(x, str | bytes) for x in values):
            raise TypeError
        return [float(x) for x in values]
    except (TypeError, ValueError):
        raise InputError(
            f"{name} must be a sequence of numbers, as (2, 3), got {values!r}."
        ) from None
