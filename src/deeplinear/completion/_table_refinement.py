"""How `DeepLinearImputer` refines its network by a Gaussian field, and keeps the field in files."""

import math
from dataclasses import asdict
from functools import partial

import numpy as np
import scipy.sparse as sp

from ..errors import InputError
from ._column_scores import category_cells
from ._table_io import TableLike
from ._table_losses import TableLosses
from ._table_predictions import whole
from .backends.open import workers
from .data.columns import is_frame
from .data.holdout import Structure, likeness
from .data.ids import as_array
from .field import graph
from .field.covariance import ColumnCovariance
from .field.gaussian_field import Cells, GaussianField
from .field.held_out import HeldOut
from .field.lines import Lines, whole_shares
from .field.refined_rows import RefinedRows
from .field.refinement import GRAPHS, Chosen, Refinement, choose
from .file_format import Arrays, Meta, named, take_group
from .loss import Losses
from .model.predictor import Model
from .posterior.labels import LabelLaw
from .schema import (
    NUMBER,
    REAL,
    TEXT,
    WHOLE,
    Field,
    Schema,
    check_arrays,
    check_nothing_left,
    take,
    take_part,
)
from .solver.selection import HoldOut

_SETTINGS: Schema = {
    "share": Field(NUMBER, least=0, most=1),
    "graph": Field(TEXT),
    "correlation": Field(NUMBER, least=0, most=0.999),
    "noise": Field(NUMBER, least=0),
    "rounds": Field(WHOLE, least=0),
    "before": Field(NUMBER, least=0, infinite=True, nan=True),
    "after": Field(NUMBER, least=0, infinite=True, nan=True),
    "gain": Field(NUMBER, infinite=True, nan=True),
    "count": Field(WHOLE, least=0),
    "lines": Field(NUMBER, least=0, most=1),
    "reach": Field(NUMBER, least=0),
}
_FIELD: Schema = {
    "shares": Field(REAL, ("n",), least=0, most=1),
    "errors": Field(REAL, ("n",), least=0),
    "mean": Field(REAL, ("n",)),
    "root": Field(REAL, ("components", "n"), may_be_empty=True),
    "own": Field(REAL, ("n",), least=0),
    "parts": Field(REAL, ("n",), least=0),
    "F": Field(REAL, ("m", "components"), may_be_empty=True),
    "keys": Field(WHOLE, ("m",)),
    "starts": Field(WHOLE, ("m+1",), least=0),
    "nearby": Field(WHOLE, ("edges",), least=0, may_be_empty=True),
    "weights": Field(REAL, ("edges",), least=0, may_be_empty=True),
}
_NEIGHBOURS: Schema = {
    "points": Field(REAL, ("m", None)),
    "lengths": Field(REAL, ("m",), least=0),
}
_LINES: Schema = {
    "straight": Field(REAL, ("m", "n"), nan=True),
    "curved": Field(REAL, ("m", "n"), nan=True),
    "line_shares": Field(REAL, (2, "n"), least=0, most=1),
}
_UNIT: Schema = {"unit": Field(NUMBER, above=0)}


class TableRefinement(TableLosses):
    """The second stage of a fit."""

    refinement_: Refinement
    _order: graph.Weights | None  # the graph of rows in order, while a fit runs
    _second_stage: Chosen  # and the held-out errors of the columns, while a fit runs
    _errors: np.ndarray

    def _structure(self, rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> Structure:
        observed = np.zeros(shape, bool)
        observed[rows, cols] = True
        return likeness(observed, in_order=self._order is not None and np.ndim(self.row_order) < 2)

    def _order_of(self, X: TableLike, rows: int) -> graph.Weights | None:
        """The graph that ``row_order`` means for the rows of X."""
        order = self.row_order
        if order is None or order is False:
            return None
        if order is True:
            return graph.chain(np.arange(rows))
        if isinstance(order, str):
            if not is_frame(X) or order not in list(X.columns):
                raise InputError(
                    f"row_order must name a column of X, got {order!r}: give a data frame that has "
                    "it, the times themselves, or True where the rows are in order."
                )
            order = X[order].to_numpy()  # type: ignore[index]
        times = order if sp.issparse(order) else as_array(order)
        if times.ndim == 2:
            return graph.given(times, rows, "row_order")
        if times.shape != (rows,):
            raise InputError(
                f"row_order must hold one time for each of the {rows} rows, got the shape "
                f"{times.shape}."
            )
        return graph.chain(times)

    def _judged(self, model: Model, held: HoldOut, *codes: np.ndarray) -> np.ndarray:
        network = whole(model)
        if self.refine != "off" and not self._ended:
            losses = model.fit.losses
            judge = self._judge(held, network, losses)
            with workers(self.threads) as pool:
                self._second_stage = choose(
                    network,
                    Cells.of(held.training, pool).cleaned(losses, network),
                    judge,
                    self._order,
                    center=self.center,
                    stop=lambda: self._report("refining", 1.0),
                )
            self.refinement_, network = self._second_stage.settings, self._second_stage.completed
            if losses is not None:
                network = losses.within(network)
            self._errors = judge.sizes(network)
        return network[held.rows, held.cols]

    def _judge(self, held: HoldOut, network: np.ndarray, own: Losses | None) -> HeldOut:
        """The held-out cells, without outliers of their ``own`` losses; with those of labels."""
        losses = {j: partial(self._label_loss, held, j) for j in self._laws}
        owner = self._indicators.owner
        values = held.values
        if own is not None:
            values = own.judged(values, network[held.rows, held.cols], held.cols)
        cells = held.rows, held.cols, values
        return HeldOut(*cells, owner, losses, self._column_noise)

    def _label_loss(self, held: HoldOut, j: int, predicted: np.ndarray) -> float:
        guess, truth = category_cells(j, held, predicted, self._indicators, self._scaler)
        if not len(truth):
            return 0.0
        return self._start(j, held).calibrated(guess, truth).log_loss(guess, truth)

    def _start(self, j: int, held: HoldOut) -> LabelLaw:
        """The law of a category before its held-out cells are looked at."""
        sums = self._scaler.means * held.training.by_col.counts
        return LabelLaw.start(self._indicators.label_counts(j, sums, held.training.by_col.counts))

    def _refine_all(self) -> None:
        """Fit the field that was chosen to all entries."""
        self._refined = None
        seen = self.model_.seen
        if self.refinement_.share > 0 and seen is not None:
            network = whole(self._as_predicted(self.model_))
            with workers(self.threads) as pool:
                self._refined = RefinedRows.of(
                    network,
                    Cells.of(seen, pool).cleaned(self.model_.fit.losses, network),
                    self._order,
                    self._second_stage,
                    self._errors,
                    center=self.center,
                )

    # On disk

    def _dump_field(self, meta: Meta, arrays: Arrays) -> None:
        meta["refinement"] = asdict(self.refinement_)
        check_arrays(_SETTINGS, meta["refinement"])
        if self._refined is None:
            return
        rows, found = self._refined, self._refined.neighbours
        own: Arrays = {"shares": rows.shares, "errors": rows.errors, "F": rows.F}
        own |= {"keys": rows.keys, "starts": rows.graph.indptr.astype(np.uint32)}
        own |= {"nearby": rows.graph.indices.astype(np.uint32), "weights": rows.graph.data}
        own |= asdict(rows.law.covariance) | {"parts": rows.law.parts}
        check_arrays(_FIELD, own, self.model_.sizes)
        if rows.lines is not None:
            along: Arrays = asdict(rows.lines) | {"line_shares": rows.line_shares}
            check_arrays(_LINES, along, self.model_.sizes)
            own |= along
        if found is not None:
            near: Arrays = {"points": found.points, "lengths": found.lengths}
            check_arrays(_NEIGHBOURS, near, self.model_.sizes)
            meta["neighbours"] = {"unit": found.unit}
            own |= near
        arrays |= named(own, "field.")

    def _restore_field(self, meta: Meta, arrays: Arrays) -> None:
        settings = take_part(meta, "refinement")
        found = self.refinement_ = Refinement(**take(_SETTINGS, settings))
        check_nothing_left(settings)
        if found.graph not in GRAPHS or not math.isfinite(found.noise):
            raise InputError("the graph of the refinement is none that there is.")
        self._refined, neighbours = None, None
        if not found.share:
            if found.lines:
                raise InputError("lines without a share of the field are none that there are.")
            return
        group = take_group(arrays, "field.")
        if "neighbours" in found.graph:
            near = take(_NEIGHBOURS, group, self.model_.sizes)
            unit = take_part(meta, "neighbours")
            neighbours = graph.Neighbours(**near, **take(_UNIT, unit))
            check_nothing_left(unit)
        own = take(_FIELD, group, self.model_.sizes)
        lines, line_shares = None, np.zeros((2, len(own["mean"])))
        if found.lines:
            along = take(_LINES, group, self.model_.sizes)
            line_shares = along.pop("line_shares")
            lines = Lines(**along)
            if not np.array_equal(np.isnan(lines.straight), np.isnan(lines.curved)):
                raise InputError("straight and curved must hold lines for the same cells.")
            _check_mean("lines", found.lines, whole_shares(line_shares))
        check_nothing_left(group)
        _check_mean("share", found.share, own["shares"])
        covariance = ColumnCovariance(*(own[name] for name in ("mean", "root", "own")))
        law = GaussianField(covariance, found.correlation, found.noise, own["parts"])
        edges = graph.stored(own["weights"], own["nearby"], own["starts"])
        how = own["shares"], own["errors"], law, own["F"], edges, own["keys"], neighbours
        self._refined = RefinedRows(found, *how, lines, line_shares)


def _check_mean(name: str, mean: float, shares: np.ndarray) -> None:
    if not math.isclose(mean, shares.mean(), rel_tol=1e-9, abs_tol=1e-12):
        raise InputError(f"{name} must be the mean of the shares of the columns.")
