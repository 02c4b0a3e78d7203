"""Training in finite steps: gradient descent and its kin on the factors, many runs in one call."""

from .result import DescentResult
from .run import descend

__all__ = ["DescentResult", "descend"]
