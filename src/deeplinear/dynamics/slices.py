"""Elliptical slice sampling in coordinates in which the Riemannian volume is flat.

The coordinates z are Gaussian by nature. N < ∞: the entries of the root R, dvol = const·dR. N = ∞:
with W = e^H O the symmetric H = U log Σ Uᵀ and O the orthogonal factor of a matrix G of independent
normal entries, for dvol = van(log Σ²) dΣ/σ dU dV = const·dH dO with O uniform on O_d.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, PRNGKeyArray

from ..checks import as_array
from ..compilation import program
from ..energies import Energy
from ..geometry.point import LogSVD
from ..geometry.volume import entropy
from ..recorded import vmapped

# Shrinking halves a bracket on average: a slice that is not hit by then is below rounding.
_MOST_SHRINKS = 100

# Of the t law of proposals: few degrees have long tails, many are nearer to a Gaussian law.
FREEDOM = 8


class Coordinates(eqx.Module):
    """Flat coordinates z of W, and what the target's density in them owes to them."""

    shape: eqx.AbstractVar[tuple[int, int]]

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of coordinates."""

    @abstractmethod
    def point(self, z: Array) -> LogSVD:
        """W of z, by its singular value decomposition."""

    @abstractmethod
    def of(self, W: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Some z of each of a stack of W (chains×m×n)."""

    @abstractmethod
    def log_reference(self, z: Array, log_s: Array, strength: Array) -> Array:
        """log density of what is no energy of W alone: weight decay, and coordinates to spare.

        ``strength`` is βλ.
        """

    @abstractmethod
    def spread(self, scale: ArrayLike) -> np.ndarray:
        """The standard deviation of each coordinate at a start of this scale."""


class RootCoordinates(Coordinates):
    """z = the entries of R, W = U P^N Vᵀ."""

    shape: tuple[int, int] = eqx.field(static=True)
    depth: Array

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def point(self, z: Array) -> LogSVD:
        U, p, Vt = jnp.linalg.svd(z.reshape(self.shape), full_matrices=False)
        return LogSVD(U, self.depth * jnp.log(p), Vt)

    def of(self, W: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        U, s, Vt = np.linalg.svd(W, full_matrices=False)
        return ((U * s[:, None, :] ** (1 / float(self.depth))) @ Vt).reshape(len(W), -1)

    def log_reference(self, z: Array, log_s: Array, strength: Array) -> Array:
        return -0.5 * strength * self.depth * jnp.sum(z**2)

    def spread(self, scale: ArrayLike) -> np.ndarray:
        return np.full(self.size, scale)


class PolarCoordinates(Coordinates):
    """z = (H on and below its diagonal, G), W = e^H O: for infinite depth."""

    shape: tuple[int, int] = eqx.field(static=True)

    @property
    def size(self) -> int:
        d = self.shape[0]
        return d * (d + 1) // 2 + d * d

    def point(self, z: Array) -> LogSVD:
        d = self.shape[0]
        rows, cols = np.tril_indices(d)
        # off the diagonal √½, so that equal spreads of coordinates have no preferred frame
        entries = z[: rows.size] * np.where(rows == cols, 1.0, np.sqrt(0.5))
        H = jnp.zeros((d, d), z.dtype).at[rows, cols].set(entries).at[cols, rows].set(entries)
        log_s, U = jnp.linalg.eigh(H)
        # + 0 · log_s: after the first decomposition, and not beside it (see `langevin_process`)
        G = z[rows.size :].reshape(d, d) + 0 * log_s[0]
        P, _, Qt = jnp.linalg.svd(G)
        U, log_s = U[:, ::-1], log_s[::-1]
        return LogSVD(U, log_s, U.T @ P @ Qt)

    def of(self, W: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        d = self.shape[0]
        U, s, Vt = np.linalg.svd(W)
        rows, cols = np.tril_indices(d)
        H = (U * np.log(s)[:, None, :]) @ np.swapaxes(U, 1, 2)
        entries = H[:, rows, cols] * np.where(rows == cols, 1.0, np.sqrt(2))
        # any G with that orthogonal factor: O times a positive definite matrix
        A = rng.normal(size=(len(W), d, d))
        left, p, _ = np.linalg.svd(A)
        G = (left * p[:, None, :]) @ np.swapaxes(left, 1, 2) @ U @ Vt
        return np.concatenate([entries, G.reshape(len(W), -1)], 1)

    def log_reference(self, z: Array, log_s: Array, strength: Array) -> Array:
        G = z[-(self.shape[0] ** 2) :]
        return -0.5 * jnp.sum(G**2) - strength * jnp.sum(log_s)

    def spread(self, scale: ArrayLike) -> np.ndarray:
        d = self.shape[0]
        return np.concatenate([np.full(d * (d + 1) // 2, scale), np.ones(d * d)])


class GibbsLaw(eqx.Module):
    """The law e^{−βF} dvol in flat coordinates."""

    energy: Energy | None
    coordinates: Coordinates
    beta: Array
    weight_decay: Array
    nu: Array
    entropic: bool = eqx.field(static=True)

    def observe(self, z: Array) -> tuple[Array, Array, Array, Array]:
        """(W, E without the decay, log σ, log density) of one z."""
        point = self.coordinates.point(z)
        # beyond the range decompositions of the energy's would complain aloud
        far = ~(point.log_s[0] < 0.5 * float(np.log(np.finfo(z.dtype).max)))
        point = LogSVD(point.U, jnp.where(far, 0.0, point.log_s), point.Vt)
        W = point.dense()
        energy = jnp.zeros((), z.dtype)
        if self.energy is not None:
            energy = jnp.reshape(self.energy(W), ())
        strength = self.beta * self.weight_decay
        value = -self.beta * energy
        value = value + self.coordinates.log_reference(z, point.log_s, strength)
        if self.entropic:
            value = value + entropy(point, 1 / self.nu, constant=False)
        return W, energy, point.log_s, jnp.where(far | jnp.isnan(value), -jnp.inf, value)

    def log_density(self, z: Array) -> Array:
        """log of the density in z, up to a constant; −∞ where it is not a number."""
        return self.observe(z)[3]


class Proposal(eqx.Module):
    """The multivariate t law of ``FREEDOM`` degrees that ellipses are drawn from.

    z = mean + √v L ξ with ξ normal and v inverse Gamma: Gaussian given v, and with tails that reach
    wherever the law does. ``inverse`` is L⁻¹.
    """

    mean: Array
    factor: Array
    inverse: Array

    @classmethod
    def of(cls, mean: np.ndarray, factor: np.ndarray, dtype: DTypeLike) -> "Proposal":
        return cls(*(as_array(x, dtype) for x in (mean, factor, np.linalg.inv(factor))))

    def square(self, z: Array) -> Array:
        """|L⁻¹(z − mean)|²."""
        white = self.inverse @ (z - self.mean)
        return white @ white

    def excess(self, law: GibbsLaw, z: Array) -> Array:
        """log of the density of the law over that of the t law."""
        power = (FREEDOM + z.size) / 2
        return law.log_density(z) + power * jnp.log1p(self.square(z) / FREEDOM)

    def width(self, z: Array, key: PRNGKeyArray) -> Array:
        """√v, drawn given z: v is (FREEDOM + |L⁻¹(z − mean)|²) over a χ² variable."""
        normals = jax.random.normal(key, (FREEDOM + z.size,), z.dtype)
        return jnp.sqrt((FREEDOM + self.square(z)) / jnp.sum(normals**2))


class _Slice(eqx.Module):
    """A point of a chain, its excess, and how often that was evaluated so far."""

    z: Array
    excess: Array
    count: Array


def _slice_step(law: GibbsLaw, proposal: Proposal, at: _Slice, key: PRNGKeyArray) -> _Slice:
    """One step of elliptical slice sampling."""
    width, draw, height, start, turns = jax.random.split(key, 5)
    mean, dtype = proposal.mean, at.z.dtype
    normals = jax.random.normal(draw, mean.shape, dtype)
    other = proposal.width(at.z, width) * (proposal.factor @ normals)
    level = at.excess + jnp.log(jax.random.uniform(height, (), dtype, 1e-30))
    angle = jax.random.uniform(start, (), dtype, 0.0, 2 * jnp.pi)

    def missed(state: tuple[Array, Array, Array, _Slice]) -> Array:
        trial = state[3]
        return ~(trial.excess > level) & (trial.count - at.count < _MOST_SHRINKS)

    def shrink(
        state: tuple[Array, Array, Array, _Slice],
    ) -> tuple[Array, Array, Array, _Slice]:
        angle, low, high, trial = state
        z = mean + (at.z - mean) * jnp.cos(angle) + other * jnp.sin(angle)
        trial = _Slice(z, proposal.excess(law, z), trial.count + 1)
        # only used where the trial misses: the bracket shrinks to it, and keeps the angle 0 inside
        low, high = jnp.where(angle < 0, angle, low), jnp.where(angle < 0, high, angle)
        share = jax.random.uniform(jax.random.fold_in(turns, trial.count), (), dtype)
        return low + share * (high - low), low, high, trial

    nowhere = _Slice(at.z, jnp.full_like(at.excess, -jnp.inf), at.count)
    state = (angle, angle - 2 * jnp.pi, angle, nowhere)
    trial = jax.lax.while_loop(missed, shrink, state)[3]
    kept = trial.excess > level
    return _Slice(
        jnp.where(kept, trial.z, at.z), jnp.where(kept, trial.excess, at.excess), trial.count
    )


@program
def run_chains(
    law: GibbsLaw,
    proposal: Proposal,
    z: Array,
    key_data: Array,
    kind: str,
    samples: int,
    thin: int,
) -> tuple[Array, Array]:
    """The states after every ``thin`` steps (chains×samples×size), and evaluations per step."""
    keys = jax.random.split(jax.random.wrap_key_data(key_data, impl=kind), len(z))

    def chain(z: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        def step(at: _Slice, key: PRNGKeyArray) -> tuple[_Slice, None]:
            return _slice_step(law, proposal, at, key), None

        def draw(at: _Slice, key: PRNGKeyArray) -> tuple[_Slice, Array]:
            at, _ = jax.lax.scan(step, at, jax.random.split(key, thin))
            return at, at.z

        start = _Slice(z, proposal.excess(law, z), jnp.zeros((), jnp.int32))
        end, states = jax.lax.scan(draw, start, jax.random.split(key, samples))
        return states, end.count / (samples * thin)

    return vmapped(law.energy, chain)(z, keys)


@program
def observe_all(law: GibbsLaw, z: Array) -> tuple[Array, Array, Array, Array]:
    """`GibbsLaw.observe` of all states, a leading axis."""
    return vmapped(law.energy, law.observe)(z)
