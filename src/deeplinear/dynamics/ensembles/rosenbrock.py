"""Linearly implicit steps in the coordinates (U, log σ, V): stiff problems, small singular values.

Observed entries of large singular values relax fast, small singular values grow slowly: explicit
steps would be as short as the fast ones for as long as the slow ones need.
"""

import functools
from collections.abc import Callable
from typing import ClassVar, Generic, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .frames import Matrix, product
from .linear import axpy, solve
from .singular import (
    SingularFrame,
    SingularPoint,
    compose,
    decompose,
    displacement,
    length,
    orthonormal,
    transpose,
    velocity,
)
from .steppers import (
    AbstractStepper,
    EnsembleProblem,
    State,
    StepTrial,
    empty,
    put,
    singular_rate,
    weighted_sum,
)


class AbstractSingularStepper(AbstractStepper[SingularPoint]):
    """What the linearly implicit steps share: their state, and that they hand nothing on."""

    def start(self, problem: EnsembleProblem, W: Matrix) -> SingularPoint:
        return decompose(W)

    def matrix(self, state: SingularPoint) -> Matrix:
        return compose(orthonormal(state))

    def rate(self, problem: EnsembleProblem, state: SingularPoint) -> tuple[()]:
        return ()


def _lower(rows: list[list[float]]) -> np.ndarray:
    """The strictly lower triangular matrix with these rows."""
    out = np.zeros((len(rows), len(rows)))
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


# Rodas5P (Steinebach, BIT 63:27, 2023): order 5, embedded order 4, stiffly accurate and L-stable;
# in the unknowns u of (1 − hγJ) u_i = hγ f(y + Σ_j a_ij u_j) + γ Σ_j c_ij u_j.
GAMMA_5 = 0.21193756319429014
_LAST = [-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256]
_LAST = [*_LAST, 0.030198172008377946]
_A_5 = _lower(
    [
        [],
        [3.0],
        [2.849394379747939, 0.45842242204463923],
        [-6.954028509809101, 2.489845061869568, -10.358996098473584],
        [2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641],
        _LAST,
        [*_LAST, 1.0],
        [*_LAST, 1.0, 1.0],
    ]
)
_C_5 = _lower(
    [
        [],
        [-14.155112264123755],
        [-17.97296035885952, -2.859693295451294],
        [147.12150275711716, -1.41221402718213, 71.68940251302358],
        [165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306],
        [
            *[24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125],
            *[-0.6610691825249471],
        ],
        [
            *[30.91273214028599, -3.1208243349937974, 77.79954646070892, 34.28646028294783],
            *[-19.097331116725623, -28.087943162872662],
        ],
        [
            *[37.80277123390563, -3.2571969029072276, 112.26918849496327, 66.9347231244047],
            *[-40.06618937091002, -54.66780262877968, -9.48861652309627],
        ],
    ]
)
# What bends its dense output, of order 4: weights of the u_i in (b_1, b_2, b_3), with which
# y(θ) = (1 − θ) y_0 + θ (y_1 + (1 − θ)(b_1 + θ (b_2 + θ b_3))).
BENDS_5 = np.array(
    [
        [
            *[25.948786856663858, -2.5579724845846235, 10.433815404888879, -2.3679251022685204],
            *[0.524948541321073, 1.1241088310450404, 0.4272876194431874, -0.17202221070155493],
        ],
        [
            *[-9.91568850695171, -0.9689944594115154, 3.0438037242978453, -24.495224566215796],
            *[20.176138334709044, 15.98066361424651, -6.789040303419874, -6.710236069923372],
        ],
        [
            *[11.419903575922262, 2.8879645146136994, 72.92137995996029, 80.12511834622643],
            *[-52.072871366152654, -59.78993625266729, -0.15582684282751913, 4.883087185713722],
        ],
    ]
)


class RodasStep(NamedTuple, Generic[State]):
    """A step of Rodas5P: its end, the same with order 4, their difference (the error), and the
    unknowns u of its 8 stages along a leading axis.
    """

    end: State
    coarse: State
    error: State
    stages: State


def rodas5p(
    flow: Callable[[State], State], solved: Callable[[State], State], state: State, h: Array
) -> RodasStep[State]:
    """A step of size h; ``solved`` is b ↦ (1 − hγJ)^{-1} b."""

    def stage(i: Array, carry: tuple[State, ...]) -> tuple[State, ...]:
        stages, _, _ = carry
        end = axpy(1.0, weighted_sum(jnp.asarray(_A_5)[i], stages), state)
        b = axpy(h, flow(end), weighted_sum(jnp.asarray(_C_5)[i], stages))
        last = solved(jax.tree.map(lambda x: GAMMA_5 * x, b))
        return put(stages, i, last), end, last

    stages, coarse, last = jax.lax.fori_loop(0, 8, stage, (empty(state, 8), state, state))
    return RodasStep(axpy(1.0, last, coarse), coarse, last, stages)


class RosenbrockStepper(AbstractSingularStepper):
    """Rodas5P with the exact Jacobian, by one LU factorization of size mn in each lane and step."""

    order: int = 5
    stride: ClassVar[int] = 8
    lanes: ClassVar[int] = 16
    jacobian: ClassVar[bool] = True

    def step(
        self, problem: EnsembleProblem, state: SingularPoint, rate: PyTree[Array], h: Array
    ) -> StepTrial[SingularPoint]:
        flow = functools.partial(singular_rate, problem)
        solved = jacobian_solver(flow, state, h * GAMMA_5)
        trial = rodas5p(flow, solved, state, h)
        return StepTrial(orthonormal(trial.end), (), length(trial.error) / problem.tol)


def jacobian_solver(
    rate: Callable[[SingularPoint], SingularPoint], point: SingularPoint, c: Array
) -> Callable[[SingularPoint], SingularPoint]:
    """b ↦ (1 − cJ)^{-1} b, J the derivative of ``rate`` at the point, by LU.

    J sees of a tangent vector only its mn coordinates ξ: J = K P with P the coordinates and K the
    derivatives along them. So x = b + c K ξ where (1 − c P K) ξ = P b.
    """
    spread, coordinates = _coordinates(point)
    count = point.U.shape[0] * point.V.shape[0]

    def along(direction: SingularPoint) -> SingularPoint:
        return jax.jvp(rate, (point,), (spread(direction),))[1]

    eye = jnp.eye(count, dtype=point.log_s.dtype)
    K = jax.vmap(along)(_directions(point))
    system = eye - c[:, None, None] * jnp.transpose(jax.vmap(coordinates)(K), (2, 1, 0))
    factors = jax.scipy.linalg.lu_factor(system)

    def solved(b: SingularPoint) -> SingularPoint:
        xi = jax.scipy.linalg.lu_solve(factors, coordinates(b).T[..., None])[..., 0].T
        return jax.tree.map(lambda y, k: y + c * jnp.sum(_along(xi, k) * k, 0), b, K)

    return solved


def _along(xi: Array, like: Array) -> Array:
    """The coordinates, with axes for those of a tangent vector between them and the lanes."""
    return xi.reshape(xi.shape[0], *[1] * (like.ndim - 2), xi.shape[-1])


def _pairs(size: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs of columns a rotation turns: no rotation of two zeros moves W."""
    i, j = np.triu_indices(size, 1)
    return i[i < k], j[i < k]


def _directions(point: SingularPoint) -> SingularPoint:
    """One of each of the mn coordinates, along a leading axis: UᵀdU, d log σ, VᵀdV."""
    m, k, n = point.U.shape[0], point.log_s.shape[0], point.V.shape[0]
    U, log_s, V = (np.zeros((m * n, *shape)) for shape in ((m, m), (k,), (n, n)))
    (i, j), (a, b) = _pairs(m, k), _pairs(n, k)
    left, right = np.arange(len(i)), len(i) + k + np.arange(len(a))
    U[left, i, j], U[left, j, i] = 1, -1
    V[right, a, b], V[right, b, a] = 1, -1
    log_s[len(i) + np.arange(k), np.arange(k)] = 1
    return SingularPoint(*(jnp.asarray(x[..., None], point.log_s.dtype) for x in (U, log_s, V)))


def _coordinates(
    point: SingularPoint,
) -> tuple[Callable[[SingularPoint], SingularPoint], Callable[[SingularPoint], Array]]:
    """The tangent vector of a direction, and the coordinates of a tangent vector.

    The mn coordinates are the rotations of U and V and the changes of log σ.
    """
    k = point.log_s.shape[0]

    def spread(direction: SingularPoint) -> SingularPoint:
        log_s = jnp.broadcast_to(direction.log_s, point.log_s.shape)
        return SingularPoint(product(point.U, direction.U), log_s, product(point.V, direction.V))

    def rotation(Q: Array, change: Array) -> Array:
        X = product(transpose(Q), change)
        return ((X - transpose(X)) / 2)[_pairs(Q.shape[0], k)]

    def coordinates(tangent: SingularPoint) -> Array:
        left, right = rotation(point.U, tangent.U), rotation(point.V, tangent.V)
        return jnp.concatenate([left, tangent.log_s, right])

    return spread, coordinates


# ROS34PW2 (Rang and Angermann, BIT 45, 2005): order 3 whatever matrix stands for the Jacobian,
# stiffly accurate, embedded order 2.
GAMMA_3 = 4.3586652150845900e-01
_ALPHA = _lower(
    [
        [],
        [0.87173304301691801],
        [0.84457060015369423, -0.11299064236484185],
        [0, 0, 1],
    ]
)
_COUPLING = GAMMA_3 * np.eye(4) + _lower(
    [
        [],
        [-0.87173304301691801],
        [-0.90338057013044082, 0.054180672388095326],
        [0.24212380706095346, -1.2232505839045147, 0.54526025533510214],
    ]
)
_B = np.array([0.24212380706095346, -1.2232505839045147, 1.5452602553351020, 0.43586652150845900])
_B_LOW = np.array([0.37810903145819369, -0.096042292212423178, 0.5, 0.21793326075422950])
# In the unknowns U = Γk no stage multiplies by the Jacobian (Hairer and Wanner, vol. II, IV.7).
_INVERSE = np.linalg.inv(_COUPLING)
_A_3, _C_3 = _ALPHA @ _INVERSE, np.eye(4) / GAMMA_3 - _INVERSE
_M, _M_ERROR = _B @ _INVERSE, (_B - _B_LOW) @ _INVERSE


class ImplicitStepper(AbstractSingularStepper):
    """ROS34PW2 with the kernel frozen over a step: no matrix, four solves by conjugate gradients.

    In place of the Jacobian stands −A_W E″(W), its stiff part, carried over to (U, log σ, V).
    """

    order: int = 3
    stride: ClassVar[int] = 4
    lanes: ClassVar[int] = 8
    # Steps grow by 3 for a tenth of the tolerance, and by more where singular values relax for long
    # at the end; those of order 5 by 1.6.
    finest: ClassVar[float] = 2e-5

    def step(
        self, problem: EnsembleProblem, state: SingularPoint, rate: PyTree[Array], h: Array
    ) -> StepTrial[SingularPoint]:
        c = h * GAMMA_3
        frame = SingularFrame(state, problem.nu)
        hessian = problem.hessian(compose(state))
        rtol = 1e-2 * problem.tol

        def stage(i: Array, stages: SingularPoint) -> SingularPoint:
            end = axpy(1.0, weighted_sum(jnp.asarray(_A_3)[i], stages), state)
            coupled = weighted_sum(jnp.asarray(GAMMA_3 * _C_3)[i], stages)
            b = axpy(c, singular_rate(problem, end), coupled)
            dW = displacement(state, b)
            dW, _ = solve(frame, hessian, c, dW, shift=1, rtol=rtol, max_steps=problem.cg)
            return put(stages, i, axpy(c, velocity(state, hessian(dW), problem.nu, problem.tol), b))

        stages = jax.lax.fori_loop(0, 4, stage, empty(state, 4))
        end, error = axpy(1.0, weighted_sum(_M, stages), state), weighted_sum(_M_ERROR, stages)
        return StepTrial(orthonormal(end), (), length(error) / problem.tol)
