"""Thousands of small gradient flows to their endpoints: lanes with refill, stiff steps, the jump to
t = ∞.
"""

from .lanes import Ending
from .run import EnsembleResult, ensemble, normal_start

__all__ = ["Ending", "EnsembleResult", "ensemble", "normal_start"]
