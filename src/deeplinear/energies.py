"""Energies (training losses): W ↦ scalar. The contract of an energy, and the usual ones.

Every function of the library that takes an energy takes any differentiable function of W: an
`AbstractEnergy`, or a plain function.
"""

import abc
import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from .checks import check_shape
from .errors import InputError, PrecisionError
from .reals import as_reals
from .transforms import needs_values

# What functions of the library accept as an energy: an `AbstractEnergy` is one.
Energy: TypeAlias = Callable[[Float[Array, "m n"]], Float[Array, ""]]


def check_energy(energy: object, shape: tuple[int, ...], dtype: DTypeLike) -> np.dtype:
    """The precision to compute in, if ``energy`` is a real function of m×n matrices.

    That of W (``dtype``), or the wider one that the energy itself computes in. `InputError` where
    it is no function, does not return one real number or is not written in JAX operations;
    `PrecisionError` where it rounds to fewer digits than W has.
    """
    if not callable(energy):
        raise InputError(
            "energy must be a function of W, such as dl.Completion(...), got "
            f"{type(energy).__name__}."
        )
    dtype = jnp.dtype(dtype)
    try:
        value = jax.eval_shape(partial(_real_value, energy), jax.ShapeDtypeStruct(shape, dtype))
    except jax.errors.JAXTypeError as error:
        raise InputError(
            "energy must be written in JAX operations (jax.numpy, without branches on values of "
            f"W), and is not: {str(error).splitlines()[0].rstrip('.')}."
        ) from error
    if value.size != 1 or not jnp.issubdtype(value.dtype, jnp.floating):
        raise InputError(
            f"energy must return one real number, got shape {value.shape} and dtype {value.dtype}: "
            "sum the terms, or take real parts."
        )
    if value.dtype.itemsize < dtype.itemsize:
        raise PrecisionError(
            f"energy must compute in the precision of W, {dtype}, and returns {value.dtype}: "
            "convert its data and its result, or W."
        )
    return value.dtype


def _real_value(energy: Callable[..., object], W: Array) -> Array:
    """``energy(W)`` as an array; what it raises inside is its own, what it returns is checked."""
    try:
        signature = inspect.signature(energy)
        signature.bind(W)
    except TypeError as error:
        raise InputError(f"energy must be a function of W alone: {error}.") from None
    except ValueError:  # a builtin that does not say what it takes
        pass
    value = energy(W)
    if isinstance(value, Array | np.ndarray | np.generic | int | float | complex):
        return jnp.asarray(value)
    raise InputError(
        f"energy must return one real number, got {type(value).__name__}: return a scalar of JAX."
    )


class AbstractEnergy(eqx.Module):
    """An energy E(W): the contract of what can be trained, sampled and checked.

    A subclass has the data of its problem as fields and defines ``__call__``. Being an
    `equinox.Module` it is a pytree: its arrays are arguments of compiled functions, so that another
    data set of the same shapes compiles nothing again. A plain function or a closure is accepted
    everywhere too; its data are then constants of the compiled program.

    **Required of** ``__call__(W)``

    - W is one m×n matrix (not a batch: functions that take batches use `jax.vmap`), and the result
      is a real scalar, of shape () and the dtype of W.
    - It is written in JAX operations and pure: no side effects, no Python branch on values of W, so
      that it works inside ``jit``, ``vmap`` and ``grad``.
    - It is differentiable by JAX wherever training passes: once for `gradient_flow`, `ensemble` and
      `langevin`; twice for `verify.hessian_check` and for the `asymptotics.tangent_kernel` of an
      energy of one's own. A singular value decomposition inside needs a derivative rule of its own
      where singular values are tied. `verify.gradient_check` tests derivatives.
    - No normalization is imposed: the flow is Ẇ = −A_{N,W}(E′(W)), so that c·E trains c times as
      fast.

    **Optional**

    - ``shape``: (m, n), if the problem has one. It is compared with that of W; None, the default,
      accepts any.
    - A least-squares problem is best derived from `Completion` or `Sensing`, or made with them.
      Their residuals are known, E = ½‖ρ(W)‖², and the library uses this: the tangent kernel is then
      a matrix on residuals instead of on all of W, `asymptotics.predicted_rate` may iterate, and
      `ball_volume` takes the energy for its ``constraint``.

    >>> class Distance(AbstractEnergy):
    ...     M: jax.Array
    ...     def __call__(self, W):
    ...         return 0.5 * jnp.sum((W - self.M) ** 2)
    >>> import deeplinear as dl
    >>> result = dl.gradient_flow(Distance(jnp.eye(2)), np.array([[0.5, 0.1], [0.2, 0.3]]), depth=3)
    >>> np.round(result.W, 3).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    @abc.abstractmethod
    def __call__(self, W: Float[Array | np.ndarray, "m n"]) -> Float[Array, ""]:
        """E(W)."""

    @property
    def shape(self) -> tuple[int, int] | None:
        """(m, n), the shape of W in this problem; None where any shape will do."""
        return None


class Completion(AbstractEnergy):
    """Matrix completion, E(W) = ½ Σ_{(i,j) ∈ Ω} w_ij (W_ij − M_ij)².

    Its gradient is P_Ω(w ∘ (W − M)), with P_Ω the projection on the observed entries Ω.

    **Arguments**: ``rows``, ``cols`` (integers, equal length) and ``values`` list the observed
    entries of an m×n matrix, ``shape`` = (m, n); ``weights`` (≥ 0, 1 by default) are one per entry.

    **Raises** `InputError`: an index out of range, an entry listed twice, a value that is not
    finite, a negative weight, nothing observed.

    >>> energy = Completion([0, 1], [0, 1], [1.0, 2.0], (2, 2))
    >>> import jax.numpy as jnp
    >>> float(energy(jnp.zeros((2, 2))))
    2.5
    """

    # Dense on purpose: W is dense wherever this is called, and a masked difference is far faster
    # than a gather and a scatter. Weight 0 means "not observed".
    target: Float[Array, "m n"]
    weights: Float[Array, "m n"]

    @needs_values
    def __init__(
        self,
        rows: ArrayLike,
        cols: ArrayLike,
        values: ArrayLike,
        shape: tuple[int, int],
        weights: ArrayLike | None = None,
    ):
        rows, cols = as_reals(rows, "rows"), as_reals(cols, "cols")
        values = as_reals(values, "values")
        if not (rows.shape == cols.shape == values.shape and rows.ndim == 1):
            raise InputError(
                "rows, cols and values must be one-dimensional and of equal length, got "
                f"{rows.shape}, {cols.shape}, {values.shape}."
            )
        shape = check_shape(shape)
        if rows.size == 0:
            raise InputError("values must hold at least one observed entry, got none.")
        for name, index, bound in (("rows", rows, shape[0]), ("cols", cols, shape[1])):
            if index.dtype.kind not in "iu":
                raise InputError(f"{name} must hold integers, got dtype {index.dtype}.")
            if index.min() < 0 or index.max() >= bound:
                raise InputError(
                    f"{name} must lie in 0 … {bound - 1} for shape {shape}, got {index.min()} … "
                    f"{index.max()}."
                )
        # Entries listed twice would overwrite each other below: the energy would miss a term.
        flat = np.ravel_multi_index((rows, cols), shape)
        if np.unique(flat).size != flat.size:
            raise InputError(
                "rows and cols list an entry twice: combine the repeated observations (and their "
                "weights) first."
            )
        dtype = _floating(values)
        given = np.ones(values.shape) if weights is None else as_reals(weights, "weights")
        w = np.asarray(given, dtype)
        if w.shape != values.shape:
            raise InputError(
                f"weights must match values in shape, got {w.shape} for {values.shape}."
            )
        if not np.isfinite(values).all():
            raise InputError(
                "values must be finite: leave entries that are missing out of the list."
            )
        if not (np.isfinite(w).all() and (w >= 0).all() and (w > 0).any()):
            raise InputError("weights must be finite and ≥ 0, with at least one > 0.")
        target, dense_weights = np.zeros(shape, dtype), np.zeros(shape, dtype)
        target[rows, cols], dense_weights[rows, cols] = values, w
        self.target, self.weights = jax.device_put(target), jax.device_put(dense_weights)

    @classmethod
    @needs_values
    def from_dense(cls, X: ArrayLike, weights: ArrayLike | None = None) -> "Completion":
        """The completion of a dense matrix X with NaN for missing entries; ``weights`` like X.

        Entries that a masked array hides are missing too, and so is ``pandas.NA`` in a frame.

        >>> import numpy as np
        >>> Completion.from_dense(np.array([[1.0, np.nan], [np.nan, 2.0]])).observed.tolist()
        [[True, False], [False, True]]
        >>> Completion.from_dense(np.ma.masked_equal([[1, -9], [3, 2]], -9)).observed.tolist()
        [[True, False], [True, True]]
        """
        X = _with_nan(X)
        if X.ndim != 2:
            raise InputError(f"X must be a matrix, got shape {X.shape}.")
        if weights is not None and np.shape(weights) != X.shape:
            raise InputError(
                f"weights must have the shape {X.shape} of X, got {np.shape(weights)}."
            )
        rows, cols = np.nonzero(~np.isnan(X))
        return cls(
            rows,
            cols,
            X[rows, cols],
            X.shape,
            None if weights is None else as_reals(weights, "weights")[rows, cols],
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n), the shape of W."""
        return self.target.shape[0], self.target.shape[1]

    @property
    def observed(self) -> Array:
        """The mask of observed entries, m×n booleans."""
        return self.weights > 0

    def __call__(self, W: Float[Array | np.ndarray, "m n"]) -> Float[Array, ""]:
        residual = _checked(W, self.shape) - self.target
        return 0.5 * jnp.sum(self.weights * residual**2)


def _floating(x: np.ndarray) -> np.dtype:
    """The type to compute with ``x`` in: 32 bits at least, and float64 for integers."""
    return np.promote_types(x.dtype, np.float32) if x.dtype.kind == "f" else np.dtype(float)


def _with_nan(X: ArrayLike) -> np.ndarray:
    """``X`` with NaN where a masked array hides an entry, or a frame of pandas has none."""
    if isinstance(X, np.ma.MaskedArray) and X.dtype.kind in "fiub":
        dtype = X.dtype if X.dtype.kind == "f" else float
        return np.ma.filled(X.astype(dtype), np.nan)
    if type(X).__module__.partition(".")[0] == "pandas":
        nullable = any(str(kind)[:1] in "IUFb" for kind in X.dtypes)  # type: ignore[union-attr]
        if nullable:
            return X.to_numpy(dtype=float, na_value=np.nan)  # type: ignore[union-attr]
    return as_reals(X, "X")


class Sensing(AbstractEnergy):
    """Matrix sensing, E(W) = ½ Σ_l w_l (⟨A_l, W⟩ − y_l)², from p linear measurements.

    **Arguments**: ``A`` is p×m×n, ``y`` has p entries, ``weights`` (≥ 0, 1 by default) too.

    **Raises** `InputError` for shapes that do not match and for values that are not finite.

    >>> import jax.numpy as jnp
    >>> energy = Sensing(jnp.ones((1, 2, 2)), jnp.array([3.0]))
    >>> float(energy(jnp.eye(2)))
    0.5
    """

    A: Float[Array, "p m n"]
    y: Float[Array, " p"]
    weights: Float[Array, " p"]

    @needs_values
    def __init__(self, A: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None):
        A, y = as_reals(A, "A"), as_reals(y, "y")
        A, y = A.astype(_floating(A)), y.astype(_floating(y))  # small integers would wrap round
        if A.ndim != 3 or 0 in A.shape:
            raise InputError(f"A must have shape (p, m, n), all positive, got {A.shape}.")
        p = len(A)
        weights = (
            np.ones(p, np.result_type(y, np.float32))
            if weights is None
            else as_reals(weights, "weights")
        )
        for name, x in (("y", y), ("weights", weights)):
            if np.shape(x) != (p,):
                raise InputError(
                    f"{name} must have shape ({p},), one entry for each measurement in A, got "
                    f"{np.shape(x)}."
                )
        for name, x in (("A", A), ("y", y), ("weights", weights)):
            if not np.isfinite(x).all():
                raise InputError(f"{name} must be finite, got NaN or infinite entries.")
        if (weights < 0).any() or not (weights > 0).any():
            raise InputError("weights must be ≥ 0, with at least one > 0.")
        self.A, self.y, self.weights = jnp.asarray(A), jnp.asarray(y), jnp.asarray(weights)

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n), the shape of W."""
        return self.A.shape[1], self.A.shape[2]

    def __call__(self, W: Float[Array | np.ndarray, "m n"]) -> Float[Array, ""]:
        residual = jnp.tensordot(self.A, _checked(W, self.shape), 2) - self.y
        return 0.5 * jnp.sum(self.weights * residual**2)


class Regression(AbstractEnergy):
    """Linear regression, E(W) = (1/2p) ‖Y − W X‖_F², on p samples.

    With inputs that are whitened, XXᵀ = pI, it is ½‖W − S‖_F² and a constant, S = YXᵀ/p. Without
    ``Y`` it is the linear autoencoder, Y = X.

    **Arguments**: ``X`` is n×p and ``Y`` m×p, one column for each sample. What is kept is of size
    n, whatever p is: a root L of the inputs' second moment LLᵀ = XXᵀ/p, and T with
    TLᵀ = YXᵀ/p, so that E = ½‖W L − T‖_F² + ``minimum``, a sum of squares in which nothing cancels.
    ``keep_samples``: keep (X, Y) too, as ``samples``, of which `descend` takes minibatches.

    **Raises** `InputError` for shapes that do not match and for values that are not finite.
    **Source**: Saxe, McClelland, Ganguli 2014.

    >>> import numpy as np
    >>> energy = Regression(np.array([[1.0, -1.0]]), np.array([[2.0, -1.0]]))
    >>> [round(float(E), 6) for E in (energy(np.array([[1.0]])), energy.minimum)]
    [0.25, 0.125]
    """

    root: Float[Array, "n k"]
    target: Float[Array, "m k"]
    minimum: Float[Array, ""]
    samples: tuple[Float[Array, "n p"], Float[Array, "m p"]] | None

    @needs_values
    def __init__(self, X: ArrayLike, Y: ArrayLike | None = None, *, keep_samples: bool = False):
        X, Y = as_reals(X, "X"), as_reals(X if Y is None else Y, "Y")
        for name, x in (("X", X), ("Y", Y)):
            if x.ndim != 2 or 0 in x.shape:
                raise InputError(f"{name} must be a matrix, a sample in a column: {x.shape}.")
            if not np.isfinite(x).all():
                raise InputError(f"{name} must be finite, got NaN or infinite entries.")
        if X.shape[1] != Y.shape[1]:
            raise InputError(
                f"X and Y must have one column for each sample, got {X.shape[1]} and {Y.shape[1]}."
            )
        dtype = np.result_type(X, Y, np.float32)
        scaled = np.asarray(Y, float) / math.sqrt(X.shape[1])
        V, s, Qt = np.linalg.svd(np.asarray(X, float) / math.sqrt(X.shape[1]), full_matrices=False)
        # directions that no input has are left out: nothing of the target lies in them
        used = s > max(X.shape) * np.finfo(float).eps * s[0]
        target = scaled @ Qt[used].T
        rest = scaled - target @ Qt[used]
        self.root = jax.device_put((V[:, used] * s[used]).astype(dtype))
        self.target = jax.device_put(target.astype(dtype))
        self.minimum = jax.device_put(np.asarray(0.5 * np.sum(rest**2), dtype))
        kept = jax.device_put(X.astype(dtype)), jax.device_put(Y.astype(dtype))
        self.samples = kept if keep_samples else None

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n), the shape of W."""
        return self.target.shape[0], self.root.shape[0]

    def __call__(self, W: Float[Array | np.ndarray, "m n"]) -> Float[Array, ""]:
        residual = _checked(W, self.shape) @ self.root - self.target
        return 0.5 * jnp.sum(residual**2) + self.minimum


def _checked(W: Array | np.ndarray, shape: tuple[int, ...]) -> Array | np.ndarray:
    """W, if it has the shape of the problem: broadcasting would give another energy."""
    if jnp.shape(W) != shape:
        raise InputError(f"W must have the shape {shape} of the problem, got {jnp.shape(W)}.")
    return W
