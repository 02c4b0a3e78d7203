"""A Gaussian field that refines a network's completion, chosen on held-out cells."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..solver.fit_state import held_out_size, standard_error
from .covariance import ColumnCovariance
from .gaussian_field import Cells, GaussianField, noise_parts
from .graph import Neighbours, Weights, mixed, no_graph
from .lines import Lines

#: Correlations between neighbouring rows, and parts of the variance that are noise, among which
#: held-out cells choose, each walked from its middle as long as the error falls.
CORRELATIONS = (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
NOISES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# What all columns together tell of the share of one: as much as so many held-out cells of its own.
_POOLED = 20
# Rounds in which the covariance is taken again from the completion by the field.
ROUNDS = 2
# How far a row of F may be off while settings are compared, and at the end.
ROUGH, FINE = 1e-2, 1e-7
_BETWEEN = 1e-3  # before the covariance is taken again
# Variances between which single precision is enough to compare settings, and twice as quick.
_SINGLE = 1e-12, 1e12
# Rows up to which nearest neighbours are looked for: all pairs are compared.
MOST_NEIGHBOURS = 30_000
POINTS = 50  # coordinates in which neighbours are near


@dataclass(frozen=True)
class Refinement:
    """What refines the completion of a network: ``share`` of the way from it to the field, on the
    average over the columns.

    ``graph``: "none" (each row by itself), "neighbours", "order", or "order and neighbours"; ρ is
    the ``correlation`` of neighbouring rows, ``noise`` the part of the mean variance of the columns
    that is noise; ``rounds``: how often the covariance was taken again. ``before`` and ``after``
    are the held-out errors of the network and of all, in the units of the scaled columns, over
    ``count`` held-out cells; ``gain`` is what the error loses, in its standard errors.
    A share of 0 leaves the network as it is; a column that the field does not better has that.
    ``lines``: the share of straight lines and curves between the cells before and behind, on the
    average over the columns, in cells not farther than ``reach`` typical steps from the nearer.
    """

    share: float = 0.0
    graph: str = "none"
    correlation: float = 0.0
    noise: float = 0.0
    rounds: int = 0
    before: float = math.nan
    after: float = math.nan
    gain: float = 0.0
    count: int = 0
    lines: float = 0.0
    reach: float = 0.0


# Straight lines are used as far as held-out cells gain by them: so many typical steps, then twice
# as many, with that many held-out cells more.
_REACH, _FEW = 1.5, 20

GRAPHS = ("none", "order", "neighbours", "order and neighbours")


def graphs(points: np.ndarray, order: Weights | None) -> dict[str, Weights]:
    """The graphs that are tried, by name, on rows at ``points`` (m, q)."""
    found: dict[str, Weights] = {}
    if order is not None:
        found["order"] = order
    if 2 < len(points) <= MOST_NEIGHBOURS and points.shape[1]:
        found["neighbours"] = Neighbours.of(points)[1]
        if order is not None:
            found["order and neighbours"] = mixed(order, found["neighbours"])
    return found


@dataclass(frozen=True)
class HeldOut:
    """Held-out cells of a table: codes, and values in its scaled units.

    ``owner`` (n,) says to which feature a column belongs: a category has several.
    ``label_losses``: of categories, the log loss of predictions of all held-out cells.
    ``column_noise``: whether errors are judged by a noise level of each column.
    """

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray
    owner: np.ndarray
    label_losses: Mapping[int, Callable[[np.ndarray], float]] = field(default_factory=dict)
    column_noise: bool = True

    def gaps(self, matrix: np.ndarray) -> np.ndarray:
        return matrix[self.rows, self.cols] - self.values

    def size(self, gaps: np.ndarray) -> float:
        return held_out_size(gaps, self.cols, self.column_noise)

    def units(self, gaps: np.ndarray) -> np.ndarray:
        """The mean square of ``gaps`` in the feature of each, at least a part of that of all."""
        mine = self.owner[self.cols]
        squares = np.bincount(mine, gaps**2) / np.maximum(np.bincount(mine), 1)
        return np.maximum(squares[mine], max(1e-3 * float(np.mean(gaps**2)), 1e-300))

    def shares(self, network: np.ndarray, other: np.ndarray) -> np.ndarray:
        """The share of each column (n,) on the way from ``network`` to an ``other`` completion.

        The one of least loss in its held-out cells, relative to that of the network, and a little
        in those of all: square errors of numbers, log losses of categories.
        """
        mine, unit = self.owner[self.cols], self.units(self.gaps(network))
        gaps = [self.gaps(network + share * (other - network)) for share in SHARES]
        lost = np.stack([gap**2 / unit for gap in gaps])
        own = np.stack([np.bincount(mine, x, self.owner.max() + 1) for x in lost])
        for feature, loss in self.label_losses.items():
            curve = np.array([loss(self.values + gap) for gap in gaps])
            count = (mine == feature).sum()
            own[:, feature] = count * curve / curve[0] if count and curve[0] > 0 else 0.0
        best = (own + _POOLED * lost.mean(axis=1)[:, None]).argmin(axis=0)
        return np.array(SHARES)[best][self.owner]

    def sizes(self, matrix: np.ndarray) -> np.ndarray:
        """The root mean square error of each column (n,), mixed with that of all."""
        squares = self.gaps(matrix) ** 2
        count = np.bincount(self.cols, minlength=matrix.shape[1])
        own = np.bincount(self.cols, squares, matrix.shape[1])
        return np.sqrt((own + squares.mean()) / (count + 1))

    def gain(self, before: np.ndarray, after: np.ndarray) -> float:
        """What the error loses between two ``gaps``, in standard errors."""
        error = standard_error(before, after, self.cols, self.column_noise)
        return (self.size(before) - self.size(after)) / error if error > 0 else 0.0


@dataclass(frozen=True)
class Chosen:
    """A refinement, the shares of the columns (n,), those of straight lines and of curves (2, n),
    and the completion that they give (m, n).
    """

    settings: Refinement
    shares: np.ndarray
    line_shares: np.ndarray
    completed: np.ndarray


def choose(
    network: np.ndarray,
    cells: Cells,
    held: HeldOut,
    order: Weights | None,
    *,
    center: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> Chosen:
    """The refinement with the smallest held-out error.

    ``network`` (m, n): the completion that is refined, in scaled units; ``cells``: those that it
    was fitted to; ``order``: the graph of rows in order. ``stop`` is called on the way,
    and ends the search by returning True. The field is used only where its gain is more than one
    standard error, and so are straight lines beside it.
    """
    search = _Search(network, cells, held, order, center, stop)
    none = np.zeros(network.shape[1])
    no_lines = np.zeros((2, len(none)))
    if not search.varies:
        return Chosen(Refinement(), none, no_lines, network)
    best = search.best()
    other = search.completion(best, FINE)
    shares = held.shares(network, other)
    refined = network + shares * (other - network)
    before, after = held.gaps(network), held.gaps(refined)
    found = replace(
        best,
        share=float(shares.mean()),
        before=held.size(before),
        after=held.size(after),
        gain=held.gain(before, after),
        count=len(held.values),
    )
    if not (found.after < found.before and found.gain > 1):
        return Chosen(replace(found, share=0.0, after=found.before), none, no_lines, network)
    chosen = Chosen(found, shares, no_lines, refined)
    lines = None if order is None else Lines.of(cells, order)
    return chosen if lines is None else _with_lines(chosen, lines, held, before)


def _with_lines(chosen: Chosen, lines: Lines, held: HeldOut, before: np.ndarray) -> Chosen:
    """Lines as far as held-out cells gain by them; ``before``: the gaps of the network."""
    refined, distance = chosen.completed, lines.distance[held.rows, held.cols]
    best, error = chosen, held.size(held.gaps(refined))
    reach, counted = _REACH, 0
    while (count := int((distance <= reach).sum())) >= counted + _FEW:
        near = lines.within(reach)
        shares = _line_shares(refined, near, held)
        completed = near.towards(refined, shares)
        gaps = held.gaps(completed)
        if not held.size(gaps) < error:
            break
        error, counted = held.size(gaps), count
        share = float((1 - np.prod(1 - shares, axis=0)).mean())
        gain = held.gain(before, gaps)
        settings = replace(chosen.settings, after=error, gain=gain, lines=share, reach=reach)
        best = Chosen(settings, chosen.shares, shares, completed)
        reach *= 2
    gain = held.gain(held.gaps(refined), held.gaps(best.completed))
    return best if gain > 1 else chosen


def _line_shares(refined: np.ndarray, near: Lines, held: HeldOut) -> np.ndarray:
    """Those of straight lines, and then those of curves (2, n)."""
    shares = np.zeros((2, refined.shape[1]))
    for k in range(2):
        here = near.towards(refined, shares)
        whole = shares.copy()
        whole[k] = 1.0
        shares[k] = held.shares(here, near.towards(refined, whole))
    return shares


class _Search:
    """The walk through graphs, correlations and noises."""

    def __init__(
        self,
        network: np.ndarray,
        cells: Cells,
        held: HeldOut,
        order: Weights | None,
        center: bool,
        stop: Callable[[], bool],
    ) -> None:
        self._held, self._center = held, center
        self._stop, self._ended = stop, False
        completed = cells.over(network)
        law = ColumnCovariance.of(completed, center=center)
        self._graphs = graphs(law.points(completed, POINTS), order)
        rough = np.dtype(np.float32 if _SINGLE[0] < law.variance < _SINGLE[1] else float)
        parts = noise_parts(network, cells)
        self._given = {
            FINE: (cells, law, parts),
            ROUGH: (cells.astype(rough), law.astype(rough), parts.astype(rough)),
        }
        self._found: dict[Refinement, np.ndarray] = {}  # held-out errors

    @property
    def varies(self) -> bool:
        """Whether there is anything that rows could tell about each other."""
        return self._given[FINE][1].varies

    def best(self) -> Refinement:
        best = self._noise(Refinement(noise=0.03))
        for name in self._graphs:
            first = replace(best, graph=name, correlation=best.correlation or 0.8)
            found = self._correlation(first)
            again = self._noise(found)
            if again != found:
                again = self._correlation(again)
            if self._is_clear(again, best):
                best = again
            self._ended |= self._stop()
        while best.rounds < ROUNDS and not self._ended:
            more = replace(best, rounds=best.rounds + 1)
            if not self._is_clear(more, best):
                break
            best = more
        return best

    def completion(self, settings: Refinement, tol: float) -> np.ndarray:
        graph = self._graphs.get(settings.graph)
        law, F = solve(settings, graph, *self._given[tol], center=self._center, tol=tol)
        return law.matrix(F)

    def _noise(self, at: Refinement) -> Refinement:
        return self._walk([replace(at, noise=x) for x in NOISES], NOISES.index(at.noise))

    def _correlation(self, at: Refinement) -> Refinement:
        grid = [replace(at, correlation=rho) for rho in CORRELATIONS]
        return self._walk(grid, CORRELATIONS.index(at.correlation))

    def _walk(self, grid: list[Refinement], k: int) -> Refinement:
        """From number k of the ``grid`` to a minimum of the held-out error."""
        for step in (1, -1):
            while 0 <= k + step < len(grid) and not self._ended:
                if not self._error(grid[k + step]) < self._error(grid[k]):
                    break
                k += step
        return grid[k]

    def _is_clear(self, settings: Refinement, others: Refinement) -> bool:
        """Whether the error falls by more than its standard error: else the simpler one is kept."""
        return self._held.gain(self._gaps(others), self._gaps(settings)) > 1

    def _error(self, settings: Refinement) -> float:
        return self._held.size(self._gaps(settings))

    def _gaps(self, settings: Refinement) -> np.ndarray:
        if settings not in self._found:
            self._found[settings] = self._held.gaps(self.completion(settings, ROUGH))
        return self._found[settings]


def solve(
    settings: Refinement,
    graph: Weights | None,
    cells: Cells,
    covariance: ColumnCovariance,
    parts: np.ndarray,
    *,
    center: bool,
    tol: float = FINE,
) -> tuple[GaussianField, np.ndarray]:
    """The field with these ``settings`` and its F, after all rounds.

    ``covariance`` is that of the first of them.
    """
    graph = no_graph(len(cells.values)) if graph is None else graph
    law = GaussianField(covariance, settings.correlation, settings.noise, parts)
    before = max(tol, _BETWEEN)
    F = law.mean(cells, graph, tol=before if settings.rounds else tol)
    for done in range(1, settings.rounds + 1):
        again = ColumnCovariance.of(cells.over(law.matrix(F)), center=center)
        if not again.varies:
            break
        law = replace(law, covariance=again)
        F = law.mean(cells, graph, tol=before if done < settings.rounds else tol)
    return law, F
