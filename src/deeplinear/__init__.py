"""deeplinear: deep linear networks at any depth, and matrix completion with depth as the knob."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    CriticalPointError,
    DepthError,
    DownloadError,
    EmptyLineWarning,
    ImbalanceWarning,
    InputError,
    NotConvergedWarning,
    PrecisionError,
    SingularOperatorError,
    SweepError,
)

if TYPE_CHECKING:
    from . import asymptotics, curvature, datasets, experiments, geodesic, verify
    from .asymptotics import effective_rank, stable_rank
    from .charts import LogSVD
    from .compilation import cache_compilations
    from .completion.estimators import DeepLinearImputer
    from .completion.matrix import DeepMatrixCompletion
    from .completion.matrix_cv import DeepMatrixCompletionCV
    from .diffusion import DiffusionResult, DiffusionStatus, brownian, factor_langevin, langevin
    from .energies import Completion, Sensing
    from .ensembles import Ending, EnsembleResult, ensemble, normal_start
    from .factors import balanced_factors, imbalance, product
    from .flows import factor_flow, gradient_flow
    from .geometry import gradient, inner, norm, random_tangent
    from .integrate import FlowResult, Status
    from .manifold import Metric
    from .neighbourhood import BallVolume, ball_volume
    from .operator import Operator
    from .spectral import kernel
    from .volume import entropy, free_energy, log_stratum_volume, log_volume

__version__ = "0.1.0"

# Where a public name lives. Resolved on first use: the command line answers at once, without JAX or scikit-learn.
_HOME = {
    "kernel": "spectral",
    "Operator": "operator",
    "Completion": "energies",
    "Sensing": "energies",
    "gradient_flow": "flows",
    "factor_flow": "flows",
    "ensemble": "ensembles",
    "normal_start": "ensembles",
    "EnsembleResult": "ensembles",
    "Ending": "ensembles",
    "cache_compilations": "compilation",
    "FlowResult": "integrate",
    "Status": "integrate",
    "LogSVD": "charts",
    "balanced_factors": "factors",
    "product": "factors",
    "imbalance": "factors",
    "DeepLinearImputer": "completion.estimators",
    "DeepMatrixCompletion": "completion.matrix",
    "DeepMatrixCompletionCV": "completion.matrix_cv",
    "Metric": "manifold",
    "inner": "geometry",
    "norm": "geometry",
    "gradient": "geometry",
    "random_tangent": "geometry",
    "log_volume": "volume",
    "log_stratum_volume": "volume",
    "entropy": "volume",
    "free_energy": "volume",
    "ball_volume": "neighbourhood",
    "BallVolume": "neighbourhood",
    "brownian": "diffusion",
    "langevin": "diffusion",
    "factor_langevin": "diffusion",
    "DiffusionResult": "diffusion",
    "DiffusionStatus": "diffusion",
    "effective_rank": "asymptotics",
    "stable_rank": "asymptotics",
}

# Subjects that are used by their own name: dl.geodesic.log, dl.curvature.scalar, …
_SUBJECTS = ("geodesic", "curvature", "asymptotics", "verify", "experiments", "datasets")

__all__ = [
    "kernel",
    "Operator",
    "Completion",
    "Sensing",
    "gradient_flow",
    "factor_flow",
    "ensemble",
    "normal_start",
    "EnsembleResult",
    "Ending",
    "FlowResult",
    "Status",
    "LogSVD",
    "balanced_factors",
    "product",
    "imbalance",
    "Metric",
    "inner",
    "norm",
    "gradient",
    "random_tangent",
    "log_volume",
    "log_stratum_volume",
    "entropy",
    "free_energy",
    "ball_volume",
    "BallVolume",
    "geodesic",
    "curvature",
    "brownian",
    "langevin",
    "factor_langevin",
    "DiffusionResult",
    "DiffusionStatus",
    "asymptotics",
    "effective_rank",
    "stable_rank",
    "verify",
    "datasets",
    "experiments",
    "DeepLinearImputer",
    "DeepMatrixCompletion",
    "DeepMatrixCompletionCV",
    "cache_compilations",
    "CriticalPointError",
    "DepthError",
    "DownloadError",
    "EmptyLineWarning",
    "ImbalanceWarning",
    "InputError",
    "NotConvergedWarning",
    "PrecisionError",
    "SingularOperatorError",
    "SweepError",
]


def __getattr__(name: str) -> Any:
    if name in _SUBJECTS:
        return import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'deeplinear' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_SUBJECTS})
