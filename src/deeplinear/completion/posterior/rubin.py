"""Rubin's rules: one answer from the analyses of several completed tables."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InputError
from ...extras import needed_by
from ...reals import as_floats, one_real

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Pooled:
    """What m completed tables say together about a quantity, or about several (arrays): of `pool`.

    ``estimate`` Q̄, the mean of the estimates; ``variance`` T = Ū + (1 + 1/m) B, with the mean
    ``within`` Ū of their variances and the variance ``between`` B of the estimates; ``dof`` ν,
    the degrees of freedom of (Q − Q̄)/√T; ``missing_information`` γ, the part of the information
    that is lost with the missing cells.
    """

    estimate: np.ndarray
    variance: np.ndarray
    within: np.ndarray
    between: np.ndarray
    dof: np.ndarray
    missing_information: np.ndarray

    @property
    def standard_error(self) -> np.ndarray:
        """√T."""
        return np.sqrt(self.variance)

    def to_frame(self) -> "pd.DataFrame":
        """A frame of pandas, a line for each quantity. **Raises** `InputError` without pandas."""
        with needed_by("frames"):
            import pandas
        names = [field.name for field in fields(self)]
        columns = {name: np.ravel(getattr(self, name)) for name in [*names, "standard_error"]}
        return pandas.DataFrame(columns)

    def __repr__(self) -> str:
        if np.ndim(self.estimate):
            count, worst = np.size(self.estimate), float(np.max(self.missing_information))
            return f"Pooled({count:,} quantities; missing information up to {worst:.0%})"
        low, high = self.interval()
        error, lost = float(self.standard_error), float(self.missing_information)
        return (
            f"Pooled({float(self.estimate):.6g} ± {error:.2g}, 95% from {low:.6g} to {high:.6g}; "
            f"missing information {lost:.0%})"
        )

    def interval(self, coverage: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) = Q̄ ∓ t_ν √T, with the quantile t_ν of Student's law.

        **Raises** `InputError` unless ``coverage`` lies between 0 and 1.
        """
        from scipy.stats import t

        if not 0 < coverage < 1:
            raise InputError(f"coverage must lie between 0 and 1, got {coverage!r}.")
        reach = t.ppf((1 + coverage) / 2, self.dof) * self.standard_error
        return self.estimate - reach, self.estimate + reach


def pool(
    estimates: ArrayLike, variances: ArrayLike, *, complete_dof: float | None = None
) -> Pooled:
    """Combine the ``estimates`` from m completed tables by Rubin's rules.

    **Shapes**: (m,) for one quantity, (m, …) for several; ``variances``, the squared standard
    errors, the same. With r = (1 + 1/m) B/Ū and λ = r/(1 + r) the degrees of freedom are
    ν = (m − 1)/λ². ``complete_dof`` ν₀, those of the analysis without missing cells (rows minus
    coefficients in a regression), makes them those of small tables: 1/ν + 1/ν_obs is then the
    reciprocal, with ν_obs = (1 − λ) ν₀ (ν₀ + 1)/(ν₀ + 3). γ = (r + 2/(ν + 3))/(1 + r).

    **Raises** `InputError` for fewer than two tables, other shapes, estimates that are not finite,
    and variances or degrees of freedom that are not positive.

    Sources: Rubin, Multiple imputation for nonresponse in surveys (1987), §3.3; Barnard and Rubin,
    Small-sample degrees of freedom with multiple imputation, Biometrika 1999.

    >>> result = pool([1.0, 2.0, 3.0], [0.5, 0.5, 0.5], complete_dof=100)
    >>> float(result.estimate), round(float(result.variance), 3), round(float(result.dof), 2)
    (2.0, 1.833, 3.31)
    """
    estimates, variances = (
        as_floats(x, name) for x, name in ((estimates, "estimates"), (variances, "variances"))
    )
    if estimates.ndim < 1 or len(estimates) < 2:
        raise InputError(
            "estimates must hold those of two completed tables or more along the first axis, got "
            f"the shape {estimates.shape}: ask draws for more."
        )
    if variances.shape != estimates.shape:
        raise InputError(
            "variances must have the shape of estimates, got "
            f"{variances.shape} and {estimates.shape}: give the squared standard error of each."
        )
    if not np.isfinite(estimates).all():
        raise InputError("estimates must be finite, got NaN or infinity: leave these tables out.")
    if not ((variances > 0) & np.isfinite(variances)).all():
        raise InputError(
            "variances must be positive and finite: give the squared standard error of each "
            "estimate."
        )
    if complete_dof is not None and not one_real(complete_dof) > 0:
        raise InputError(
            f"complete_dof must be positive, got {complete_dof!r}: give rows minus coefficients, "
            "or None for a large table."
        )
    m = len(estimates)
    within, between = variances.mean(axis=0), estimates.var(axis=0, ddof=1)
    more = (1 + 1 / m) * between
    ratio, lost = more / within, more / (within + more)
    with np.errstate(divide="ignore"):
        rate = lost**2 / (m - 1)  # 1/ν
        if complete_dof is not None:
            observed = (1 - lost) * complete_dof * (complete_dof + 1) / (complete_dof + 3)
            rate = rate + 1 / observed
        dof = 1 / rate
    missing = (ratio + 2 / (dof + 3)) / (1 + ratio)
    return Pooled(estimates.mean(axis=0), within + more, within, between, dof, missing)
