"""Gradient descent in finite steps at 2×2, in the place of the flow."""

import math

import jax
import jax.numpy as jnp
import numpy as np

import deeplinear as dl

from ..dynamics.coordinates import FactorCoordinates
from ..energies import Completion
from .state import State

#: The deepest network whose descent is quick enough; the most steps; the tolerance of a limit; how
#: many points a path has.
DEEPEST, MOST, RTOL, TIMES = 10, 4000, 1e-5, 60


def descend(
    loss: Completion, state: State, W0: np.ndarray, upto: int | None = None
) -> dl.DescentResult:
    """Descent of the runs that start at W0 (runs, 2, 2), from balanced factors. ``upto``: go on to
    that step (or a few more), and record W `TIMES` times on the way.
    """
    U, s, Vt = np.linalg.svd(W0)
    with np.errstate(divide="ignore"):  # a start without full rank
        points = dl.LogSVD(*map(jnp.asarray, (U, np.log(s), Vt)))
    factors = jax.vmap(FactorCoordinates(int(state.depth)).start)(points)
    every = None if upto is None else max(1, math.ceil(upto / TIMES))
    return dl.descend(
        loss,
        factors,
        optimizer=state.step,
        steps=MOST if every is None else every * TIMES,
        weight_decay=state.decay,
        records=() if every is None else ("W",),
        record_at=every,
        stop=every is None,
        rtol=RTOL,
    )


def in_time(state: State, steps: np.ndarray | int) -> np.ndarray:
    """The flow's time of so many steps: N k η."""
    return np.asarray(steps) * state.depth * state.step
