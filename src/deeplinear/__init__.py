"""deeplinear: deep linear networks at any depth, and matrix completion with depth as the knob."""

from typing import TYPE_CHECKING, Any

from .charts import LogSVD
from .energies import Completion, Sensing
from .errors import (
    CriticalPointError,
    DepthError,
    EmptyLineWarning,
    ImbalanceWarning,
    InputError,
    PrecisionError,
    SingularOperatorError,
)
from .factors import balanced_factors, imbalance, product
from .flows import factor_flow, gradient_flow
from .integrate import FlowResult, Status
from .operator import Operator
from .spectral import kernel

if TYPE_CHECKING:
    from .completion.estimators import DeepLinearImputer

__version__ = "0.1.0"

# Names whose import pulls in scikit-learn: resolved on first use, so that `import deeplinear` stays light.
_LAZY = {"DeepLinearImputer": "deeplinear.completion.estimators"}

__all__ = [
    "kernel",
    "Operator",
    "Completion",
    "Sensing",
    "gradient_flow",
    "factor_flow",
    "FlowResult",
    "LogSVD",
    "Status",
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
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'deeplinear' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
