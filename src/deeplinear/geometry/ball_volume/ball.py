"""The volume of a ball inside a solution set: the function, its result, and how far to trust it."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import ArrayLike
from numpy.typing import NDArray

from ...checks import RandomKey, check_depth, check_integer, check_key, check_matrix
from ...energies import Completion, Sensing
from ...errors import InputError
from ...labelled import Labelled, Variable
from ...status import Status
from ...transforms import needs_values
from .chords import log_ball, sample_chords
from .null_block import NullBlock
from .space import Floats, Space, check_finite, check_full_rank, free_directions

_PILOT = 500  # samples of each way to compute, where there are two


class Trace(NamedTuple):
    """The running estimate: ``log_volume`` and ``standard_error`` after ``samples`` chords."""

    samples: NDArray[np.int64]
    log_volume: Floats
    standard_error: Floats


class BallVolume(Labelled, eqx.Module):
    """What `ball_volume` returns.

    - ``log_volume``: the estimate, and ``standard_error``: of the log, which is relative to the
      volume itself.
    - ``samples``: the number of chords, or of points in the root of the null block; 1 where the
      integral is deterministic, 0 where it is known in closed form.
    - ``trace``: the running estimate against that number.
    - ``tail``: Hill's estimate of the exponent of the tail of their values over the 3√samples
      largest. From 1/2 on they have no variance, from 1 on no mean.
    - ``reliable``: whether the standard error can be trusted; ``status``, a `Status`, says why or
      why not (deterministic volumes: `Status.converged`).
    """

    log_volume: float
    standard_error: float
    samples: int
    trace: Trace
    tail: float
    status: Status

    @property
    def reliable(self) -> bool:
        """Whether the standard error can be trusted."""
        return self.status == Status.converged

    @property
    def volume(self) -> float:
        """exp(log_volume); 0 or infinite where that leaves the range of floating-point numbers."""
        return float(np.exp(self.log_volume))

    def plot(self, *, ax: Any = None) -> Any:
        """Draw the running estimate of log volume, with a band of one standard error, against the
        number of samples; returns the Axes. **Raises** `InputError` where nothing was sampled.

        >>> import deeplinear as dl, numpy as np
        >>> found = dl.ball_volume(np.diag([2.0, 1.0]), 3, 0.5, key=0, samples=400)
        >>> found.plot().get_xlabel()
        'number of samples'
        """
        if len(self.trace.samples) < 2:
            raise InputError("this volume is no estimate from samples: it has no trace to draw.")
        from ...sample_plots import draw_estimate

        return draw_estimate(*self.trace, self.status, ax)

    def _variables(self) -> dict[str, Variable]:
        about = {"log_volume": "running estimate", "standard_error": "of log_volume"}
        found = {"sample": Variable(("sample",), self.trace.samples, "number of samples")}
        for name, text in about.items():
            found[name] = Variable(("sample",), getattr(self.trace, name), text)
        return found

    def _attributes(self) -> dict[str, Any]:
        names = ("log_volume", "standard_error", "samples", "tail")
        return {"status": self.status.sentence} | {name: getattr(self, name) for name in names}

    def _lines(self) -> list[str]:
        head = f"log volume {self.log_volume:.6g} ± {self.standard_error:.1g}"
        return [f"{head}, {self.samples:,} samples", self.status.sentence]


@needs_values
def ball_volume(
    W: ArrayLike,
    depth: float,
    radius: float,
    *,
    constraint: Completion | Sensing | ArrayLike | None = None,
    key: RandomKey | None = None,
    samples: int = 10_000,
    measure: str = "ambient",
) -> BallVolume:
    """The Riemannian volume of the ball {X ∈ S : ‖X − W‖_F ≤ radius} in a solution set S.

    By Monte Carlo, it is

        vol = ∫ √det g^N(X) dX,   √det g^N(X) = ∏_ij λ_N(σ_i, σ_j)^{−1/2}

    over all m·n pairs (i, j), edges λ_N(σ_i, 0) included, with dX the Lebesgue measure on S that
    the Frobenius norm induces.

    **Arguments**

    - ``W``: m×n, the centre, in S. ``depth``: real N ≥ 1 or ``math.inf``. ``radius`` > 0,
      Euclidean.
    - ``constraint``: S. None: all matrices. A `Completion` or `Sensing`: W plus what its
      observations do not see (their residual at W may be up to 1e−3 of the data). A boolean m×n
      mask of observed entries: W plus the other entries.
    - ``measure``: "ambient" is the formula above, the density in R^{m×n} restricted to S, which
      Cohen, Menon and Veraszto plot; "induced" is √det of g^N restricted to the tangent space of S,
      the volume of S as a submanifold. Without constraint they agree.
    - ``key``: a JAX random key or an integer seed (None: 0). ``samples``: the number of chords or
      points.

    **Normalization**: g^N as in [CMV], with the factor 1/N in A_N. Under W → cW, radius → c·radius
    the volume is multiplied by c^{p − mn(1−1/N)} (ambient) or c^{p/N} (induced), p = dim S.

    **Method**: a chord has a uniform direction θ and a point y in the disc across it; vol is the
    mean of |disc| ∫ f(y + sθ) ds, each integral adaptive to 1e−5 or better, singularities resolved
    exactly for square W. Above N = 2 the points of a chord carry the weight p (θ·n)², n the normal
    of the level of det, of mean 1 over θ: it removes the heavy tail of grazing chords. Where rank
    is lost by two or more, or in a rectangular W, chords have heavy tails of their own. There, if S
    sees the whole null block (the ambient measure, 1 < N < ∞), points are drawn in the root of its
    Schur complement, in which nothing is singular, unless a pilot of 500 finds chords better.

    **Where it is finite.** Square, N < ∞: W of corank ≤ 1 with S crossing {det = 0} transversally,
    and corank c where S sees all c² entries of the null block U_⊥ᵀ X V_⊥. It diverges where S sees
    q ≤ c²(1 − 1/N) of them and the other directions keep the corank. N = ∞: only where the ball
    stays inside full rank, W square.

    **Raises** `InputError`: arguments out of range, W off the solution set, nothing free, a volume
    that diverges at a finite depth; `SingularOperatorError`: at N = ∞, a singular W, a ball that
    reaches {det = 0}, W not square.

    **Source**: Cohen, Menon, Veraszto 2023, Theorem 1.1 and Figure 8.

    >>> import numpy as np, deeplinear as dl
    >>> W = np.full((2, 2), 0.92)  # rank 1: det vanishes on a curve through the ball
    >>> ball = dl.ball_volume(W, 5, 0.1, constraint=np.eye(2, dtype=bool), samples=2000)
    >>> round(ball.log_volume, 1), ball.standard_error < 0.02, ball.reliable
    (0.5, True, True)
    """
    centre = np.asarray(check_matrix(W), np.float64)
    nu = 1 / float(check_depth(depth, scalar=True))
    _check_arguments(radius, samples, measure)
    basis = free_directions(centre, constraint)
    space = Space(centre, basis, float(radius), nu, measure == "induced")
    if nu == 1:  # flat
        return _result(np.array([log_ball(len(basis), radius)]), 0.0, 0)
    check_finite(space)
    seed = np.asarray(jax.random.key_data(check_key(0 if key is None else key))).ravel()
    rng = np.random.default_rng(seed)
    if nu == 0:
        check_full_rank(space, rng)
    if len(basis) == 1:
        log_chords, unresolved = sample_chords(space, rng, 1)
        return _result(log_chords, unresolved, 1)
    block = NullBlock.of(space)
    if block is not None and _is_better(block, space, rng, min(samples, _PILOT)):
        return _result(*block.sample(rng, samples), samples)
    return _result(*sample_chords(space, rng, samples), samples)


def _is_better(block: NullBlock, space: Space, rng: np.random.Generator, samples: int) -> bool:
    """Whether samples in the root of the null block have the smaller spread; by a pilot of both.

    A few chords seldom show their heavy tail: they must be twice as good.
    """

    def spread(log_values: Floats) -> float:
        top = log_values.max()
        x = np.exp(log_values - top) if np.isfinite(top) else np.zeros(1)
        return float(x.std() / x.mean()) if x.mean() > 0 else math.inf

    roots = spread(block.sample(rng, samples)[0])
    return roots <= 2 * spread(sample_chords(space, rng, samples)[0])


def _check_arguments(radius: float, samples: int, measure: str) -> None:
    if np.ndim(radius) != 0 or not 0 < float(radius) < math.inf:
        raise InputError(f"radius must be a positive finite number, got {radius!r}.")
    check_integer(samples, "samples", 2)
    if measure not in ("ambient", "induced"):
        raise InputError(f'measure must be "ambient" or "induced", got {measure!r}.')


def _result(log_chords: Floats, unresolved: float, samples: int) -> BallVolume:
    """The statistics of the chord integrals, judged where they are a sample."""
    n = len(log_chords)
    # relative to the largest chord: the volume itself may be out of the floating-point range
    shift = log_chords.max()
    x = np.exp(log_chords - shift)
    count = np.unique(np.geomspace(min(n, 10), n, 120).astype(int))
    mean = np.cumsum(x)[count - 1] / count
    # squares of the distance to the final mean: nothing cancels that matters
    spread = np.cumsum((x - x.mean()) ** 2)[count - 1] / count - (mean - x.mean()) ** 2
    error = np.sqrt(np.maximum(spread, 0) / np.maximum(count - 1, 1)) / mean
    tail = _tail(x)
    if unresolved > 1e-3:
        status = Status.unresolved
    else:
        status = Status.converged if samples <= 1 else _judge(tail, float(error[-1]))
    trace = Trace(count, np.log(mean) + shift, error)
    return BallVolume(float(trace.log_volume[-1]), float(error[-1]), samples, trace, tail, status)


def _judge(tail: float, error: float) -> Status:
    """Whether the standard error can be trusted, by the tail of the integrals and by its size."""
    if math.isnan(tail):
        return Status.few_samples
    if tail > 0.9:
        return Status.no_mean
    if tail > 0.6:
        return Status.heavy_tail
    return Status.large_error if error > 0.3 else Status.converged


def _tail(x: Floats) -> float:
    """Hill's estimate from the largest 3√n (at most n/20) of n values; NaN below 400 values."""
    top = min(int(3 * math.sqrt(len(x))), len(x) // 20)
    if top < 20:
        return math.nan
    largest = np.sort(x)[-top - 1 :]
    return float(np.mean(np.log(largest[1:] / largest[0])))
