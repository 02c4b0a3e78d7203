"""Probabilities of the labels of a category, from what a fit says about their indicators."""

from dataclasses import dataclass

import numpy as np

# Tried for the slope, relative to `LabelLaw.start`: from next to nothing to certainty.
_FACTORS = np.r_[0.0, 2.0 ** np.linspace(-6, 6, 73)]


@dataclass(frozen=True)
class LabelLaw:
    """p_l ∝ π_l exp(β (u_l − π_l)), for k labels with frequencies π and predicted indicators u.

    With slope β = 0 it is the law of the frequencies; the larger β, the more a prediction counts.
    This is the posterior of indicators with one normal error each, and logistic calibration
    (Platt's) with the frequencies as its offset.
    """

    prior: np.ndarray
    slope: float

    @classmethod
    def start(cls, counts: np.ndarray) -> "LabelLaw":
        """From how often each label was seen (k,).

        The slope is that at which small u − π pass to p unchanged, if all labels are as frequent.
        """
        counts = counts + 0.5  # a label that is possible has a probability
        prior = counts / counts.sum()
        spread = 1 - float(np.sum(prior**2))
        return cls(prior, (len(prior) - 1) / spread if spread > 0 else 0.0)

    def calibrated(self, indicators: np.ndarray, truth: np.ndarray) -> "LabelLaw":
        """With the slope of least log loss for (cells, k) predictions of cells that are known.

        Few cells do not speak for more certainty than the slope had: it costs a little.
        """
        if not len(truth):
            return self
        laws = [LabelLaw(self.prior, self.slope * factor) for factor in _FACTORS]
        cost = np.log2(np.maximum(_FACTORS, 1)) ** 2 / (8 * len(truth))
        losses = cost + [law.log_loss(indicators, truth) for law in laws]
        return laws[int(np.argmin(losses))]

    def probabilities(self, indicators: np.ndarray) -> np.ndarray:
        """(cells, k), each row a law, for (cells, k) predicted indicators."""
        logits = np.log(self.prior) + self.slope * (indicators - self.prior)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def log_loss(self, indicators: np.ndarray, truth: np.ndarray) -> float:
        """Mean of −log p of the labels ``truth`` (positions among the k)."""
        p = self.probabilities(indicators)[np.arange(len(truth)), truth]
        return float(-np.mean(np.log(np.maximum(p, 1e-300))))
