"""Samples of the Gibbs law e^{−βE} dvol without steps of time: beside `langevin`, and exact."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from scipy.special import logsumexp

from ..checks import (
    RandomKey,
    as_array,
    check_depth,
    check_integer,
    check_key,
    check_positive,
    check_shape,
)
from ..energies import Energy, check_energy
from ..errors import DepthError, InputError
from ..labelled import Labelled, Variable, about_depth, depth_of, number_range, spectrum_line
from ..recorded import recorded
from ..run_plots import Entry
from ..sample_plots import draw_chains
from ..status import Status
from ..transforms import needs_values
from .mixing import effective_samples, split_r_hat
from .slices import (
    Coordinates,
    GibbsLaw,
    PolarCoordinates,
    Proposal,
    RootCoordinates,
    observe_all,
    run_chains,
)

# Vehtari et al. 2021: R̂ above this, or fewer effective draws, are no basis for estimates.
_R_HAT, _ENOUGH = 1.01, 400
_STAGES = 4  # of the warm-up, each with the t law that the one before it suggests


class GibbsResult(Labelled, eqx.Module):
    """What `sample_gibbs` returns.

    - ``W`` (chains × samples × m × n), ``energy`` (chains × samples; E alone, without the decay),
      ``log_singular_values`` (chains × samples × k, descending).
    - ``r_hat``: the largest split R̂, and ``effective_samples``: the fewest independent draws that
      the samples are worth, over all entries of W, all singular values and the energy (ranks; bulk
      and tails; Vehtari et al. 2021).
    - ``evaluations``: how often a step evaluated the energy, the mean over all chains.
    - ``status``: `Status.converged` where ``r_hat`` ≤ 1.01 and ``effective_samples`` ≥ 400, else
      `Status.not_mixed`. ``depth``: N.
    """

    W: Float[Array, "chains samples m n"]
    energy: Float[Array, "chains samples"]
    log_singular_values: Float[Array, "chains samples k"]
    r_hat: float
    effective_samples: float
    evaluations: float
    status: Status
    depth: float | None = None

    @property
    def converged(self) -> bool:
        """Whether the chains agree and are worth enough draws."""
        return self.status == Status.converged

    @property
    def singular_values(self) -> Array:
        return jnp.exp(self.log_singular_values)

    def plot(self, *names: str, ax: Any = None, plane: tuple[Entry, Entry] | None = None) -> Any:
        """Draw the samples: by default the histogram of each singular value, and the energy draw by
        draw, a line for each chain.

        **Arguments**: ``names``: of "singular_values", "energy", "effective_rank" (a histogram) and
        "endpoints" (all samples in a plane). ``ax``, ``plane``, the result and errors: as for
        `FlowResult.plot`. Chains that have not mixed are said in the title.

        >>> import deeplinear as dl, numpy as np
        >>> energy = dl.Completion.from_dense(np.eye(2))
        >>> found = dl.sample_gibbs(energy, 2, 4.0, key=0, chains=4, samples=50, warmup=50)
        >>> found.plot("energy").get_xlabel()
        'draw'
        """
        log_s, energy, W = map(np.asarray, (self.log_singular_values, self.energy, self.W))
        return draw_chains(log_s, energy, W, self.status, names, ax, plane)

    def _variables(self) -> dict[str, Variable]:
        dims, log_s = ("chain", "draw"), np.asarray(self.log_singular_values)
        return {
            "W": Variable((*dims, "row", "column"), self.W, "the end-to-end matrix"),
            "energy": Variable(dims, self.energy, "E(W), without weight decay"),
            "singular_values": Variable((*dims, "k"), np.exp(log_s), "of W, descending"),
            "log_singular_values": Variable((*dims, "k"), log_s, "of W, descending"),
        }

    def _attributes(self) -> dict[str, Any]:
        names = ("r_hat", "effective_samples", "evaluations")
        numbers = {name: getattr(self, name) for name in names}
        return {"depth": depth_of(self.depth), "status": self.status.sentence, **numbers}

    def _lines(self) -> list[str]:
        chains, samples, m, n = self.W.shape
        what = f"{m}×{n}{about_depth(self.depth)}: {chains:,} chains of {samples:,} samples"
        ranks = spectrum_line(self.log_singular_values, (m, n))
        mixing = f"R̂ {self.r_hat:.3f}, {self.effective_samples:,.0f} independent draws"
        return [
            what,
            self.status.sentence,
            f"energy {number_range(self.energy)}, {ranks}, {mixing}",
        ]


@needs_values
def sample_gibbs(
    energy: Energy | None,
    depth: float,
    beta: float,
    *,
    key: RandomKey,
    shape: tuple[int, int] | None = None,
    W0: ArrayLike | None = None,
    weight_decay: float = 0.0,
    entropic: bool = False,
    chains: int = 32,
    samples: int = 1000,
    warmup: int = 400,
    thin: int = 1,
) -> GibbsResult:
    """Samples of the Gibbs law, the stationary law of `langevin`, without an error of steps:

        e^{−β(F + (λN/2) Σ σ_i^{2/N})} dvol_g,   F = E, or E − S_N/β (``entropic``),

    λ the weight decay (N = ∞: λ Σ log σ_i). Chains leave the law exactly as it is, so that the one
    question is whether they have reached it, of which ``status`` says what the
    chains show (a mode that none has visited shows nowhere); they take both signs of det W.

    **Method**: elliptical slice sampling in coordinates where the volume is flat, R = UΣ^{1/N}Vᵀ
    (N = ∞: log Σ in its frame, and the orthogonal factor of W), with the derivatives of nothing and
    nothing to tune. Ellipses are drawn from a t law, which is fitted to the chains during the
    warm-up, and then kept.

    **Arguments**

    - ``energy``: any function W ↦ scalar in JAX operations; None for weight decay alone.
      ``depth``: real N ≥ 1 or ``math.inf`` (square W). ``beta`` > 0.
    - ``shape`` (m, n): of W, where the energy has no ``shape`` of its own. ``W0``: the starts,
      chains×m×n, instead of draws that are wider than the law; at N = ∞ invertible.
    - ``key``: a JAX random key or an integer seed. ``chains`` × ``samples`` are kept, one of every
      ``thin`` steps, after ``warmup`` steps.

    **Returns** a `GibbsResult`. A law without a finite total (nothing that keeps W from infinity)
    has no samples: its chains drift, and do not agree.

    **Normalization**: the volume of g^N, [CMV]'s; λ as in `gradient_flow`. **Raises**
    `DepthError`, `InputError`.

    **Source**: Murray, Adams, MacKay, *Elliptical slice sampling*, AISTATS 2010; with a
    fitted t law: Nishihara, Murray, Adams 2014 (1210.7477).

    >>> import deeplinear as dl, jax.numpy as jnp
    >>> run = dl.sample_gibbs(lambda W: 0.5 * jnp.sum((W - 1) ** 2), 3, 4.0, shape=(2, 2), key=0)
    >>> run.W.shape, run.status.name, run.effective_samples > 1000
    ((32, 1000, 2, 2), 'converged', True)
    """
    counts = _checked_counts(chains, samples, warmup, thin)
    law, starts = _law(energy, depth, beta, shape, W0, weight_decay, entropic, counts[0])
    key = check_key(key)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    proposal = _first_proposal(law, rng)
    dtype = law.beta.dtype
    if starts is None:
        normals = rng.normal(size=(chains, law.coordinates.size))
        z = 1.5 * normals @ np.asarray(proposal.factor)  # wider than the law, and symmetric
    else:
        z = law.coordinates.of(starts, rng)
    z = _inside(law, z, proposal, starts is None)
    kind = str(jax.random.key_impl(key))
    stage = -(-warmup // _STAGES)
    for i in range(_STAGES if warmup else 0):
        data = jax.random.key_data(jax.random.fold_in(key, i))
        states, _ = run_chains(law, proposal, z, data, kind, stage, 1)
        z = states[:, -1]
        proposal = _fitted(np.asarray(states[:, stage // 2 :]), proposal, dtype)
    data = jax.random.key_data(jax.random.fold_in(key, _STAGES))
    states, count = run_chains(law, proposal, z, data, kind, samples, thin)
    result = _result(law, states, float(np.mean(count)))
    return dataclasses.replace(result, depth=float(depth))


def _checked_counts(chains: int, samples: int, warmup: int, thin: int) -> tuple[int, ...]:
    return (
        check_integer(chains, "chains", 2),
        check_integer(samples, "samples", 4),
        check_integer(warmup, "warmup", 0),
        check_integer(thin, "thin"),
    )


def _law(
    energy: Energy | None,
    depth: float,
    beta: float,
    shape: Sequence[int] | None,
    W0: ArrayLike | None,
    weight_decay: float,
    entropic: bool,
    chains: int,
) -> tuple[GibbsLaw, np.ndarray | None]:
    """The law, and the starts if there are any, checked."""
    N = float(check_depth(depth, scalar=True))
    starts = None if W0 is None else np.asarray(W0)
    size = _shape(energy, shape, starts)
    if math.isinf(N) and size[0] != size[1]:
        raise DepthError(
            f"depth must be finite for W of shape {size}: at N = ∞ the volume of matrices that are "
            "not square is infinite."
        )
    if starts is not None and starts.shape != (chains, *size):
        raise InputError(
            f"W0 must have shape {(chains, *size)}, one start for each chain, got {starts.shape}."
        )
    decay = 0.0 if np.ndim(weight_decay) == 0 and weight_decay == 0 else None
    decay = check_positive(weight_decay, "weight_decay") if decay is None else decay
    if energy is None and (decay == 0 or math.isinf(N)):
        raise InputError(
            "energy must be a function of W where weight_decay = 0 or depth = math.inf: without "
            "it the law has no finite total."
        )
    dtype = jnp.zeros(()).dtype
    if energy is not None:
        dtype = check_energy(energy, size, dtype)
        energy = recorded(energy, size, dtype)
    number = lambda x: as_array(x, dtype)  # noqa: E731
    coordinates: Coordinates = (
        PolarCoordinates(size) if math.isinf(N) else RootCoordinates(size, number(N))
    )
    beta = check_positive(beta, "beta")
    law = GibbsLaw(energy, coordinates, number(beta), number(decay), number(1 / N), bool(entropic))
    return law, starts


def _shape(
    energy: Energy | None, shape: Sequence[int] | None, starts: np.ndarray | None
) -> tuple[int, int]:
    known = shape if shape is not None else getattr(energy, "shape", None)
    if known is None and starts is not None:
        known = starts.shape[1:]
    if known is None:
        raise InputError("shape must be (m, n), the shape of W, got None.")
    return check_shape(known)


def _first_proposal(law: GibbsLaw, rng: np.random.Generator) -> Proposal:
    """A t law without a direction, of the size at which most of the law lies.

    The size s maximizes s^D times the mean of the density over random directions at that size, D
    the number of coordinates that it scales.
    """
    coordinates, dtype = law.coordinates, law.beta.dtype
    directions = rng.normal(size=(32, coordinates.size))
    scales = np.geomspace(1e-3, 1e3, 61)
    spreads = np.stack([coordinates.spread(s) for s in scales])
    points = spreads[:, None, :] * directions
    values = observe_all(law, as_array(points.reshape(-1, coordinates.size), dtype))[3]
    log_mean = logsumexp(np.asarray(values, float).reshape(len(scales), -1), axis=1)
    best = int(np.argmax(log_mean + np.log(spreads).sum(1)))
    return Proposal.of(np.zeros(coordinates.size), np.diag(spreads[best]), dtype)


def _inside(law: GibbsLaw, z: np.ndarray, proposal: Proposal, movable: bool) -> Array:
    """The starts, if the law has a density there; those that are ours move towards the middle."""
    dtype, mean = law.beta.dtype, np.asarray(proposal.mean)
    for _ in range(40 if movable else 1):
        found = as_array(z, dtype)
        outside = ~np.isfinite(np.asarray(observe_all(law, found)[3]))
        if not outside.any():
            return found
        z = np.where(outside[:, None], mean + (z - mean) / 2, z)
    raise InputError("energy must be finite at the starts: give others as W0.")


def _fitted(states: np.ndarray, before: Proposal, dtype: np.dtype) -> Proposal:
    """The t law with the mean and the covariance of the states, of all chains together.

    Its covariance is shrunk towards its diagonal by as much as chains are few.
    """
    chains, size = states.shape[0], states.shape[2]
    x = states.reshape(-1, size).astype(np.float64)
    covariance = np.atleast_2d(np.cov(x, rowvar=False))
    share = size / (size + chains)
    covariance = (1 - share) * covariance + share * np.diag(np.diag(covariance))
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return before
    return Proposal.of(x.mean(0), factor, dtype)


def _result(law: GibbsLaw, states: Array, evaluations: float) -> GibbsResult:
    chains, samples = states.shape[:2]
    W, energy, log_s, _ = observe_all(law, states.reshape(chains * samples, -1))
    split = lambda x: x.reshape(chains, samples, *x.shape[1:])  # noqa: E731
    W, energy, log_s = (split(np.asarray(x)) for x in (W, energy, log_s))
    judged = [W.reshape(chains, samples, -1), log_s]
    if law.energy is not None:
        judged.append(energy[..., None])
    quantities = np.concatenate(judged, -1)
    r_hat = float(np.max(split_r_hat(quantities)))  # NaN, if any is
    size = float(np.min(effective_samples(quantities)))
    good = r_hat <= _R_HAT and size >= _ENOUGH
    status = Status.converged if good else Status.not_mixed
    W, energy, log_s = (jax.device_put(x) for x in (W, energy, log_s))
    return GibbsResult(W, energy, log_s, r_hat, size, evaluations, status)
