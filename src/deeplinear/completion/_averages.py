"""Posterior draws around the fit of an estimator: their average, its share, and new draws."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..errors import InputError
from ._parameters import CompletionParameters
from .data.observations import Observations
from .model.predictor import Model
from .posterior.averaging import Averaging, best_share, chain_rank, leading_part
from .posterior.burn_in import BurnIn
from .posterior.draws import RandomState, spaced
from .posterior.gibbs import Sample, draw
from .solver.fit import LowRankFit
from .solver.selection import HoldOut


class Averages(CompletionParameters):
    """The part of the estimators that draws."""

    _averaging: Averaging

    @abstractmethod
    def _report(self, stage: str, part: float) -> bool:
        """Report progress; whether the fit is to end."""

    @property
    def average_share_(self) -> float:
        """The weight of the average of the draws in predictions; the fit itself has the rest."""
        check_is_fitted(self)
        return self.model_.share

    @property
    def used_(self) -> str:
        """What predictions are made of: "biases", "fit", "average" or "fit and average".

        The biases alone (rank 0) are a candidate of every choice on held-out entries, and so is the
        fit beside the average of its draws. (With draws, biases are averaged too.)
        """
        share = self.average_share_
        if self.model_.fit.rank == 0:
            return "biases"
        return {0.0: "fit", 1.0: "average"}.get(share, "fit and average")

    @property
    def _how_to_draw(self) -> dict[str, Any]:
        return {
            "column_noise": self._column_noise,
            "implicit_feedback": bool(self.implicit_feedback),
            "threads": self.threads,
        }

    def _judged_chain(self, fit: LowRankFit, held: HoldOut) -> Averaging:
        """A chain of the rank that held-out entries ask for; its share is not known yet."""
        if not self.n_draws:
            return Averaging()
        return Averaging(chain_rank(fit, held.triples, self._column_noise))

    def _samples(self, fit: LowRankFit, seen: Observations, seed: int, stage: str) -> list[Sample]:
        """``n_draws`` draws of a chain around the leading part of the fit, if they have a share."""
        samples: list[Sample] = []
        if not (self.n_draws and self._averaging.share):
            if self.n_draws:
                self._report(stage, 1.0)
            return samples
        part, burn_in = leading_part(fit, self._averaging.rank), BurnIn(self.burn_in)
        total = burn_in.most + self.n_draws
        chain = draw(part, seen, total, seed, **self._how_to_draw)
        for step, sample in enumerate(chain):
            if not burn_in.drops(sample):
                samples.append(sample)
            last = len(samples) == self.n_draws
            if self._report(f"{stage}: averaging", 1.0 if last else (step + 1) / total) or last:
                break
        return samples

    def _best_share(self, model: Model, held: HoldOut, *codes: np.ndarray) -> float:
        """The share of the average that held-out entries, at ``codes``, ask for."""
        assert model.point is not None
        gaps, point = (held.values - x.predict(*codes) for x in (model, model.point))
        average = point + (gaps - point) / self._averaging.share
        share = best_share(point, average, held.cols, self._column_noise)
        self._averaging = replace(self._averaging, share=share)
        return share

    def _chain(
        self, count: int, random_state: RandomState
    ) -> Iterator[tuple[Sample, np.random.Generator]]:
        """``count`` samples of a new chain, each with the generator for what is drawn from it."""
        seed, seen = self._draw_seed(count, random_state), self._entries("draws")
        burn_in = 0 if isinstance(self.burn_in, str) else self.burn_in
        how = self._how_to_draw | {"rank": self._drawn_rank()}
        yield from spaced(self.model_.fit, seen, count, seed, burn_in, **how)

    def _drawn_rank(self) -> int:
        """How many components draws of new entries have at least."""
        return 0

    def _draw_seed(self, count: int, random_state: RandomState) -> int:
        """A seed for ``count`` draws. **Raises** `InputError` where none can be made."""
        if not isinstance(count, Integral) or isinstance(count, bool) or count < 1:
            raise InputError(f"n must be an integer ≥ 1, got {count!r}.")
        self._refuse_draws(self.model_.fit.losses)
        self._entries("draws")
        if self.model_.is_folded:
            raise InputError(
                "draws needs the estimator that was fitted, got one of folded rows: fold into the "
                "fitted one at each use, or use partial_fit."
            )
        source = self.random_state if random_state is None else random_state
        return int(check_random_state(source).randint(2**31))
