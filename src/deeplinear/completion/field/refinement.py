"""A Gaussian field that refines a network's completion, chosen on held-out cells."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .covariance import ColumnCovariance
from .gaussian_field import Cells, GaussianField, noise_parts
from .graph import Neighbours, Weights, mixed, no_graph
from .held_out import HeldOut, Stack
from .lines import Lines, whole_shares

#: Correlations between neighbouring rows, and parts of the variance that are noise, among which
#: held-out cells choose, each walked from its middle as long as the error falls.
CORRELATIONS = (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
NOISES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
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
    Each held-out cell is judged with shares that it had no part in. A share of 0 leaves the
    network as it is; a column that the field does not better has that.
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


# Held-out cells below which nothing is chosen by them.
LEAST = 20
# Lines are tried as far as the nearest held-out cells lie and a half more, then twice as far.
_MORE = 1.5

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
class Chosen:
    """A refinement, and what `Stack` says: the shares of the field (n,), those of straight lines
    and of curves (2, n), and the completion that they give (m, n): at held-out cells with shares
    that these cells had no part in.
    """

    settings: Refinement
    shares: np.ndarray
    line_shares: np.ndarray
    completed: np.ndarray

    @classmethod
    def of(cls, settings: Refinement, stack: Stack, held: HeldOut) -> "Chosen":
        shares, line_shares = stack.shares(held)
        completed = stack.completed(shares, line_shares)
        gaps = stack.gaps(held)
        completed[held.rows, held.cols] = held.values + gaps
        before = held.gaps(stack.network)
        found = replace(
            settings,
            share=float(shares.mean()),
            lines=float(whole_shares(line_shares).mean()),
            before=held.size(before),
            after=held.size(gaps),
            gain=held.gain(before, gaps),
            count=len(gaps),
        )
        return cls(found, shares, line_shares, completed)


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
    and ends the search by returning True. The field is used only where the held-out error falls
    with shares that the cells it is judged by had no part in, and lines beside it where it falls
    once more. Fewer than `LEAST` held-out cells choose nothing.
    """
    none = np.zeros(network.shape[1]), np.zeros((2, network.shape[1]))
    if len(held.values) < LEAST:
        return Chosen(Refinement(), *none, network)
    search = _Search(network, cells, held, order, center, stop)
    if not search.varies:
        return Chosen(Refinement(), *none, network)
    best = search.best()
    stack = Stack(network, search.completion(best, FINE))
    chosen = Chosen.of(best, stack, held)
    if not (chosen.settings.share > 0 and chosen.settings.gain > 0):
        before = chosen.settings.before
        return Chosen(replace(chosen.settings, share=0.0, after=before), *none, network)
    lines = None if order is None else Lines.of(cells, order)
    return chosen if lines is None else _with_lines(chosen, stack, *lines, held)


def _with_lines(
    chosen: Chosen, stack: Stack, lines: Lines, distance: np.ndarray, held: HeldOut
) -> Chosen:
    """Lines as far as held-out cells gain by them."""
    found = distance[held.rows, held.cols]
    found = np.sort(found[np.isfinite(found)])
    best, reach, counted = chosen, 0.0, 0
    while len(found) >= counted + LEAST:
        reach = max(2 * reach, _MORE * found[counted + LEAST - 1])
        counted = int(np.searchsorted(found, reach, side="right"))
        near = replace(stack, lines=lines.only(distance <= reach))
        trial = Chosen.of(replace(chosen.settings, reach=float(reach)), near, held)
        if trial.settings.lines > 0 and trial.settings.after < best.settings.after:
            best = trial
    return best


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
