"""Training asymptotics: the rank that is left, the rate of the residual, small singular values."""

from .entropic import EntropicEquilibrium, entropic_equilibrium
from .hessian import (
    critical_step,
    flatness,
    hessian_spectrum,
    log_induced_volume,
    minimum_hessian_trace,
    sharpness,
)
from .kernel_motion import KernelMotion, kernel_motion
from .label_noise import LabelNoiseLimit, label_noise_limit
from .laws import DecayFit, escape_time, exponent, fit_decay, predict_decay
from .ranks import effective_rank, stable_rank
from .rates import PredictedRate, predicted_rate, tangent_kernel
from .singular_learning import (
    LearningCoefficient,
    Staircase,
    learning_coefficient,
    learning_staircase,
)
from .tails import MeasuredRate, measured_rate

__all__ = [
    "effective_rank",
    "learning_coefficient",
    "LearningCoefficient",
    "learning_staircase",
    "Staircase",
    "stable_rank",
    "tangent_kernel",
    "kernel_motion",
    "KernelMotion",
    "entropic_equilibrium",
    "EntropicEquilibrium",
    "critical_step",
    "flatness",
    "hessian_spectrum",
    "label_noise_limit",
    "LabelNoiseLimit",
    "log_induced_volume",
    "minimum_hessian_trace",
    "sharpness",
    "predicted_rate",
    "measured_rate",
    "PredictedRate",
    "MeasuredRate",
    "predict_decay",
    "exponent",
    "escape_time",
    "fit_decay",
    "DecayFit",
]
