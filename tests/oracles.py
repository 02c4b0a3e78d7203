"""Slow, independent computations that the library is compared with. Plain NumPy and mpmath; nothing
from the library.
"""

import math

import mpmath as mp
import numpy as np


def kernel(a: float, b: float, N: float, digits: int = 60) -> mp.mpf:
    """λ_N(a, b) from its definition as a quotient, with digits to spare for what cancels."""
    with mp.workdps(digits + 60):
        a, b = mp.mpf(a), mp.mpf(b)
        p = mp.mpf(0) if math.isinf(N) else 2 / mp.mpf(N)
        if a == b or min(a, b) == 0:
            big = max(a, b)
            if a == b:
                return big ** (2 - p)
            return mp.mpf(0) if math.isinf(N) else big ** (2 - p) / mp.mpf(N)
        if math.isinf(N):
            return (a**2 - b**2) / (2 * mp.log(a / b))
        return (a**2 - b**2) / (mp.mpf(N) * (a**p - b**p))


def derivative(f, x: float, digits: int = 100) -> mp.mpf:
    """Central difference of a function of mpmath numbers, to about 40 digits."""
    with mp.workdps(digits):
        x = mp.mpf(x)
        h = abs(x) * mp.mpf(10) ** -25
        return (f(x + h) - f(x - h)) / (2 * h)


def powers(W: np.ndarray, tol: float = 1e-13):
    """q ↦ (WWᵀ)^q and q ↦ (WᵀW)^q, where singular values below tol count as zero (and 0^0 = 1)."""
    U, s, Vt = np.linalg.svd(W)
    left, right = np.zeros(W.shape[0]), np.zeros(W.shape[1])
    left[: s.size] = right[: s.size] = np.where(s > tol * s[0], s, 0.0)
    return (lambda q: (U * left ** (2 * q)) @ U.T), (lambda q: (Vt.T * right ** (2 * q)) @ Vt)


def operator(W: np.ndarray, Z: np.ndarray, N: float) -> np.ndarray:
    """A_{N,W}(Z) by its power sum (integer N) or integral (N = ∞, Gauss–Legendre; W of full rank or
    not).
    """
    left, right = powers(W)
    if math.isinf(N):
        x, w = np.polynomial.legendre.leggauss(200)
        s = (x + 1) / 2
        return sum(wi / 2 * left(1 - si) @ Z @ right(si) for wi, si in zip(w, s, strict=True))
    return sum(left((N - p) / N) @ Z @ right((p - 1) / N) for p in range(1, int(N) + 1)) / N


def operator_matrix(W: np.ndarray, N: float) -> np.ndarray:
    """A_{N,W} as an mn×mn matrix: power sum for integers, integral at ∞, otherwise the kernel in
    the singular frame.
    """
    if not (math.isinf(N) or float(N).is_integer()):
        U, s, Vt = np.linalg.svd(W)
        a, b = (np.pad(s, (0, size - s.size)) for size in W.shape)
        values = np.array([[float(kernel(x, y, N)) for y in b] for x in a])
        frame = np.kron(U, Vt.T)
        return frame * values.ravel() @ frame.T
    left, right = powers(W)
    if math.isinf(N):
        x, w = np.polynomial.legendre.leggauss(60)
        terms = zip((1 + x) / 2, (1 - x) / 2, w / 2, strict=True)
    else:
        terms = (((N - p) / N, (p - 1) / N, 1 / N) for p in range(1, int(N) + 1))
    return sum(weight * np.kron(left(a), right(b)) for a, b, weight in terms)


def train(factors: list[np.ndarray], gradient, t1: float, steps: int) -> np.ndarray:
    """The product of the factors after time t1 of Ẇ_p = −(1/N) ∂E/∂W_p by classical Runge–Kutta."""
    N = len(factors)

    def product(F):
        W = F[0]
        for X in F[1:]:
            W = X @ W
        return W

    def velocity(F):
        G = gradient(product(F))
        out = []
        for p in range(N):
            above = product([*F[p + 1 :]]) if p + 1 < N else np.eye(F[-1].shape[0])
            below = product([*F[:p]]) if p else np.eye(F[0].shape[1])
            out.append(-above.T @ G @ below.T / N)
        return out

    add = lambda F, V, h: [X + h * Y for X, Y in zip(F, V, strict=True)]  # noqa: E731
    h = t1 / steps
    F = list(factors)
    for _ in range(steps):
        k1 = velocity(F)
        k2 = velocity(add(F, k1, h / 2))
        k3 = velocity(add(F, k2, h / 2))
        k4 = velocity(add(F, k3, h))
        F = [
            X + h / 6 * (a + 2 * b + 2 * c + d)
            for X, a, b, c, d in zip(F, k1, k2, k3, k4, strict=True)
        ]
    return product(F)


def effective_rank(s: np.ndarray) -> float:
    """Roy–Vetterli: exp of the entropy of σ/Σσ."""
    p = s[s > 0] / s.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def velocity(W: np.ndarray, G: np.ndarray, N: float) -> np.ndarray:
    """−A_{N,W}(G) in the singular frame, the kernel as the bare quotient: for full rank and no
    ties.
    """
    U, s, Vt = np.linalg.svd(W)
    left, right = (np.pad(s, (0, size - s.size)) for size in W.shape)
    a, b = left[:, None], right[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        if math.isinf(N):
            values = np.where(a == b, a * b, (a**2 - b**2) / (2 * np.log(a / b)))
        else:
            values = np.where(
                a == b, a ** (2 - 2 / N), (a**2 - b**2) / (N * (a ** (2 / N) - b ** (2 / N)))
            )
    values = np.where((a == 0) & (b == 0), 0.0 if N > 1 else 1.0, np.nan_to_num(values))
    return -U @ (values * (U.T @ G @ Vt.T)) @ Vt


def flow(W0: np.ndarray, gradient, N: float, times=None, rtol: float = 1e-11) -> np.ndarray:
    """The gradient flow by SciPy: at the given times, or where it has come to rest."""
    from scipy.integrate import solve_ivp

    def rhs(t, w):
        W = w.reshape(W0.shape)
        return velocity(W, gradient(W), N).ravel()

    def at_rest(t, w):
        return np.linalg.norm(rhs(t, w)) - 1e-10

    at_rest.terminal = True
    t1 = 1e12 if times is None else times[-1]
    events, method = (
        (at_rest, "LSODA") if times is None else (None, "DOP853")
    )  # the tail may be stiff
    done = solve_ivp(
        rhs, (0, t1), W0.ravel(), method, times, events=events, rtol=rtol, atol=1e-3 * rtol
    )
    assert times is not None or done.status == 1
    path = done.y.T.reshape(-1, *W0.shape)
    return path[-1] if times is None else path
