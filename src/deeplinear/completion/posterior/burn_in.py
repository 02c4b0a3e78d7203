"""When a chain has come to its posterior: the draws before that are thrown away."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from .gibbs import Sample

#: Draws that are thrown away at most.
LONGEST = 100
# Draws in each of the two windows that are compared, and a drift of the noise that does not matter.
_WINDOW, _DRIFT = 10, 0.01


@dataclass
class BurnIn:
    """Whether the draws of a chain, told one by one, are still to be thrown away.

    The first ``length`` are; with "auto" all until the log of the precision α (1/α is the mean
    square of the residuals, the training energy) has the same mean in the last ten draws and in
    the ten before, up to 1 % or two standard errors, and `LONGEST` at most.

    Source: the comparison of windows is that of Geweke, Evaluating the accuracy of sampling-based
    approaches to the calculation of posterior moments, 1992.
    """

    length: int | str
    logs: list[float] = field(default_factory=list)
    over: bool = False

    @property
    def most(self) -> int:
        """The largest number of draws that it may take."""
        return LONGEST if isinstance(self.length, str) else self.length

    def drops(self, sample: Sample) -> bool:
        """Whether this draw, the next of the chain, is thrown away."""
        self.over = self.over or len(self.logs) >= self.most or self._is_steady()
        if not self.over:
            self.logs.append(float(np.log(sample.precision).mean()))
        return not self.over

    def kept(self, chain: Iterable[Sample]) -> Iterator[Sample]:
        """The draws of ``chain`` from then on."""
        return (sample for sample in chain if not self.drops(sample))

    def _is_steady(self) -> bool:
        if not isinstance(self.length, str) or len(self.logs) < 2 * _WINDOW:
            return False
        windows = np.reshape(self.logs[-2 * _WINDOW :], (2, _WINDOW))
        before, after = windows.mean(axis=1)
        error = math.sqrt(windows.var(axis=1, ddof=1).sum() / _WINDOW)
        return bool(abs(after - before) <= max(_DRIFT, 2 * error))
