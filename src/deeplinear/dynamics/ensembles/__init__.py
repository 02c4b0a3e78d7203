"""Thousands of small gradient flows to their endpoints t = ∞: lanes, stiff steps, the jump."""

from .run import EnsembleResult, ensemble
from .sampler import normal_start

__all__ = ["EnsembleResult", "ensemble", "normal_start"]
