"""Thousands of small gradient flows to their endpoints: lanes with refill, stiff steps, the jump to
t = ∞.
"""

from .run import EnsembleResult, ensemble, normal_start

__all__ = ["EnsembleResult", "ensemble", "normal_start"]
