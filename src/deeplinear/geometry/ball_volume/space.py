"""The ball inside the solution set, and whether its volume is finite at all."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike
from numpy.typing import NDArray

from ...energies import Completion, Sensing
from ...errors import InputError, SingularOperatorError

Floats = NDArray[np.floating]  # 64 bits throughout

_ZERO = 1e-10  # singular values below this fraction of the largest are taken for zero


class Space(NamedTuple):
    """The ball, its p free directions (p×m×n, orthonormal), ν = 1/N and which density is meant."""

    centre: Floats
    basis: Floats
    radius: float
    nu: float
    induced: bool

    @property
    def square(self) -> bool:
        return self.centre.shape[0] == self.centre.shape[1]

    @property
    def weighted(self) -> bool:
        """Whether chords are weighted by p (θ·n)²: where grazing ones have a heavy tail."""
        return self.square and 0 < self.nu < 0.5 and len(self.basis) > 1

    def matrices(self, coordinates: Floats) -> Floats:
        """Σ_a x_a Z_a for coordinates x along the last axis."""
        return np.tensordot(coordinates, self.basis, 1)


def free_directions(W: Floats, constraint: Completion | Sensing | ArrayLike | None) -> Floats:
    """An orthonormal basis of the directions of the solution set, p×m×n.

    `InputError` if W is not in the set.
    """
    shape = W.shape
    if isinstance(constraint, Sensing):
        A, y = np.asarray(constraint.A, np.float64), np.asarray(constraint.y, np.float64)
        if constraint.shape != shape:
            raise InputError(
                f"W must have the shape {constraint.shape} of the constraint, got {shape}."
            )
        used = np.asarray(constraint.weights) > 0
        rows, y = A.reshape(len(A), -1)[used], y[used]
        _check_on(rows @ W.ravel() - y, np.abs(y).max(initial=0.0))
        _, s, Vt = np.linalg.svd(rows)
        basis = Vt[np.count_nonzero(s > 1e-12 * s.max(initial=0.0)) :].reshape(-1, *shape)
    else:
        observed, target = np.zeros(shape, bool), W
        if isinstance(constraint, Completion):
            observed = np.asarray(constraint.observed)
            target = np.asarray(constraint.target, np.float64)
        elif constraint is not None:
            observed = np.asarray(constraint)
        if observed.dtype != bool:
            raise InputError(
                "constraint must be None, a Completion, a Sensing or a boolean mask of observed "
                f"entries, got {type(constraint).__name__} of dtype {observed.dtype}."
            )
        if observed.shape != shape:
            raise InputError(f"constraint must have the shape {shape} of W, got {observed.shape}.")
        _check_on((W - target)[observed], np.abs(target[observed]).max(initial=0.0))
        basis = np.eye(W.size).reshape(-1, *shape)[~observed.ravel()]
    if len(basis) == 0:
        raise InputError(
            "constraint must leave something free, and its observations fix the whole matrix."
        )
    return basis


def _check_on(residual: Floats, scale: float) -> None:
    worst = np.abs(residual).max(initial=0.0)
    if worst > 1e-3 * scale:
        raise InputError(
            f"W must fit the observations of the constraint, and misses one by {worst:.3g}: give a "
            "point of the solution set, or a boolean mask to take W's own entries for the data."
        )


def _corank(s: Floats) -> int:
    return int(np.count_nonzero(s <= _ZERO * s[0])) if s[0] > 0 else s.size


def _null_block(space: Space) -> tuple[int, Floats]:
    """The corank of the centre, and the null blocks U_⊥ᵀ Z V_⊥ of the free directions Z (p×D)."""
    U, s, Vt = np.linalg.svd(space.centre)
    c = _corank(s)
    r = s.size - c
    return c, np.einsum("ui,auv,jv->aij", U[:, r:], space.basis, Vt[r:]).reshape(
        len(space.basis), -1
    )


def check_finite(space: Space) -> None:
    """Errors for a volume that provably diverges.

    At N = ∞ where rank is lost, at finite N where too few directions raise the rank.
    """
    corank, block = _null_block(space)
    if space.nu == 0 and not space.square:
        raise SingularOperatorError(
            "W must be square at depth = math.inf, where the density of others is infinite: take a "
            "finite depth."
        )
    if space.nu == 0 and corank:
        raise SingularOperatorError(
            "W must have full rank at depth = math.inf, where the density is not integrable: take "
            "a finite depth."
        )
    rng = np.random.default_rng(0)
    near = rng.normal(size=(8, len(block))) * (space.radius / math.sqrt(len(block)))
    if all(map(_corank, _singular_values(space, near))):
        raise InputError(
            "W must lie in a solution set that reaches full rank, and every point of this one is "
            "singular, of infinite density: use log_stratum_volume to compare its points."
        )
    if corank == 0 or space.induced:
        return
    _, s, Vt = np.linalg.svd(block.T)
    q = int(np.count_nonzero(s > _ZERO * max(1.0, s.max(initial=0.0))))
    # The other directions, at a finite step: if they keep the corank, the density is at least
    # const·|x|^{−D(1−ν)} in the q coordinates x that do not, D the size of the block.
    if q < len(block):
        step = 0.3 * space.radius / math.sqrt(len(block))
        still = rng.normal(size=(4, len(block) - q)) @ Vt[q:] * step
        if any(_corank(s) < corank for s in _singular_values(space, still)):
            return
    if q <= block.shape[1] * (1 - space.nu):
        raise InputError(
            f"depth must be below {block.shape[1] / (block.shape[1] - q):.6g} here: W has corank "
            f"{corank}, only {q} of the free directions raise the rank, and the volume diverges."
        )


def _singular_values(space: Space, coordinates: Floats) -> Floats:
    return np.linalg.svd(space.centre + space.matrices(coordinates), compute_uv=False)


def check_full_rank(space: Space, rng: np.random.Generator) -> None:
    """N = ∞: `SingularOperatorError` if the ball reaches {det = 0}.

    By conditional gradients on sign(det W) det X. Certain when the radius is below σ_min(W); else a
    search from 32 starts, and the chords that follow are checked too.
    """
    if space.radius < np.linalg.svd(space.centre, compute_uv=False)[-1]:
        return
    sign = np.sign(np.linalg.det(space.centre))
    x = rng.normal(size=(32, len(space.basis)))
    x *= space.radius / np.linalg.norm(x, axis=1, keepdims=True)
    steps = np.array([0.0, *0.5 ** np.arange(12)])
    for _ in range(60):
        X = space.centre + space.matrices(x)
        det = sign * np.linalg.det(X)
        if (det <= 0).any():
            raise crossing()
        slope = np.einsum("bji,aij->ba", np.linalg.inv(X), space.basis)  # of log det
        length = np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-300)
        corner = -space.radius * slope / length  # where the linearized log det is least
        trial = x + steps[:, None, None] * (corner - x)
        values = sign * np.linalg.det(space.centre + space.matrices(trial))
        x = trial[values.argmin(0), np.arange(len(x))]


def crossing() -> SingularOperatorError:
    return SingularOperatorError(
        "radius must be small enough at depth = math.inf for the ball to stay inside full rank, "
        "and it reaches {det = 0}, where the density is not integrable: take a smaller radius, or "
        "a finite depth."
    )
