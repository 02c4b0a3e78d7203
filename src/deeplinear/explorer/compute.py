"""What a picture shows, computed by the library from its `State`: endpoints, paths and maps."""

import dataclasses
import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import deeplinear as dl

from ..energies import AbstractEnergy
from ..status import Status
from . import steps
from .state import ENTRIES, State
from .steps import TIMES

#: Of endpoints, relative to ‖W‖: half a pixel. On leaves, where flows cost more, coarser.
ACCURACY, LEAF_ACCURACY = 1e-3, 1e-2
#: The most runs on a leaf and with noise, which cost more, and the paths that are drawn.
LEAF_RUNS, NOISY_RUNS, PATHS = 100, 128, 32
#: How long chains diffuse and their steps; how long weight decay acts.
NOISY_TIME, NOISY_STEP, DECAY_TIME = 10.0, 0.05, 300.0
BATCH = 1024  # runs that are handed over together
GRID = 120  # cells of a map, each way
_INDEX = {name: divmod(place, 2) for place, name in enumerate(ENTRIES)}


class Decayed(AbstractEnergy):
    """E + (λN/2) Σ σ_i^{2/N} at 2×2 (N = ∞: E + λ Σ log σ_i): its flow is that with weight decay.

    The singular values are taken from ‖W‖² and det W, smooth where they differ and are not 0.
    """

    energy: AbstractEnergy
    decay: Float[Array, ""]
    nu: Float[Array, ""]

    def __call__(self, W: Float[Array | np.ndarray, "2 2"]) -> Float[Array, ""]:
        det = jnp.abs(W[0, 0] * W[1, 1] - W[0, 1] * W[1, 0])
        square = jnp.sum(jnp.square(W))
        big = (jnp.sqrt(square + 2 * det) + jnp.sqrt(jnp.maximum(square - 2 * det, 1e-300))) / 2
        log_s = jnp.log(jnp.stack([big, det / big]))
        deep = self.nu == 0
        penalty = jnp.where(
            deep, log_s, jnp.exp(2 * self.nu * log_s) / (2 * jnp.where(deep, 1.0, self.nu))
        )
        return self.energy(W) + self.decay * jnp.sum(penalty)


@dataclasses.dataclass(frozen=True)
class Endpoints:
    """Where runs ended: ``W`` (runs, 2, 2) and ``start``; ``ok``: which came to their end;
    ``counts`` of `Status`; ``rank``: effective ranks, NaN where W is 0 or not finite; ``time``
    (runs,).
    """

    W: np.ndarray
    start: np.ndarray
    ok: np.ndarray
    counts: dict[str, int]
    rank: np.ndarray
    time: np.ndarray


@dataclasses.dataclass(frozen=True)
class Paths:
    """``W`` (paths, times, 2, 2) at ``ts`` (times,), NaN where a run did not get there; the first
    is the followed run, with its ``singular`` values (times, 2), ``energy`` and ``log_det``.
    """

    ts: np.ndarray
    W: np.ndarray
    singular: np.ndarray
    energy: np.ndarray
    log_det: np.ndarray


def in_force(state: State) -> tuple[State, list[str]]:
    """(the state with what cannot be combined taken out, one sentence for each change).

    >>> in_force(State(delta=0.1, depth=1.0))[1]
    ['The imbalance needs a whole depth from 2 to ∞, without: δ counts as 0.']
    """
    notes = []
    if state.delta and not 2 <= state.depth < math.inf:
        notes.append("The imbalance needs a whole depth from 2 to ∞, without: δ counts as 0.")
    elif state.delta and (state.decay or math.isfinite(state.beta)):
        notes.append("Noise and weight decay leave the leaf of an imbalance: δ counts as 0.")
    if notes:
        state = dataclasses.replace(state, delta=0.0)
    if state.step and (state.depth > steps.DEEPEST or math.isfinite(state.beta) or state.delta):
        state = dataclasses.replace(state, step=0.0)
        deepest = f"depth up to {steps.DEEPEST}"
        notes.append(f"Descent needs a {deepest}, without noise and imbalance: η counts as 0.")
    most = _number(state)
    if state.runs > most:
        why = "With noise" if math.isfinite(state.beta) else "With an imbalance"
        notes.append(f"{why} the first {most} runs are computed.")
    return state, notes


def completion(state: State) -> dl.Completion:
    """The loss ½ Σ (w_ij − value)² over the observed entries."""
    places = [_INDEX[name] for name in state.observed]
    values = [state.values[ENTRIES.index(name)] for name in state.observed]
    rows, cols = np.transpose(places)
    return dl.Completion(rows, cols, values, (2, 2))


def energy_of(state: State) -> AbstractEnergy:
    """What training descends: the loss, with weight decay where there is some."""
    loss = completion(state)
    if not state.decay:
        return loss
    return Decayed(loss, jnp.asarray(state.decay), jnp.asarray(1 / state.depth))


def starts(state: State) -> np.ndarray:
    """The random starts (runs, 2, 2), i.i.d. N(0, scale²): those of fewer runs come first."""
    return state.scale * _directions(state.seed)[: _number(state)]


def clicked_start(state: State) -> np.ndarray:
    """The start of the followed run: at the clicked place of the plane, with the other entries
    those of the first random start, and that start itself where nothing was clicked.
    """
    W = state.scale * _directions(state.seed)[0]
    if state.click is not None:
        W = W.copy()
        for name, value in zip(state.plane, state.click, strict=True):
            W[_INDEX[name]] = value
    return W


def endpoints(state: State) -> Endpoints:
    """The endpoints of the state's runs (of a state that is `in_force`): limits t → ∞; with weight
    decay the points at t = `DECAY_TIME`, with noise at `NOISY_TIME`; with a step, of descent.
    """
    W0 = starts(state)
    if math.isfinite(state.beta):
        chains = _chains(state, W0)
        W, status = np.asarray(chains.W)[:, -1], np.asarray(chains.status)
        time = np.full(len(W), NOISY_TIME)
    elif state.step:
        trained = steps.descend(completion(state), state, W0)
        W, status = trained.W, trained.status
        time = steps.in_time(state, trained.steps)
    else:
        times = np.array([DECAY_TIME]) if state.decay else None
        flows = _flows(state, W0, times)
        W, status, time = flows.W, flows.ending, flows.time
    ok = np.asarray(Status.succeeded(status)) & np.isfinite(W).all((1, 2))
    there = np.isfinite(W).all((1, 2)) & (np.abs(W).max((1, 2)) > 0)
    # of all, so that one program fits
    rank = np.asarray(dl.effective_rank(np.where(there[:, None, None], W, np.eye(2))))
    rank = np.where(there, rank, np.nan)
    codes, counts = np.unique(status, return_counts=True)
    named = {
        Status(code).name: count
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True)
    }
    return Endpoints(W, W0, ok, named, rank, np.asarray(time))


def paths(state: State, found: Endpoints) -> Paths:
    """The followed run and up to `PATHS` − 1 random ones, at times that show most of their way."""
    W0 = np.concatenate([clicked_start(state)[None], found.start[: PATHS - 1]])
    if math.isfinite(state.beta):
        chains = _chains(state, W0)
        W = np.array(chains.W)
        W[~np.isfinite(W).all((2, 3))] = np.nan
        return _followed(state, np.linspace(0, NOISY_TIME, W.shape[1]), W)
    if state.step:
        return _steps(state, W0, found)
    ts = _path_times(state, found)
    flows = _flows(state, W0, ts if state.decay else np.append(ts, math.inf))
    W = np.concatenate([W0[:, None], flows.path, flows.W[:, None]], 1)
    W[~flows.ok, -1] = np.nan
    # the limit is drawn a little after the last time
    return _followed(state, np.concatenate([[0.0], ts, [ts[-1] * 1.1]]), W)


@lru_cache(maxsize=256)
def heat_map(
    kind: str,
    depth: float,
    delta: float,
    plane: tuple[str, str],
    values: tuple[float, ...],
    weights: tuple[bool, ...],
    beta: float,
    decay: float,
    reach: float,
) -> np.ndarray:
    """The map (up, across) over the plane; see `map_of`. Kept by what it depends on."""
    x = reach * (2 * np.arange(GRID) + 1 - GRID) / GRID  # centres of cells
    up, across = np.meshgrid(x, x, indexing="ij")
    W = np.empty((GRID, GRID, 2, 2))
    W[...] = np.reshape(values, (2, 2))
    W[(..., *_INDEX[plane[0]])], W[(..., *_INDEX[plane[1]])] = across, up
    # singular matrices have an infinite volume, which is an error of the library's
    singular = np.abs(np.linalg.det(W)) < 1e-12
    safe = np.where(singular[..., None, None], np.diag([2.0, 1.0]), W)
    observed = tuple(name for name, seen in zip(ENTRIES, weights, strict=True) if seen)
    state = State(observed=observed, values=values, depth=depth, decay=decay)
    if kind == "volume":
        value = np.asarray(dl.log_volume(safe, depth, imbalance=delta))
    elif kind == "stratum":
        if math.isinf(depth):
            return np.full((GRID, GRID), np.nan)
        value = np.asarray(dl.log_stratum_volume(safe, depth, 1, imbalance=delta))
    elif kind == "entropy":
        value = np.asarray(dl.entropy(safe, depth, imbalance=delta, constant=False))
    elif kind == "energy":
        value = np.asarray(jax.vmap(jax.vmap(energy_of(state)))(jnp.asarray(safe)))
    else:
        energy = energy_of(state)
        value = np.asarray(
            dl.free_energy(energy, safe, depth, beta, imbalance=delta, constant=False)
        )
    return np.where(singular, np.nan, value)


def map_of(state: State) -> np.ndarray:
    """The chosen function over the plane (up, across), `GRID` × `GRID`; the entries outside the
    plane have their observed values. NaN where it is infinite.
    """
    kind = state.map
    return heat_map(
        kind,
        state.depth if kind != "energy" or state.decay else 1.0,
        state.delta if kind != "energy" else 0.0,
        state.plane,
        state.values,
        tuple(name in state.observed for name in ENTRIES),
        state.beta if kind == "free" else math.inf,
        state.decay if kind in ("energy", "free") else 0.0,
        state.reach,
    )


def _number(state: State) -> int:
    """How many of the runs are computed."""
    most = NOISY_RUNS if math.isfinite(state.beta) else LEAF_RUNS if state.delta else state.runs
    return min(state.runs, most)


@lru_cache(maxsize=4)
def _directions(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3000, 2, 2))


def _flows(state: State, W0: np.ndarray, times: np.ndarray | None) -> dl.EnsembleResult:
    return dl.ensemble(
        energy_of(state),
        W0,
        state.depth,
        times=times,
        accuracy=LEAF_ACCURACY if state.delta else ACCURACY,
        # implicit steps, for the few stiff runs, would make all the others wait
        method="explicit",
        max_steps=300,
        batch_size=BATCH if times is None else None,  # one program for any number of runs
        imbalance=state.delta,
    )


def _chains(state: State, W0: np.ndarray) -> dl.DiffusionResult:
    """Always `NOISY_RUNS` chains, so that one program fits; those that were asked for."""
    few = np.concatenate([W0, np.broadcast_to(W0[-1], (NOISY_RUNS - len(W0), 2, 2))])
    found = dl.langevin(
        energy_of(state),
        few,
        state.depth,
        state.beta,
        t1=NOISY_TIME,
        dt=NOISY_STEP,
        key=state.seed,
        saveat=np.linspace(0, NOISY_TIME, TIMES + 1),
    )
    return jax.tree.map(lambda x: x[: len(W0)], found)


def _steps(state: State, W0: np.ndarray, found: Endpoints) -> Paths:
    """Until most runs have come to their end, and a little more."""
    usual = found.time[found.ok] if found.ok.any() else found.time
    last = math.ceil(1.1 * float(np.quantile(usual, 0.9)) / steps.in_time(state, 1))
    done = steps.descend(completion(state), state, W0, max(last, TIMES))
    W = np.array(done.records["W"])
    W[~(np.abs(W).max((2, 3)) < 1e6)] = np.nan
    return _followed(state, steps.in_time(state, done.record_steps), W)


def _path_times(state: State, found: Endpoints) -> np.ndarray:
    """Times all along, and more of them before the ends of the paths: plateaus end suddenly."""
    usual = found.time[found.ok & (found.time > 0)]
    last = 1.1 * float(np.quantile(usual, 0.98)) if usual.size else 100.0
    last = DECAY_TIME if state.decay else last
    ends = np.full(PATHS - 1, last)
    given = found.time[: PATHS - 1]
    ends[: len(given)] = np.clip(given, last * 1e-3, last)
    before = ends[:, None] * (1 - np.geomspace(3e-4, 0.5, 6))
    ts = np.sort(np.concatenate([np.linspace(0, last, TIMES + 1)[1:], before.ravel()]))
    return ts + last * 1e-9 * np.arange(len(ts))  # increasing, also where two are the same


def _followed(state: State, ts: np.ndarray, W: np.ndarray) -> Paths:
    one = W[0]
    there = np.isfinite(one).all((1, 2))
    singular = np.full((len(one), 2), np.nan)
    singular[there] = np.linalg.svd(one[there], compute_uv=False)
    energy = np.asarray(jax.vmap(completion(state))(jnp.asarray(one)))
    with np.errstate(divide="ignore", invalid="ignore"):
        log_det = np.log(np.abs(np.linalg.det(one)))
    return Paths(ts, W, singular, energy, np.where(np.isfinite(log_det), log_det, np.nan))


def rank_one_curve(state: State) -> tuple[np.ndarray, np.ndarray]:
    """Where det W = 0 in the plane: points (x, y) of the hyperbola or line, NaN between branches.

    >>> x, y = rank_one_curve(State())
    >>> bool(np.allclose((x * y)[np.isfinite(x)], 0.92**2))
    True
    """
    value = dict(zip(ENTRIES, state.values, strict=True))
    across, up = state.plane
    opposite = {name: ENTRIES[3 - place] for place, name in enumerate(ENTRIES)}
    side = np.linspace(-state.reach, state.reach, 201)
    if opposite[across] == up:
        others = [name for name in ENTRIES if name not in (across, up)]
        product = value[others[0]] * value[others[1]]
        if product == 0:
            zero = np.zeros_like(side)
            return np.r_[side, np.nan, zero], np.r_[zero, np.nan, side]
        x = np.geomspace(abs(product) / (2 * state.reach), 2 * state.reach, 201)
        return np.r_[x, np.nan, -x], np.r_[product / x, np.nan, -product / x]
    a, b = value[opposite[across]], value[opposite[up]]  # a·x = b·y
    if a == b == 0:
        return np.full(1, np.nan), np.full(1, np.nan)
    scale = state.reach / max(abs(a), abs(b))
    return np.array([-b, b]) * scale, np.array([-a, a]) * scale
