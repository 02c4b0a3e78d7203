"""Flows of deep linear networks in closed form, where there is one."""

from .aligned_modes import aligned, aligned_time
from .riccati import TwoLayer, two_layer

__all__ = ["aligned", "aligned_time", "two_layer", "TwoLayer"]
