"""Random chords of the ball, each integrated through the points where det vanishes.

Along a line the zeros of det are the eigenvalues of a small matrix. At a zero s_0 the density
√det g^N grows like |s − s_0|^{−(1−1/N)}. In u, with |s − s_0| = L u^N, it is smooth, and log σ_k
follows from log|det|, which no SVD resolves there.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .density import log_density
from .space import Floats, Space, crossing

# |Kronrod − Gauss| of a panel relative to its chord; Kronrod itself is far better
_TOLERANCE = 1e-5
_LEVELS = 48  # of bisection

# Kronrod's 15 points on [−1, 1] and his weights, Gauss's 7-point weights on every second of them.
_X = [0.991455371120812639, 0.949107912342758525, 0.864864423359769073, 0.741531185599394440]
_X += [0.586087235467691130, 0.405845151377397167, 0.207784955007898468]
_K = [0.022935322010529225, 0.063092092629978553, 0.104790010322250184, 0.140653259715525919]
_K += [0.169004726639267903, 0.190350578064785410, 0.204432940075298892]
_G = [0.0, 0.129484966168869693, 0.0, 0.279705391489276668, 0.0, 0.381830050505118945, 0.0]
POINTS = np.array([*[-x for x in _X], 0.0, *_X[::-1]])
KRONROD = np.array([*_K, 0.209482141084727828, *_K[::-1]])
GAUSS = np.array([*_G, 0.417959183673469388, *_G[::-1]])


def log_ball(p: int, radius: float) -> float:
    """log of the volume of the Euclidean ball in p dimensions, p = 0 included."""
    return p / 2 * math.log(math.pi) - math.lgamma(p / 2 + 1) + p * math.log(radius)


class Chords(NamedTuple):
    """Lines X(s) = Y + sΘ, |s| ≤ h, with det X(s) = ±e^{log_det} ∏_j (1 + (s − s_0) μ_j)."""

    Y: Floats
    theta: Floats  # n×p coordinates
    direction: Floats  # n×m×n matrices
    h: Floats
    s0: Floats
    log_det: Floats
    mu: NDArray[np.complex128]


def sample_chords(space: Space, rng: np.random.Generator, samples: int) -> tuple[Floats, float]:
    """log(|disc| · weight · ∫ f ds) for each chord, and the worst relative error of quadrature."""
    p, R = len(space.basis), space.radius
    s = np.linalg.svd(space.centre, compute_uv=False)
    near = int(np.count_nonzero(s < 1e-3 * R))
    D = near * (near + abs(space.centre.shape[0] - space.centre.shape[1])) * (1 - space.nu)
    # Around a centre of higher corank chord integrals grow like |y|^{1−D}: |y| gets the density
    # |y|^{p−2−a} with a = D − 1.
    a = D - 1 if 1 < D < p else 0.0
    log_disc = log_ball(p - 1, R) + (math.log((p - 1) / (p - 1 - a)) if p > 1 else 0.0)
    out, unresolved = [], 0.0
    batch = max(1, min(4096, 4_000_000 // (s.size * space.basis.size)))
    for start in range(0, samples, batch):
        n = min(batch, samples - start)
        # a uniform direction, and across it a point at a radius of the density above
        theta = rng.normal(size=(n, p))
        theta /= np.linalg.norm(theta, axis=1, keepdims=True)
        y = rng.normal(size=(n, p))
        y -= np.sum(y * theta, 1, keepdims=True) * theta
        fraction = rng.random(n) ** (1 / (p - 1 - a)) if p > 1 else np.zeros(n)
        y *= (fraction * R / np.maximum(np.linalg.norm(y, axis=1), 1e-300))[:, None]
        h = R * np.sqrt((1 - fraction) * (1 + fraction))
        chords = _chords(space, y, theta, h, central=near >= 2)
        values, error, shift = _integrate(space, chords)
        unresolved = max(unresolved, error)
        with np.errstate(divide="ignore"):  # an integral that underflows is −∞
            out.append(np.log(values) + shift + log_disc + (a * np.log(fraction) if a else 0.0))
    return np.concatenate(out), unresolved


def _chords(space: Space, y: Floats, theta: Floats, h: Floats, central: bool) -> Chords:
    n, k = len(y), min(space.centre.shape)
    Y, direction = space.centre + space.matrices(y), space.matrices(theta)
    if not space.square:
        return Chords(Y, theta, direction, h, np.zeros(n), np.zeros(n), np.zeros((n, 0), complex))
    # The point to expand at: the best of five; the middle where roots crowd around it.
    grid = np.zeros((1, 1)) if central else np.cos(np.pi * (np.arange(5)[:, None] + 0.5) / 5)
    points = grid * h
    log_dets = np.linalg.slogdet(Y + points[..., None, None] * direction)[1]
    best = log_dets.argmax(0), np.arange(n)
    s0, log_det = points[best], log_dets[best]
    if np.isneginf(log_det).any():
        raise InputError(
            "W must lie in a solution set that reaches full rank, and det vanishes along whole "
            "lines of this one."
        )
    # det(A + (s − s_0)Θ) = det A · det(1 + (s − s_0) A⁻¹Θ), A = X(s_0)
    mu = (
        np.linalg.eigvals(np.linalg.solve(Y + s0[:, None, None] * direction, direction))
        .astype(complex)
        .reshape(n, k)
    )
    return Chords(Y, theta, direction, h, s0, log_det, mu)


class Panels(NamedTuple):
    """Pieces s = s_a ± L u^power of chords, u in [low, high]; s_a is ``root`` of det (−1: none)."""

    chord: NDArray[np.intp]
    anchor: Floats
    length: Floats  # signed
    root: NDArray[np.intp]
    power: Floats
    low: Floats
    high: Floats


def _roots(chords: Chords) -> tuple[NDArray[np.complex128], NDArray[np.bool_]]:
    """Roots of det along the chords (∞ where there is none), and which are real ones inside."""
    safe = np.where(chords.mu == 0, 1, chords.mu)
    s = np.where(chords.mu == 0, np.inf, chords.s0[:, None] - 1 / safe)
    return s, (s.imag == 0) & (np.abs(s.real) < chords.h[:, None])


def _first_panels(space: Space, chords: Chords) -> Panels:
    """Each chord split half-way between anchors: its real roots, and real parts of near roots."""
    s, real = _roots(chords)
    if space.nu == 0 and real.any():
        raise crossing()
    _check_simple(s, real, chords.h)
    n, k = s.shape
    at = np.where(
        (np.abs(s.real) < chords.h[:, None]) & (np.abs(s.imag) < chords.h[:, None]), s.real, np.inf
    )
    # a chord without any such root is anchored in its middle
    at = np.concatenate([at, np.where(np.isinf(at).all(1), 0.0, np.inf)[:, None]], 1)
    root = np.concatenate([np.where(real, np.arange(k), -1), np.full((n, 1), -1)], 1)
    order = np.argsort(at, 1)
    at, root = np.take_along_axis(at, order, 1), np.take_along_axis(root, order, 1)
    h = chords.h[:, None]
    with np.errstate(invalid="ignore"):
        middle = 0.5 * (at[:, :-1] + at[:, 1:])
    middle = np.where(np.isfinite(middle), middle, h)
    left, right = np.concatenate([-h, middle], 1) - at, np.concatenate([middle, h], 1) - at
    chord, column = np.nonzero(np.isfinite(at))
    one = np.ones(2 * chord.size)
    roots = np.tile(root[chord, column], 2)
    return Panels(
        np.tile(chord, 2),
        np.tile(at[chord, column], 2),
        np.concatenate([left[chord, column], right[chord, column]]),
        roots,
        np.where(roots >= 0, 1 / space.nu if space.nu else 1.0, 1.0),
        0 * one,
        one,
    )


def _check_simple(s: NDArray[np.complex128], real: NDArray[np.bool_], h: Floats) -> None:
    """`InputError` for double roots on more chords than chance allows.

    There the singular set is met doubly, which the substitution does not resolve.
    """
    near = np.where(
        (np.abs(s.real) < h[:, None]) & (np.abs(s.imag) < 1e-6 * np.abs(s)), s.real, np.inf
    )
    near = np.sort(near, 1)
    with np.errstate(invalid="ignore"):
        double = np.diff(near, axis=1) < 1e-6 * np.abs(near[:, 1:])
    if np.count_nonzero(double.any(1)) > 0.01 * len(s):
        raise InputError(
            "W must lie in a solution set where det vanishes simply, and here two singular values "
            "vanish together along chords: the volume diverges or cannot be resolved; take a "
            "smaller radius."
        )


def _integrate(space: Space, chords: Chords) -> tuple[Floats, float, float]:
    """e^{−shift} ∫ f ds for each chord, the worst relative error left, and the shift.

    By bisection of panels, all panels of a level at once.
    """
    panels = _first_panels(space, chords)
    total, left, shift = np.zeros(len(chords.h)), np.zeros(len(chords.h)), None
    for level in range(_LEVELS):
        log_terms = _log_terms(space, chords, panels)
        shift = float(log_terms.max()) if shift is None else shift
        terms = np.exp(log_terms - shift)
        value, gap = terms @ KRONROD, np.abs(terms @ (KRONROD - GAUSS))
        # the accuracy asked for is relative to the whole chord, as far as it is known
        scale = total + np.bincount(panels.chord, value, len(total))
        rough = ~(gap <= _TOLERANCE * scale[panels.chord])
        done = ~rough if level < _LEVELS - 1 else np.ones_like(rough)
        total += np.bincount(panels.chord[done], value[done], len(total))
        left += np.bincount(panels.chord[done & rough], gap[done & rough], len(total))
        if done.all():
            break
        panels = _halves(panels, rough)
    with np.errstate(invalid="ignore"):
        return total, float(np.max(left / total)), shift or 0.0


def _halves(panels: Panels, rough: NDArray[np.bool_]) -> Panels:
    """The two halves of each of the panels marked."""
    some = _part(panels, rough)
    middle = 0.5 * (some.low + some.high)
    lower, upper = some._replace(high=middle), some._replace(low=middle)
    return Panels._make(np.concatenate(pair) for pair in zip(lower, upper, strict=True))


def _part(panels: Panels, index: NDArray[np.bool_] | slice) -> Panels:
    return Panels._make(x[index] for x in panels)


def _log_terms(space: Space, chords: Chords, panels: Panels) -> Floats:
    """log(f ds/dx) at the 15 points x of every panel, in pieces of bounded memory."""
    per_node = space.basis.size if space.induced else 4 * space.centre.size + len(space.basis)
    size = max(1, 4_000_000 // (15 * per_node))
    pieces = [_part(panels, slice(i, i + size)) for i in range(0, len(panels.chord), size)]
    return np.concatenate([_piece(space, chords, piece) for piece in pieces])


def _piece(space: Space, chords: Chords, panels: Panels) -> Floats:
    half = 0.5 * (panels.high - panels.low)
    u = panels.low[:, None] + half[:, None] * (1 + POINTS)
    length, power = np.abs(panels.length)[:, None], panels.power[:, None]
    with np.errstate(divide="ignore"):
        log_distance = np.log(length) + power * np.log(u)
        log_ds = np.log(length * power * half[:, None]) + (power - 1) * np.log(u)
    s = panels.anchor[:, None] + np.sign(panels.length)[:, None] * np.exp(log_distance)
    chord = np.repeat(panels.chord, POINTS.size)
    X = chords.Y[chord] + s.ravel()[:, None, None] * chords.direction[chord]
    log_f = log_density(
        space, X, _log_det(chords, panels, s, log_distance).ravel(), chords.theta[chord]
    )
    return log_f.reshape(s.shape) + log_ds


def _log_det(chords: Chords, panels: Panels, s: Floats, log_distance: Floats) -> Floats:
    """log|det X(s)| from its roots; the distance to the panel's own root is given by its log."""
    mu = chords.mu[panels.chord][:, None, :]
    own = (panels.root[:, None] == np.arange(mu.shape[2]))[:, None, :]
    with np.errstate(divide="ignore"):
        factors = np.log(np.abs(1 + (s - chords.s0[panels.chord][:, None])[..., None] * mu))
        factors = np.where(own, np.log(np.abs(mu)) + log_distance[..., None], factors)
    return chords.log_det[panels.chord][:, None] + factors.sum(-1)
