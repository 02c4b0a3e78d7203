"""deeplinear: deep linear networks at any depth, and matrix completion with depth as the knob."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    CriticalPointError,
    DepthError,
    DownloadError,
    EmptyLineWarning,
    IdColumnWarning,
    ImbalanceWarning,
    InputError,
    MissingPackageError,
    NotConvergedWarning,
    PrecisionError,
    PrecisionWarning,
    SingularOperatorError,
    SweepError,
)

if TYPE_CHECKING:
    from . import asymptotics, datasets, exact, experiments, explorer, verify
    from .asymptotics import effective_rank, learning_coefficient, stable_rank
    from .compilation import cache_compilations
    from .completion.data.features import CodedTable, Feature, FeatureKind
    from .completion.displays import (
        CalibrationDisplay,
        ErrorsDisplay,
        SpectrumDisplay,
        ValidationDisplay,
    )
    from .completion.imputer import DeepLinearImputer, complete
    from .completion.matrix_completion import DeepMatrixCompletion
    from .completion.posterior.rubin import Pooled, pool
    from .diagnosis import Diagnosis, Finding, doctor
    from .dynamics.balancing import Balancing, balancing_flow
    from .dynamics.descent import DescentResult, descend
    from .dynamics.ensembles import EnsembleResult, ensemble, normal_start
    from .dynamics.factors import (
        Imbalances,
        balanced_factors,
        identity_factors,
        imbalance,
        imbalances,
        leaf_factors,
        normal_factors,
        orthogonal_factors,
        product,
    )
    from .dynamics.flow import factor_flow, gradient_flow
    from .dynamics.gibbs import GibbsResult, sample_gibbs
    from .dynamics.langevin import brownian, langevin
    from .dynamics.langevin_upstairs import factor_langevin, fibre_curvature
    from .dynamics.results import DiffusionResult, FlowResult
    from .energies import Completion, Regression, Sensing
    from .geometry import curvature, geodesic
    from .geometry.adapters import Metric
    from .geometry.ball_volume import BallVolume, ball_volume
    from .geometry.kernel import kernel
    from .geometry.metric import gradient, inner, norm, random_tangent
    from .geometry.operator import Operator
    from .geometry.point import LogSVD
    from .geometry.root import from_root, log_partition_function, root, sample_prior
    from .geometry.volume import entropy, free_energy, log_stratum_volume, log_volume
    from .status import DiffusionStatus, Ending, Status

__version__ = "0.2.0"

# Where a public name lives. Resolved on first use: the command line answers at once, without JAX or
# scikit-learn.
_HOME = {
    "kernel": "geometry.kernel",
    "Operator": "geometry.operator",
    "Completion": "energies",
    "Sensing": "energies",
    "Regression": "energies",
    "gradient_flow": "dynamics.flow",
    "factor_flow": "dynamics.flow",
    "descend": "dynamics.descent",
    "DescentResult": "dynamics.descent",
    "ensemble": "dynamics.ensembles",
    "normal_start": "dynamics.ensembles",
    "EnsembleResult": "dynamics.ensembles",
    "Ending": "status",
    "cache_compilations": "compilation",
    "doctor": "diagnosis",
    "Diagnosis": "diagnosis",
    "Finding": "diagnosis",
    "FlowResult": "dynamics.results",
    "Status": "status",
    "LogSVD": "geometry.point",
    "balanced_factors": "dynamics.factors",
    "product": "dynamics.factors",
    "imbalance": "dynamics.factors",
    "balancing_flow": "dynamics.balancing",
    "Balancing": "dynamics.balancing",
    "imbalances": "dynamics.factors",
    "Imbalances": "dynamics.factors",
    "leaf_factors": "dynamics.factors",
    "normal_factors": "dynamics.factors",
    "orthogonal_factors": "dynamics.factors",
    "identity_factors": "dynamics.factors",
    "DeepLinearImputer": "completion.imputer",
    "complete": "completion.imputer",
    "pool": "completion.posterior.rubin",
    "Pooled": "completion.posterior.rubin",
    "CodedTable": "completion.data.features",
    "Feature": "completion.data.features",
    "FeatureKind": "completion.data.features",
    "DeepMatrixCompletion": "completion.matrix_completion",
    "SpectrumDisplay": "completion.displays",
    "ValidationDisplay": "completion.displays",
    "CalibrationDisplay": "completion.displays",
    "ErrorsDisplay": "completion.displays",
    "Metric": "geometry.adapters",
    "inner": "geometry.metric",
    "norm": "geometry.metric",
    "gradient": "geometry.metric",
    "random_tangent": "geometry.metric",
    "log_volume": "geometry.volume",
    "root": "geometry.root",
    "from_root": "geometry.root",
    "sample_prior": "geometry.root",
    "log_partition_function": "geometry.root",
    "log_stratum_volume": "geometry.volume",
    "entropy": "geometry.volume",
    "free_energy": "geometry.volume",
    "ball_volume": "geometry.ball_volume",
    "BallVolume": "geometry.ball_volume",
    "brownian": "dynamics.langevin",
    "langevin": "dynamics.langevin",
    "factor_langevin": "dynamics.langevin_upstairs",
    "fibre_curvature": "dynamics.langevin_upstairs",
    "DiffusionResult": "dynamics.results",
    "DiffusionStatus": "status",
    "sample_gibbs": "dynamics.gibbs",
    "GibbsResult": "dynamics.gibbs",
    "effective_rank": "asymptotics",
    "stable_rank": "asymptotics",
    "learning_coefficient": "asymptotics",
}

# Subjects that are used by their own name: dl.geodesic.log, dl.curvature.scalar, …
_SUBJECTS = {
    "geodesic": "geometry.geodesic",
    "curvature": "geometry.curvature",
    "asymptotics": "asymptotics",
    "verify": "verify",
    "exact": "exact",
    "experiments": "experiments",
    "explorer": "explorer",
    "datasets": "datasets",
}

__all__ = [
    "kernel",
    "Operator",
    "Completion",
    "Sensing",
    "Regression",
    "gradient_flow",
    "factor_flow",
    "descend",
    "DescentResult",
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
    "imbalances",
    "Imbalances",
    "leaf_factors",
    "balancing_flow",
    "Balancing",
    "normal_factors",
    "orthogonal_factors",
    "identity_factors",
    "Metric",
    "inner",
    "norm",
    "gradient",
    "random_tangent",
    "log_volume",
    "root",
    "from_root",
    "sample_prior",
    "log_partition_function",
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
    "fibre_curvature",
    "DiffusionResult",
    "DiffusionStatus",
    "sample_gibbs",
    "GibbsResult",
    "asymptotics",
    "effective_rank",
    "stable_rank",
    "learning_coefficient",
    "verify",
    "exact",
    "datasets",
    "experiments",
    "explorer",
    "DeepLinearImputer",
    "complete",
    "pool",
    "Pooled",
    "CodedTable",
    "Feature",
    "FeatureKind",
    "DeepMatrixCompletion",
    "SpectrumDisplay",
    "ValidationDisplay",
    "CalibrationDisplay",
    "ErrorsDisplay",
    "cache_compilations",
    "doctor",
    "Diagnosis",
    "Finding",
    "CriticalPointError",
    "DepthError",
    "DownloadError",
    "EmptyLineWarning",
    "IdColumnWarning",
    "ImbalanceWarning",
    "InputError",
    "MissingPackageError",
    "NotConvergedWarning",
    "PrecisionError",
    "PrecisionWarning",
    "SingularOperatorError",
    "SweepError",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME and name not in _SUBJECTS:
        raise AttributeError(f"module 'deeplinear' has no attribute {name!r}")
    from .extras import needed_by

    with needed_by(f"{name} and the rest of the laboratory"):
        if name in _SUBJECTS:
            return import_module(f".{_SUBJECTS[name]}", __name__)
        value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_SUBJECTS})
