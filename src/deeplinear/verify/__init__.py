"""Checks of an energy, a kernel, a flow or a point against the theory.

Each returns a `Check` and prints nothing.
"""

from .descent import step_size
from .geometry import flatness, kernel_check, submersion, volume
from .low_loss import volume_scaling
from .result import Check, Checks
from .taylor import gradient_check, hessian_check
from .training import all_checks, conservation, upstairs_downstairs

__all__ = [
    "Check",
    "Checks",
    "gradient_check",
    "hessian_check",
    "kernel_check",
    "upstairs_downstairs",
    "conservation",
    "step_size",
    "submersion",
    "volume",
    "flatness",
    "volume_scaling",
    "all_checks",
]
