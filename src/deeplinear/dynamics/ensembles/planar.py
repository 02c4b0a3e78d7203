"""2×2 points as two unit vectors, two log σ and the sign of det W: `singular` written out.

One number of each kind in a lane: the compiler computes all of a step in a few passes over them.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from .frames import Matrix


class PlanarPoint(NamedTuple):
    """W = U diag(σ_1, sign · σ_2) Vᵀ with U, V the rotations by the angles of two vectors.

    (c, s) are their cosines and sines; σ_1 and σ_2 are in any order.
    """

    c_left: Array
    s_left: Array
    c_right: Array
    s_right: Array
    log_s1: Array
    log_s2: Array
    sign: Array  # of det W: it never changes

    @property
    def unit(self) -> "PlanarPoint":
        """The point without the drift of the steps; see `singular.orthonormal`."""
        left = 1.5 - 0.5 * (self.c_left**2 + self.s_left**2)
        right = 1.5 - 0.5 * (self.c_right**2 + self.s_right**2)
        turns = (self.c_left * left, self.s_left * left, self.c_right * right, self.s_right * right)
        return PlanarPoint(*turns, *self[4:])

    @property
    def matrix(self) -> Matrix:
        """The four entries of W."""
        cl, sl, cr, sr = self[:4]
        s1, s2 = jnp.exp(self.log_s1), self.sign * jnp.exp(self.log_s2)
        return (
            cl * s1 * cr + sl * s2 * sr,
            cl * s1 * sr - sl * s2 * cr,
            sl * s1 * cr - cl * s2 * sr,
            sl * s1 * sr + cl * s2 * cr,
        )

    @property
    def length(self) -> Array:
        """The size of a tangent vector, as in `singular.length`."""
        return jnp.sqrt(sum(x**2 for x in self[:6]))

    def velocity(self, G: Matrix, nu: Array, tie: Array) -> "PlanarPoint":
        """The flow Ẇ = −A_{N,W}(G), as in `singular.velocity`."""
        a, b, c, d = G
        cl, sl, cr, sr, log_s1, log_s2, sign = self
        top, bottom = (cl * a + sl * c, cl * b + sl * d), (cl * c - sl * a, cl * d - sl * b)
        # M = UᵀGV, the sign of det W in the second column of V
        m11, m12 = top[0] * cr + top[1] * sr, sign * (top[1] * cr - top[0] * sr)
        m21, m22 = bottom[0] * cr + bottom[1] * sr, sign * (bottom[1] * cr - bottom[0] * sr)
        s1, s2 = jnp.exp(log_s1), jnp.exp(log_s2)
        # −∞ is a lost rank: 0 · ∞ would be NaN at N = ∞
        q1, q2 = (jnp.exp(-2 * nu * jnp.maximum(x, -1e30)) for x in (log_s1, log_s2))
        # as in `singular.turning`
        gap = jnp.where(log_s1 == log_s2, 1.0, log_s1 - log_s2)
        z, safe = 2 * jnp.abs(gap), jnp.where(nu > 0, nu, 1.0)
        psi = jnp.where(nu > 0, -jnp.expm1(-safe * z) / safe, z)
        weight = jnp.sign(gap) * jnp.minimum(q1, q2) / (psi + tie**2 / psi)
        weight = jnp.where(log_s1 == log_s2, 0.0, weight)
        left = -weight * (s2 * m12 + s1 * m21)
        right = -sign * weight * (s1 * m12 + s2 * m21)
        return PlanarPoint(
            -sl * left,
            cl * left,
            -sr * right,
            cr * right,
            -jnp.where(s1 > 0, s1 * q1, 0.0) * m11,
            -jnp.where(s2 > 0, s2 * q2, 0.0) * m22,
            jnp.zeros_like(sign),
        )


def planar(W: Matrix) -> PlanarPoint:
    """The point W in closed form: W is a rotation and a reflection, each scaled.

    With p and q their sizes, σ_1 = p + q and σ_2 = |p − q|; |det W|/σ_1 has more digits than that.
    """
    a, b, c, d = W
    x, y, u, v = (a + d) / 2, (c - b) / 2, (a - d) / 2, (c + b) / 2
    largest = jnp.hypot(x, y) + jnp.hypot(u, v)
    safe = jnp.where(largest > 0, largest, 1.0)
    det = (a / safe) * (d / safe) - (b / safe) * (c / safe)
    ratio = jnp.where(jnp.abs(det) > 2 * jnp.finfo(det.dtype).eps, jnp.abs(det), 0.0)
    turn, flip = jnp.arctan2(y, x), jnp.arctan2(v, u)
    left, right = (flip + turn) / 2, (flip - turn) / 2
    log_s1 = jnp.log(largest)
    log_s2 = jnp.where(ratio > 0, log_s1 + jnp.log(ratio), -jnp.inf)
    sign = jnp.where(det < 0, -1.0, 1.0).astype(det.dtype)
    turns = (jnp.cos(left), jnp.sin(left), jnp.cos(right), jnp.sin(right))
    return PlanarPoint(*turns, log_s1, log_s2, sign)
