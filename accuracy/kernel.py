"""Why the kernel is computed as max(a, b)^{2−2ν} φ(z)/φ(νz): the largest relative errors of three
formulas.

    python accuracy/kernel.py

Against 120 digits, on pairs with relative gaps 0, 1e−16 … 1 and ratios up to 1e300, where the
result is a normal number.
"""

import math
import sys
from pathlib import Path

import jax
import mpmath as mp
import numpy as np

import deeplinear as dl

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import oracles

jax.config.update("jax_enable_x64", True)


def quotient(a, b, N):
    """(a² − b²) / (N (a^{2/N} − b^{2/N})), as it is written."""
    if math.isinf(N):
        return (a**2 - b**2) / (np.log(a**2) - np.log(b**2))
    return (a**2 - b**2) / (N * (a ** (2 / N) - b ** (2 / N)))


def hyperbolic(a, b, N):
    """exp((α + β)(1 − 1/N)) sinh(α − β) / (N sinh((α − β)/N)), with a series near the tie."""
    x, s = np.log(a) - np.log(b), np.log(a) + np.log(b)
    nu = 0.0 if math.isinf(N) else 1 / N
    small = np.abs(x) < 1e-4
    safe = np.where(small, 1.0, x)
    ratio = np.sinh(safe) / (safe if nu == 0 else N * np.sinh(safe * nu))
    return np.exp(s * (1 - nu)) * np.where(small, 1 + (1 - nu**2) * x**2 / 6, ratio)


def main():
    rng = np.random.default_rng(0)
    gaps = np.array([0, 1e-16, 1e-12, 1e-8, 1e-4, 1e-2, 0.5, 1.0])
    a = 10 ** rng.uniform(-140, 140, 4000)
    b = a * (1 + rng.choice(gaps, a.size))
    far = rng.random(a.size) < 0.3
    b[far] = a[far] * 10 ** rng.uniform(-280, 0, far.sum())
    b = np.maximum(b, 1e-300)
    print(f"{'depth':>8} {'quotient':>10} {'hyperbolic':>10} {'ours':>10}")
    for N in (1.5, 2, 3, 10, 1e3, 1e6, math.inf):
        exact = [oracles.kernel(x, y, N) for x, y in zip(a, b, strict=True)]
        row = []
        with np.errstate(all="ignore"):
            for formula in (quotient, hyperbolic, lambda *x: np.asarray(dl.kernel(*x))):
                values = formula(a, b, N)
                errors = [
                    float(abs(mp.mpf(float(v)) / e - 1)) if np.isfinite(v) else math.inf
                    for v, e in zip(values, exact, strict=True)
                    if 1e-300 < e < 1e300
                ]
                row.append(max(errors))
        print(f"{N:8g} " + " ".join(f"{error:10.1e}" for error in row))


if __name__ == "__main__":
    main()
