"""A little of the mathematics, against closed forms and slow oracles that share no code with it."""

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from .finding import Finding, look

SECTION = "mathematics"
_FIX = "reinstall jax, numpy and scipy, and report it if that does not help"


def findings() -> list[Finding]:
    """Findings about numbers that must come out right on this machine."""
    checks = {
        "kernel": _kernel,
        "operator": _operator,
        "flow": _flow,
        "fit of a table": _dense,
        "fit on compiled loops": _compiled,
    }
    return [look(SECTION, name, _FIX, check) for name, check in checks.items()]


def _kernel() -> Finding:
    from ..geometry.kernel import kernel
    from ..verify import kernel_check

    check = kernel_check(partial(kernel, depth=3), 3)
    return Finding(SECTION, "kernel", check.passed, check.summary, _plain(check.figures))


def _operator() -> Finding:
    """A_N(Z) = (1/N) Σ_p (W Wᵀ)^{(N−p)/N} Z (WᵀW)^{(p−1)/N}, by powers of symmetric matrices."""
    from ..geometry.operator import Operator

    rng = np.random.default_rng(1)
    W, Z, depth = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), 3

    def power(S: np.ndarray, exponent: float) -> np.ndarray:
        value, vectors = np.linalg.eigh(S)
        return (vectors * np.maximum(value, 0) ** exponent) @ vectors.T

    powers = [(depth - p) / depth for p in range(1, depth + 1)]
    terms = [power(W @ W.T, a) @ Z @ power(W.T @ W, 1 - 1 / depth - a) for a in powers]
    return _close(
        "operator", np.asarray(Operator(W, depth)(Z)), sum(terms) / depth, 1e-8, "its sum"
    )


def _flow() -> Finding:
    """E = ½ ‖W − S‖² at depth 2, W(0) of the singular vectors of S: every σ is logistic,
    σ(t) = s / (1 + (s/σ(0) − 1) e^{−st}).
    """
    import jax.numpy as jnp

    from ..dynamics.flow import gradient_flow

    rng = np.random.default_rng(2)
    (U, _), (V, _) = (np.linalg.qr(rng.normal(size=(3, 3))) for _ in range(2))
    s, start = np.array([2.0, 1.0, 0.5]), np.array([0.3, 0.2, 0.1])
    target = jnp.asarray((U * s) @ V.T)
    flow = gradient_flow(
        lambda W: 0.5 * jnp.sum((W - target) ** 2),
        (U * start) @ V.T,
        depth=2,
        t1=1.0,
        rtol=1e-8,
        chart="dense",  # compiles fastest
    )
    sigma = s / (1 + (s / start - 1) * np.exp(-s))
    return _close("flow", np.asarray(flow.W), (U * sigma) @ V.T, 1e-6, "the logistic curve")


def _dense() -> Finding:
    return _fit("fit of a table", compiled=False)


def _compiled() -> Finding:
    return _fit("fit on compiled loops", compiled=True)


def _fit(name: str, *, compiled: bool) -> Finding:
    """Depth 2 is the nuclear norm: W = shrink(observed entries, completed by W) at the minimum."""
    from ..completion.backends.threads import Loops
    from ..completion.data.observations import Observations
    from ..completion.solver.fit import fit

    rng = np.random.default_rng(3)
    X = rng.normal(size=(9, 2)) @ rng.normal(size=(2, 7))
    seen = rng.random(X.shape) < 0.7
    rows, cols = np.nonzero(seen)
    found = fit(
        Observations.from_triples(rows, cols, X[seen], X.shape),
        depth=2,
        strength=0.2,
        bias_ridge=None,
        weighted_trace_norm=0,
        tol=1e-12,
        max_sweeps=3000,
        device=Loops() if compiled else "cpu",
    )
    W = np.zeros_like(X)
    for _ in range(2000):
        U, s, Vt = np.linalg.svd(np.where(seen, X, W), full_matrices=False)
        W = (U * np.maximum(s - found.decay, 0)) @ Vt
    return _close(name, found.matrix(), W, 1e-4, "soft thresholding")


def _close(name: str, found: np.ndarray, right: np.ndarray, tol: float, oracle: str) -> Finding:
    """Whether two matrices agree, relative to the right one; in 32 bits as far as these go."""
    if found.dtype == np.float32:
        tol = 3 * math.sqrt(tol)
    error = float(np.linalg.norm(found - right) / np.linalg.norm(right))
    passed = error <= tol
    text = f"off by {error:.1e} from {oracle}, where {tol:.0e} is allowed"
    text += "." if passed else f"; {_FIX}."
    return Finding(SECTION, name, passed, text, {"error": error, "tol": tol})


def _plain(figures: Mapping[str, object]) -> dict[str, float]:
    return {key: float(x) for key, x in figures.items() if isinstance(x, int | float)}
