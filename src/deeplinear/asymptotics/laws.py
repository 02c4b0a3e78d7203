"""How a small singular value moves under a constant push c: d log σ/dt = −c σ^{1−2/N}, solved.

Everything is written in q = 1 − 2/N: −1 at N = 1, 0 at N = 2, 1 at N = ∞.
"""

import math
from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..checks import check_depth, is_traced
from ..compilation import program
from ..errors import InputError
from ..geometry.kernel import inverse_depth
from ..labelled import Numbers
from ..reals import as_floats
from ..status import Status
from ..transforms import needs_values

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

# below this power the fit calls a decay exponential: a depth within 2 per cent of 2
NEARLY_EXPONENTIAL = 0.01


def _log1p_ratio(y: Array) -> Array:
    """log(1 + y)/y for y ≥ −1, with right derivatives at 0."""
    near = jnp.abs(y) < 0.04
    x = jnp.where(near, y, 0.0)
    series = jnp.polyval(jnp.array([(-1.0) ** k / (k + 1) for k in range(11, -1, -1)], y.dtype), x)
    far = jnp.where(near, 1.0, y)
    return jnp.where(near, series, jnp.log1p(far) / far)


def _expm1_ratio(y: Array) -> Array:
    """(e^y − 1)/y, with right derivatives at 0."""
    near = jnp.abs(y) < 0.1
    x = jnp.where(near, y, 0.0)
    series = jnp.polyval(
        jnp.array([1 / math.factorial(k + 1) for k in range(10, -1, -1)], y.dtype), x
    )
    far = jnp.where(near, 1.0, y)
    return jnp.where(near, series, jnp.expm1(far) / far)


def _arrays(depth: ArrayLike, *values: ArrayLike) -> tuple[Array, ...]:
    """(q, *values) as floating arrays that broadcast."""
    check_depth(depth)
    floating = [
        x.dtype for x in values if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)
    ]
    dtype = jnp.result_type(*floating) if floating else jnp.result_type(float)
    return (1 - 2 * inverse_depth(depth, dtype), *(jnp.asarray(x, dtype) for x in values))


def _check_positive(**values: ArrayLike) -> None:
    least = float(jnp.finfo(jnp.result_type(float)).tiny)  # below it JAX takes numbers for 0
    for name, value in values.items():
        if is_traced(value):
            continue
        x = np.asarray(value)
        if not np.all((x >= least) & (x < math.inf)):
            raise InputError(f"{name} must be positive and finite, got {value!r}.")


def exponent(depth: ArrayLike) -> Float[Array, "..."]:
    """The exponent p = N/(N − 2) of t^{−p}, the decay of a small singular value by a constant push.

    1 at N = ∞, 3 at N = 3; infinite for N ≤ 2, where it falls faster than any power: like e^{−ct}
    at N = 2, to zero in finite time below. **Raises** `DepthError`. **Source**: `predict_decay`.

    >>> import math, deeplinear as dl
    >>> [float(dl.asymptotics.exponent(N)) for N in (2, 4, math.inf)]
    [inf, 2.0, 1.0]
    """
    (q,) = _arrays(depth)
    return jnp.where(q > 0, 1 / jnp.where(q > 0, q, 1.0), jnp.where(jnp.isnan(q), jnp.nan, jnp.inf))


def predict_decay(
    t: ArrayLike, sigma0: ArrayLike, push: ArrayLike, depth: ArrayLike
) -> Float[Array, "..."]:
    """The exact solution of d log σ/dt = −c σ^{1−2/N}, σ(0) = σ_0, at time t:

        N = 2:  σ_0 e^{−ct},
        N > 2:  (σ_0^{−q} + q c t)^{−1/q},  q = 1 − 2/N,
        N = ∞:  1/(1/σ_0 + c t).

    It is the law of a singular value σ_i while c = M_ii = u_iᵀ E′(W) v_i does not change. For N < 2
    the same formula reaches zero at t = σ_0^{−q}/(−q c): from there on the result is 0 (the flow
    itself crosses zero, and the sign of det W with it). A negative push is growth, (N > 2) to
    infinity at t = σ_0^{−q}/(−q c): from there on the result is infinite. At t = ∞ it is the limit;
    no product of the arguments overflows before the result does.

    **Shapes**: the arguments broadcast; differentiable in all, also at N = 2, where they and the
    result are finite. **Normalization**:
    time as in [CMV].
    **Raises** `DepthError`; `InputError` for sigma0 ≤ 0. **Source**: the SVD chart of the flow,
    Cohen, Menon, Veraszto 2023.

    >>> import math, deeplinear as dl
    >>> [round(float(dl.asymptotics.predict_decay(10.0, 0.5, 1.0, N)), 6) for N in (2, 4, math.inf)]
    [2.3e-05, 0.024306, 0.083333]
    """
    _check_positive(sigma0=sigma0)
    q, t, sigma0, push = _arrays(depth, t, sigma0, push)
    return _decay(t, sigma0, push, q)


@program
def _decay(t: Array, sigma0: Array, push: Array, q: Array) -> Array:
    log_s = jnp.log(sigma0)
    half = jnp.exp(q * log_s / 2)
    # x = c t σ_0^q; nothing moves in an infinite time without a push, nor in no time by any
    still = (push == 0) & jnp.isinf(t * half) | (t == 0) & jnp.isinf(push * half)
    x = jnp.where(still, 0.0, (push * half) * (t * half))
    y = q * jnp.where((q == 0) & ~jnp.isfinite(x), 0.0, x)
    alive = y > -1  # else the law reaches 0 (or ∞, if it grows) before t
    far = y > 0.5
    near = log_s - x * _log1p_ratio(jnp.where(alive & ~far, y, 0.0))
    # −log(σ_0^{−q} + q c t)/q, of logarithms
    safe = lambda z, default: jnp.where(far, z, default)  # noqa: E731
    rate = jnp.log(safe(jnp.abs(push), 1.0)) + jnp.log(safe(jnp.abs(t), 1.0))
    total = jnp.logaddexp(safe(-q * log_s, 0.0), rate + jnp.log(safe(jnp.abs(q), 1.0)))
    value = jnp.exp(jnp.where(far, -total / safe(q, 1.0), near))
    ended = jnp.where(q < 0, 0.0, jnp.inf)
    return jnp.where(alive, value, jnp.where(jnp.isnan(y), jnp.nan, ended))


def escape_time(
    depth: ArrayLike, eps: ArrayLike, target: ArrayLike, push: ArrayLike
) -> Float[Array, "..."]:
    """The time in which a singular value grows from ε to ``target`` under a constant push c.

    With d log σ/dt = c σ^{1−2/N} it is

        N = 2:  log(target/ε)/c,
        else:   (ε^{−q} − target^{−q})/(q c),  q = 1 − 2/N.

    It grows like log(1/ε) at N = 2 and like ε^{−q} beyond: depth separates the modes. The time is
    negative for target < ε, and the formula then gives (with the sign changed) the time of the
    decay.

    **Shapes**: the arguments broadcast; smooth in all, also through N = 2. **Normalization**: time
    as in [CMV].
    **Raises** `DepthError`; `InputError` where eps, target or push is not positive. **Source**: as
    `predict_decay`.

    >>> import math, deeplinear as dl
    >>> [round(float(dl.asymptotics.escape_time(N, 1e-3, 0.5, 1.0)), 3) for N in (2, 3, math.inf)]
    [6.215, 26.22, 998.0]
    """
    _check_positive(eps=eps, target=target, push=push)
    q, eps, target, push = _arrays(depth, eps, target, push)
    return _escape(eps, target, push, q)


@program
def _escape(eps: Array, target: Array, push: Array, q: Array) -> Array:
    log_ratio = jnp.log(target) - jnp.log(eps)
    # both forms are equal; each is taken for its own sign of q·log_ratio, where its exponential
    # does not overflow
    shape = _expm1_ratio(-jnp.abs(q * log_ratio))
    from_eps = jnp.where(q * log_ratio >= 0, jnp.power(eps, -q) * shape, 0.0)
    from_target = jnp.where(q * log_ratio < 0, jnp.power(target, -q) * shape, 0.0)
    return log_ratio / push * (from_eps + from_target)


class DecayFit(Numbers, eqx.Module):
    """What `fit_decay` found: d log σ/dt = −``push`` · σ^``power``.

    - ``exponent``: of t in the decay t^{−p}, p = 1/power (infinite unless the law is algebraic);
      ``power`` = 1 − 2/N, ``push`` = c; each with its standard error ``…_error`` (0 for what was
      given).
    - ``law``: "exponential", "algebraic" or "finite-time", the one that fits better (exponential:
      power within 0.01 or three standard errors of 0).
    - ``misfit``: the root mean square of the residuals of log σ, of the exponential law and of the
      fitted one.
    - ``status``: a `Status`; ``reliable``: whether the fit converged and follows log σ to 2 per
      cent of its fall.
    """

    exponent: float
    exponent_error: float
    power: float
    power_error: float
    push: float
    push_error: float
    law: str
    misfit: dict[str, float]
    status: Status

    @property
    def reliable(self) -> bool:
        """Whether the fit converged and follows log σ to 2 per cent of its fall."""
        return self.status == Status.converged

    @property
    def depth(self) -> float:
        """The depth that the power belongs to, N = 2/(1 − power); infinite where power ≥ 1."""
        return 2 / (1 - self.power) if self.power < 1 else math.inf


@needs_values
def fit_decay(ts: ArrayLike, sigma: ArrayLike, depth: float | None = None) -> DecayFit:
    """Fit the law of `predict_decay` to measured singular values, by least squares in log σ.

    **Arguments**: ``ts``, ``sigma``: times and values (> 0) of one decaying singular value, at
    least five. ``depth``: impose the law of this depth and fit the push alone; by default the power
    1 − 2/N is fitted too, and with it the exponent N/(N − 2). The start σ(ts[0]) is always fitted.
    Standard errors are those of nonlinear least squares, with independent errors of log σ.

    **Normalization**: time as in [CMV]. **Raises** `InputError` for data that are not a decay. Not
    differentiable (NumPy).

    >>> import numpy as np, deeplinear as dl
    >>> t = np.linspace(0, 50, 40)
    >>> fit = dl.asymptotics.fit_decay(t, dl.asymptotics.predict_decay(t, 0.1, 2.0, 4))
    >>> fit.law, round(fit.exponent, 4), round(fit.push, 4)
    ('algebraic', 2.0, 2.0)
    """
    t, y = _decay_data(ts, sigma)
    span, fall = t[-1], y[0] - y[-1]
    fixed = None if depth is None else 1 - 2 / float(check_depth(depth, scalar=True))
    _, line = _least_squares(t / span, y, 0.0)
    best, residuals = _least_squares(t / span, y, fixed)
    start, log_rate = float(best.x[0]), float(best.x[1])
    q = fixed if fixed is not None else float(best.x[2])
    covariance = _covariance(best.jac, residuals)
    # log c = log rate − q log σ_0: its derivatives in the fitted parameters
    direction = np.array([-q, 1.0] if fixed is not None else [-q, 1.0, -start])
    push = math.exp(log_rate - q * start) / float(span)
    q_error = 0.0 if fixed is not None else math.sqrt(covariance[2, 2])
    misfit = {"exponential": _rms(line), "fitted": _rms(residuals)}
    flat = abs(q) <= max(3 * q_error, NEARLY_EXPONENTIAL)
    law = "exponential" if flat else "algebraic" if q > 0 else "finite-time"
    algebraic = law == "algebraic"
    return DecayFit(
        exponent=1 / q if algebraic else math.inf,
        exponent_error=q_error / q**2 if algebraic else 0.0 if fixed is not None else math.inf,
        power=q,
        power_error=q_error,
        push=push,
        push_error=push * math.sqrt(direction @ covariance @ direction),
        law=law,
        misfit=misfit,
        status=(
            Status.not_converged
            if not best.success
            else Status.converged
            if misfit["fitted"] < 0.02 * fall
            else Status.misfit
        ),
    )


def _decay_data(ts: ArrayLike, sigma: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    t, s = (as_floats(x, name) for x, name in ((ts, "ts"), (sigma, "sigma")))
    if t.ndim != 1 or t.shape != s.shape or t.size < 5:
        raise InputError(
            f"ts and sigma must be vectors of one length, five at least, got {t.shape} and "
            f"{s.shape}."
        )
    if not (np.isfinite(t).all() and (np.diff(t) > 0).all()):
        raise InputError("ts must be finite and increasing.")
    if not (np.isfinite(s).all() and (s > 0).all() and s[-1] < s[0]):
        raise InputError(
            "sigma must be finite, positive and smaller at the end than at the start: give the "
            "part that decays."
        )
    return t - t[0], np.log(s)


def _model(t: np.ndarray, start: float, log_rate: float, q: float) -> np.ndarray:
    """log σ(t) with the rate c σ_0^q."""
    # log1p(qx)/q, by its series where q is too small for the quotient; −1 is where σ reaches 0
    x = math.exp(min(log_rate, 700.0)) * t
    y = np.maximum(q * x, -1 + 1e-12)
    return start - np.where(
        np.abs(y) < 1e-9, x * (1 - y / 2), x * np.log1p(y) / np.where(y == 0, 1.0, y)
    )


def _least_squares(
    t: np.ndarray, y: np.ndarray, q: float | None
) -> tuple["OptimizeResult", np.ndarray]:
    """The best fit of (log σ_0, log rate[, q]), over a few starts, and its residuals."""
    from scipy.optimize import least_squares

    def residual(p: np.ndarray) -> np.ndarray:
        return _model(t, p[0], p[1], p[2] if q is None else q) - y

    fits = []
    for power in (0.0, 0.3, 1.0, -0.5) if q is None else (q,):
        # the rate that falls from y[0] to y[-1] at this power
        fall = y[0] - y[-1]
        rate = fall * float(np.expm1(power * fall) / (power * fall) if power else 1.0)
        p0 = [y[0], math.log(rate), *([power] if q is None else [])]
        fits.append(
            least_squares(
                residual, p0, jac="3-point", x_scale="jac", xtol=1e-14, ftol=1e-14, gtol=1e-14
            )
        )
    best = min(fits, key=lambda fit: fit.cost)
    return best, best.fun


def _covariance(jac: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    freedom = max(residuals.size - jac.shape[1], 1)
    return np.linalg.pinv(jac.T @ jac) * float(residuals @ residuals) / freedom


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))
