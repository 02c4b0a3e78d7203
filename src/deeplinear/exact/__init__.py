"""Flows and random motions of deep linear networks in closed form, where there is one."""

from .aligned_modes import aligned, aligned_time
from .dyson_processes import dyson, dyson_density, dyson_edge
from .riccati import TwoLayer, two_layer

__all__ = [
    "aligned",
    "aligned_time",
    "dyson",
    "dyson_density",
    "dyson_edge",
    "two_layer",
    "TwoLayer",
]
