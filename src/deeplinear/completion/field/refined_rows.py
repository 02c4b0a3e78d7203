"""A refinement fitted to a table: what it makes of the rows of that table, and of new ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from .covariance import ColumnCovariance
from .gaussian_field import Cells, GaussianField, noise_parts
from .graph import Neighbours, Weights, chain, mixed, no_graph
from .lines import Lines, lines_within
from .refinement import FINE, POINTS, ROUGH, Chosen, Refinement, solve

_PROBES = 8  # draws from which the spread of the field is known


@dataclass(frozen=True)
class RefinedRows:
    """A Gaussian field around the network of a table.

    ``shares`` (n,): how far each column goes from the network to the field; ``errors`` (n,): the
    root mean square of its held-out errors, in scaled units; ``F`` (m, r): the rows of the field;
    ``graph``: theirs; ``keys`` (m,) know the rows of the table again; ``neighbours`` finds those
    that are near new ones, if the graph is of that kind. ``lines`` are those between their observed
    cells; ``line_shares`` (2, n): how far columns go to them, see `Lines.towards`.
    """

    settings: Refinement
    shares: np.ndarray
    errors: np.ndarray
    law: GaussianField
    F: np.ndarray
    graph: Weights
    keys: np.ndarray
    neighbours: Neighbours | None
    lines: Lines | None
    line_shares: np.ndarray

    @classmethod
    def of(
        cls,
        network: np.ndarray,
        cells: Cells,
        order: Weights | None,
        chosen: Chosen,
        errors: np.ndarray,
        *,
        center: bool = True,
    ) -> "RefinedRows":
        """Fitted to all ``cells`` of a table, whose completion by the ``network`` is given."""
        settings = chosen.settings
        completed = cells.over(network)
        covariance = ColumnCovariance.of(completed, center=center)
        graph, neighbours = no_graph(len(network)), None
        if "neighbours" in settings.graph:
            neighbours, graph = Neighbours.of(covariance.points(completed, POINTS))
        if "order" in settings.graph and order is not None:
            graph = order if neighbours is None else mixed(order, graph)
        parts = noise_parts(network, cells)
        law, F = solve(settings, graph, cells, covariance, parts, center=center)
        if neighbours is not None:  # in the coordinates that the law has kept
            neighbours = replace(neighbours, points=law.covariance.points(completed, POINTS))
        lines = None
        if order is not None and settings.lines:
            lines = lines_within(cells, order, settings.reach)
        known = graph, cells.keys(), neighbours, lines, chosen.line_shares
        return cls(settings, chosen.shares, errors, law, F, *known)

    @property
    def follows_order(self) -> bool:
        """Whether rows tell about those before and behind them, empty ones too."""
        return "order" in self.settings.graph or self.lines is not None

    def refine(self, network: np.ndarray, cells: Cells, *, in_order: bool) -> np.ndarray:
        """``network``, the completion of the rows of ``cells``, refined.

        Rows of the table of the fit are known again. Others stand each by themselves, beside their
        nearest neighbours in that table if the graph has them. With ``in_order`` a table that has
        new rows is a sequence of its own.
        """
        at = self._places(cells)
        new = at < 0
        if self._is_sequence(new, in_order):
            F = self.law.mean(cells, chain(np.arange(len(at))), tol=FINE)
        else:
            F = self.F[at]
            if new.any():
                mine = cells.rows(new)
                F[new] = self.law.beside(mine, self._around(network[new], mine), self.F, tol=FINE)
        refined = network + self.shares * (self.law.matrix(F) - network)
        lines = self._lines(cells, at, in_order)
        return refined if lines is None else lines.towards(refined, self.line_shares)

    def _lines(self, cells: Cells, at: np.ndarray, in_order: bool) -> Lines | None:
        """Those of the rows of the fit, or of the sequence that ``cells`` are."""
        if self.lines is None:
            return None
        if in_order and (at < 0).any():
            return lines_within(cells, chain(np.arange(len(at))), self.settings.reach)
        return self.lines.at(at).only(at[:, None] >= 0)

    def draws(
        self,
        own: Cells,
        network: np.ndarray,
        cells: Cells,
        rng: np.random.Generator,
        *,
        in_order: bool,
    ) -> Iterator[np.ndarray]:
        """Draws of the rows of ``cells``, noise included, without end; ``own``: cells of the fit.

        Around the refined completion lie the deviations of the field, and noise that makes the
        mean square in missing cells that of the held-out errors of their column.
        """
        middle, at = self.refine(network, cells, in_order=in_order), self._places(cells)
        deviation = self._deviation(own, network, cells, at, in_order)
        probes = [deviation(rng) ** 2 for _ in range(_PROBES)]
        missing = cells.weights == 0
        count = np.maximum(missing.sum(axis=0), 1)
        spread = np.where(missing, np.mean(probes, axis=0), 0.0).sum(axis=0) / count
        wanted = self.errors**2
        with np.errstate(divide="ignore", invalid="ignore"):
            part = np.where(spread > wanted, np.sqrt(wanted / spread), 1.0)
        noise = np.sqrt(np.maximum(wanted - spread, 0.0))
        while True:
            yield middle + part * deviation(rng) + noise * rng.normal(size=middle.shape)

    def _deviation(
        self, own: Cells, network: np.ndarray, cells: Cells, at: np.ndarray, in_order: bool
    ) -> Callable[[np.random.Generator], np.ndarray]:
        """What draws the field around its mean (rows, n), in rows that are ``at`` known ones."""
        law, new = self.law, at < 0
        sequence = self._is_sequence(new, in_order)
        if sequence:
            line = chain(np.arange(len(at)))
        elif new.any():
            mine = cells.rows(new)
            weights = self._around(network[new], mine)

        def draw(rng: np.random.Generator) -> np.ndarray:
            if sequence:
                return law.deviation(cells, line, rng, tol=ROUGH) @ law.covariance.root
            F = np.empty((len(at), len(law.covariance.root)))
            if not new.all():
                F = law.deviation(own, self.graph, rng, tol=ROUGH)[at]
            if new.any():
                F[new] = law.deviation_beside(mine, weights, rng, tol=ROUGH)
            return F @ law.covariance.root

        return draw

    def _places(self, cells: Cells) -> np.ndarray:
        """Which row of the table of the fit each row is; −1 for new ones."""
        keys, known = cells.keys(), self.keys
        order = np.argsort(known, kind="stable")
        first = np.searchsorted(known[order], keys)
        at = order[np.minimum(first, len(known) - 1)]
        at[known[at] != keys] = -1
        both = np.arange(min(len(keys), len(known)))  # equal rows: each is itself
        both = both[keys[both] == known[both]]
        at[both] = both
        if self.follows_order:  # equal rows lie at several places
            several = np.searchsorted(known[order], keys, side="right") - first > 1
            several[both] = False
            self._follow(keys, at, several)
        return at

    def _follow(self, keys: np.ndarray, at: np.ndarray, several: np.ndarray) -> None:
        """Rows that may be ``several`` ones are that behind, or before, the row beside them; new
        ones if that does not say which.
        """
        at[several] = -1
        unclear = np.flatnonzero(several)
        for rows, step in ((unclear, 1), (unclear[::-1], -1)):
            for i in rows:
                if at[i] < 0 <= i - step < len(at) and at[i - step] >= 0:
                    here = at[i - step] + step
                    if 0 <= here < len(self.keys) and self.keys[here] == keys[i]:
                        at[i] = here

    def _is_sequence(self, new: np.ndarray, in_order: bool) -> bool:
        """Whether the field goes along a table with ``new`` rows."""
        return bool(in_order and new.any() and "order" in self.settings.graph)

    def _around(self, network: np.ndarray, cells: Cells) -> Weights:
        """The weights of new rows to those of the fit; none without neighbours."""
        if self.neighbours is None:
            return sp.csr_array((len(network), len(self.F)))
        width = self.neighbours.points.shape[1]
        return self.neighbours.around(self.law.covariance.points(cells.over(network), width))
