"""Equilibria of the free energy F_β = E − S_N/β of spectral energies, and their rates."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from ..checks import as_array, check_depth, check_integer, check_positive
from ..compilation import program
from ..errors import DepthError, InputError
from ..geometry.kernel import log_kernel
from ..labelled import Numbers
from ..reals import as_floats
from ..status import Status
from ..transforms import needs_values

_FLAT = 1e-9  # curvatures below this part of the largest are taken for zero


class _EntropicEquilibrium(NamedTuple):
    singular_values: Float[np.ndarray, " d"]
    free_energy: float
    rates: Float[np.ndarray, " d"]
    status: Status


class EntropicEquilibrium(Numbers, _EntropicEquilibrium):
    """What `entropic_equilibrium` returns.

    - ``singular_values``: descending, (d,). The equilibrium is the set of all W that have them.
    - ``free_energy``: E − S_N/β there, S_N without its constant (as ``constant=False`` in
      `entropy`).
    - ``rates``: (d,), ascending: deviations decay like e^{−rate·t} along Ẇ = −A_N(∇F_β), in the
      directions that change the singular values. Where all are equal the second to last are one
      rate, that of everything symmetric and traceless.
    - ``status``: `Status.converged`, at a minimum; `Status.indefinite` where a rate is negative;
      `Status.not_converged` where the search went on, to rank loss or to infinity.
    """

    _axis = "k"

    @property
    def converged(self) -> bool:
        """Whether it is a minimum."""
        return self.status == Status.converged


@needs_values
def entropic_equilibrium(
    energy: "SpectralEnergy",
    depth: float,
    beta: float,
    d: int,
    *,
    equal: bool = False,
    start: ArrayLike | None = None,
) -> EntropicEquilibrium:
    """A minimum of F_β(W) = E(W) − S_N(W)/β over d×d matrices, for E that sees singular values
    alone, and the rates of its linearized flow.

    Noise along the orbits alone makes W follow Ẇ = −A_N(∇F_β) (Menon, Yu): entropy pushes singular
    values up and apart, E holds them. With log σ for coordinates the flow is

        d log σ_i/dt = −σ_i^{−2/N} ∂F_β/∂ log σ_i,

    and the rates are the eigenvalues of σ_i^{−1/N} (∂²F_β/∂ log σ_i ∂ log σ_j) σ_j^{−1/N}.
    For E = Σ e(σ_i) there is one equilibrium with equal values, σ e′(σ) = (d − 1)(1 − 1/N)/(2β). It
    is stable where σ(σe′)′ exceeds (1 − 1/N²) d/(6β): for E = ½‖W‖² always, with the rates

        σ^{−2/N} (1 − 1/N)/β · [(d − 1) − d(1 + 1/N)/6]   and   2 σ^{2−2/N},

    for weight decay Σ σ_i^{2/N} only at N < 5 − 6/d: deeper networks leave it at every β.

    **Arguments**: ``energy`` of the vector of singular values, symmetric, in JAX operations.
    ``equal``: search among equal singular values alone (the equilibrium may be a saddle then).
    ``start``: d positive numbers; by default near the best equal ones.
    **Normalization**: [CMV]'s time; E and S are as in `free_energy`. **Raises** `DepthError`,
    `InputError`. **Source**: Menon, Yu 2025 (2509.09088); the rates are derived here.

    >>> import deeplinear as dl, jax.numpy as jnp
    >>> at = dl.asymptotics.entropic_equilibrium(lambda s: 0.5 * jnp.sum(s**2), 2, 4.0, 3)
    >>> at.singular_values.round(6).tolist()  # σ² = 2 · ½/8
    [0.353553, 0.353553, 0.353553]
    >>> at.converged, at.rates.round(6).tolist()
    (True, [0.441942, 0.441942, 0.707107])
    """
    N = float(check_depth(depth, scalar=True))
    if N == 1:
        raise DepthError(
            "depth must be above 1 for entropy, got 1: the energy alone decides there."
        )
    beta, d = check_positive(beta, "beta"), check_integer(d, "d", 2)
    functions = _functions(energy, 1 / N, beta, d)
    l = _first(functions[0], d) if start is None else _checked_start(start, d)
    l, settled = _equal(functions, l) if equal else _descended(functions, l)
    value, slope, curvature = (f(l) for f in functions)
    scale = 1 / beta + float(np.abs(np.diag(curvature)).max())
    weight = np.exp(-l / N)
    rates = np.linalg.eigvalsh(weight[:, None] * curvature * weight)
    flat = _FLAT * scale * float(weight.max()) ** 2
    lost = not settled or np.abs(slope).max() > 1e-6 * scale or float(np.ptp(l)) > 30
    status = Status.not_converged if lost else Status.converged
    if not lost and rates[0] < -flat:
        status = Status.indefinite
    order = np.argsort(-l)
    return EntropicEquilibrium(np.exp(l[order]), float(value), rates, status)


Floats = NDArray[np.float64]
Functions = tuple[Callable[[Floats], Floats], ...]
SpectralEnergy = Callable[[Float[Array, " d"]], Float[Array, ""]]


def _functions(energy: SpectralEnergy, nu: float, beta: float, d: int) -> Functions:
    """F_β of log σ, its slope and its second derivatives."""
    dtype = jnp.zeros(()).dtype
    try:
        found = jax.eval_shape(energy, jax.ShapeDtypeStruct((d,), dtype))
        if getattr(found, "size", None) != 1:
            raise TypeError(f"it gives {found}")
    except (TypeError, jax.errors.JAXTypeError) as error:
        raise InputError(
            "energy must be a function of the vector of singular values in JAX operations, such as "
            f"lambda s: 0.5 * jnp.sum(s**2): {str(error).splitlines()[0]}"
        ) from error
    numbers = as_array(nu, dtype), as_array(1 / beta, dtype)

    def call(order: int) -> Callable[[Floats], Floats]:
        return lambda l: np.asarray(_derivative(energy, as_array(l, dtype), *numbers, order), float)

    return call(0), call(1), call(2)


@program
def _derivative(
    energy: SpectralEnergy, l: Array, nu: Array, temperature: Array, order: int
) -> Array:
    i, j = np.triu_indices(l.size, 1)

    def value(l: Array) -> Array:
        pairs = log_kernel(l[i], l[j], nu)
        return jnp.reshape(energy(jnp.exp(l)), ()) - 0.5 * temperature * jnp.sum(pairs)

    return (value, jax.grad(value), jax.hessian(value))[order](l)


def _checked_start(start: ArrayLike, d: int) -> Floats:
    s = as_floats(start, "start")
    if s.shape != (d,) or not (np.isfinite(s).all() and (s > 0).all()):
        raise InputError(f"start must be {d} positive singular values, got {start!r}.")
    return np.log(s)


def _first(value: Callable[[Floats], Floats], d: int) -> Floats:
    """The best of equal singular values, moved a little apart."""
    grid = np.linspace(-20, 20, 161)
    values = np.array([float(value(np.full(d, x))) for x in grid])
    if not np.isfinite(values).any():
        raise InputError("energy must be finite somewhere among equal singular values.")
    best = grid[int(np.nanargmin(np.where(np.isfinite(values), values, np.nan)))]
    return best + 0.05 * np.linspace(1, -1, d)


def _equal(functions: Functions, l: Floats) -> tuple[Floats, bool]:
    """The critical point with equal singular values."""
    value, slope, curvature = functions
    middle, d = float(l.mean()), l.size
    found = minimize_scalar(
        lambda x: float(value(np.full(d, x))), bracket=(middle - 0.3, middle, middle + 0.3)
    )
    x = float(found.x)
    for _ in range(20):  # Newton's method: minimization alone gives half of the digits
        at = np.full(d, x)
        bend = float(np.sum(curvature(at)))
        if not bend > 0:
            break
        x -= float(np.sum(slope(at))) / bend
    return np.full(d, x), bool(math.isfinite(x) and abs(x) < 300)


def _descended(functions: Functions, l: Floats) -> tuple[Floats, bool]:
    """A minimum downhill of l."""
    value, slope, curvature = functions
    try:
        found = minimize(
            value, l, jac=slope, hess=curvature, method="trust-exact", options={"gtol": 1e-12}
        )
    except (ValueError, np.linalg.LinAlgError):  # out of range: there is no minimum on the way
        return l, False
    l = np.asarray(found.x, float)
    for _ in range(3):  # Newton's method: the value alone has told points apart to half the digits
        bends, frame = np.linalg.eigh(curvature(l))
        if not bends[0] > _FLAT * bends[-1]:
            break
        step = frame @ (frame.T @ slope(l) / bends)
        if np.abs(step).max() > 1e-3:
            break
        l = l - step
    return l, bool(np.isfinite(l).all())
