"""Flows and random motions of deep linear networks in closed form, where there is one."""

from .aligned_modes import aligned, aligned_time
from .descent_modes import ModeDiffusion, label_noise_density, mode_diffusion
from .dyson_processes import dyson, dyson_density, dyson_edge
from .riccati import TwoLayer, two_layer

__all__ = [
    "aligned",
    "aligned_time",
    "dyson",
    "dyson_density",
    "dyson_edge",
    "label_noise_density",
    "mode_diffusion",
    "ModeDiffusion",
    "two_layer",
    "TwoLayer",
]
