"""deeplinear: deep linear networks at any depth, and matrix completion with depth as the knob."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    CriticalPointError,
    DepthError,
    EmptyLineWarning,
    ImbalanceWarning,
    InputError,
    PrecisionError,
    SingularOperatorError,
)

if TYPE_CHECKING:
    from .charts import LogSVD
    from .completion.estimators import DeepLinearImputer
    from .energies import Completion, Sensing
    from .factors import balanced_factors, imbalance, product
    from .flows import factor_flow, gradient_flow
    from .integrate import FlowResult, Status
    from .operator import Operator
    from .spectral import kernel

__version__ = "0.1.0"

# Where a public name lives. Resolved on first use: the command line answers at once, without JAX or scikit-learn.
_HOME = {
    "kernel": "spectral",
    "Operator": "operator",
    "Completion": "energies",
    "Sensing": "energies",
    "gradient_flow": "flows",
    "factor_flow": "flows",
    "FlowResult": "integrate",
    "Status": "integrate",
    "LogSVD": "charts",
    "balanced_factors": "factors",
    "product": "factors",
    "imbalance": "factors",
    "DeepLinearImputer": "completion.estimators",
}

__all__ = [
    "kernel",
    "Operator",
    "Completion",
    "Sensing",
    "gradient_flow",
    "factor_flow",
    "FlowResult",
    "Status",
    "LogSVD",
    "balanced_factors",
    "product",
    "imbalance",
    "DeepLinearImputer",
    "CriticalPointError",
    "DepthError",
    "EmptyLineWarning",
    "ImbalanceWarning",
    "InputError",
    "PrecisionError",
    "SingularOperatorError",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'deeplinear' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
