"""Rows and columns that a fit has no entry of, as their features predict them."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_matrix

from ...errors import InputError
from ..data.ids import Ids, IdVector
from ..data.observations import Observations
from ..data.side_features import Encoder, Features, keyed
from ..file_format import Arrays, Meta, named, take_group
from ..posterior.conformal import Calibration
from ..schema import (
    BYTES,
    NUMBER,
    REAL,
    WHOLE,
    Field,
    Schema,
    check_arrays,
    check_nothing_left,
    take,
    take_part,
)
from ..solver.side_choice import KINDS, SideScores
from ..solver.side_information import Loadings
from .predictor import Model

SIDES = ("row", "column")
_ENOUGH = 100  # errors from which on a kind of cold entries is calibrated by itself
_LINES: Schema = {
    "ids": Field(BYTES, (None,)),
    "encoder": Field(BYTES, (None,)),
    "lines": Field(REAL, ("cold", "r+1")),
    "centre": Field(REAL, ("r+1",)),
    "slopes": Field(REAL, ("f", "r+1")),
    "average": Field(REAL, ("r+1",)),
}
_SCORES: Schema = {kind: Field(REAL, (None,), least=0) for kind in KINDS}
_SHARE: Schema = {"share": Field(NUMBER, least=0, most=1)}
_CHOICE: Schema = {
    "decay": Field(NUMBER, above=0),
    "tightness": Field(NUMBER, least=1),
    "sweeps": Field(WHOLE, least=0),
    "before": Field(NUMBER, least=0),
    "after": Field(NUMBER, least=0),
    "standard_error": Field(NUMBER, least=0),
}


@dataclass(frozen=True)
class ColdLines:
    """The lines (p_i, a_i) of ``ids`` that came with features and without entries, (cold, r+1).

    And how ids that come later get theirs: their features through the ``encoder``, then the
    ``loadings``, which go the part ``share`` of the way from the average line.
    """

    ids: Ids
    lines: np.ndarray
    encoder: Encoder
    loadings: Loadings
    share: float

    def __post_init__(self) -> None:
        slopes = self.loadings.slopes
        if len(self.lines) != self.ids.size or len(slopes) != self.encoder.size:
            raise InputError("the lines, ids and features of a side contradict each other.")

    @classmethod
    def of(
        cls, ids: IdVector, features: csr_matrix, encoder: Encoder, loadings: Loadings, share: float
    ) -> "ColdLines":
        """From the ``features`` of ``ids``, (ids, f)."""
        own, codes = Ids.of(ids, "ids")
        return cls(own, loadings.lines(features)[np.argsort(codes)], encoder, loadings, share)

    def replaced(self, given: Features, key: Hashable, name: str) -> "ColdLines":
        """The lines of the ids whose features are ``given``, encoded as in the fit."""
        ids, table = keyed(given, key, name)
        features = self.encoder.encode(table, name)
        return ColdLines.of(ids, features, self.encoder, self.loadings, self.share)

    def dump(self) -> tuple[Meta, Arrays]:
        arrays = {
            "ids": np.frombuffer(self.ids.to_bytes("ids"), np.uint8),
            "encoder": np.frombuffer(self.encoder.to_bytes(), np.uint8),
            "lines": self.lines,
            **vars(self.loadings),
        }
        check_arrays(_LINES, arrays)
        return {"share": self.share}, arrays

    @classmethod
    def restore(cls, meta: Meta, arrays: Arrays, rank: int) -> "ColdLines":
        """What `dump` gave, of a fit of this ``rank``. **Raises** `InputError` for the rest."""
        own = take(_LINES, arrays, {"r": rank})
        share = take(_SHARE, meta)["share"]
        check_nothing_left(meta, arrays)
        return cls(
            Ids.from_bytes(own["ids"].tobytes(), "ids"),
            own["lines"],
            Encoder.from_bytes(own["encoder"].tobytes(), "encoder"),
            Loadings(own["centre"], own["slopes"], own["average"]),
            share,
        )


@dataclass(frozen=True, kw_only=True)
class SideInformation(SideScores):
    """What became of the features: the cold lines of both sides, and how much features count.

    ``scores`` holds the sorted absolute errors of lines that were left out whole: of cold rows,
    cold columns, and both.
    """

    rows: ColdLines | None
    cols: ColdLines | None
    scores: tuple[np.ndarray, ...]

    @property
    def sides(self) -> tuple[ColdLines | None, ColdLines | None]:
        return self.rows, self.cols

    @property
    def shares(self) -> tuple[float, float]:
        """How far cold rows and columns go from the average line to where features point."""
        rows, cols = (0.0 if side is None else side.share for side in self.sides)
        return rows, cols

    @cached_property
    def calibrations(self) -> list[Calibration]:
        """Those of the kinds of `KINDS`; of a kind that is rare, of all together."""
        every = np.concatenate(self.scores)
        own = [x if len(x) >= _ENOUGH else every for x in self.scores]
        return [Calibration.of(x, np.ones(len(x))) for x in own]

    def dump(self, meta: Meta, arrays: Arrays) -> None:
        """Add this to the header and the arrays of a model file."""
        choice = {name: getattr(self, name) for name in _CHOICE}
        check_arrays(_CHOICE, choice)
        scores = dict(zip(KINDS, self.scores, strict=True))
        check_arrays(_SCORES, scores)
        arrays |= named(scores, "cold.")
        for name, side in zip(SIDES, self.sides, strict=True):
            if side is not None:
                choice[name], own = side.dump()
                arrays |= named(own, f"cold {name}.")
        meta["features"] = choice

    @classmethod
    def restore(cls, meta: Meta, arrays: Arrays, rank: int) -> "SideInformation":
        """What `dump` added, taken out of both. **Raises** `InputError` for anything else."""
        given = take_part(meta, "features")
        stored = take_group(arrays, "cold.")
        scores = take(_SCORES, stored)
        sides = {}
        for name in SIDES:
            own = take_group(arrays, f"cold {name}.")
            sides[name] = ColdLines.restore(take_part(given, name), own, rank) if own else None
        choice = take(_CHOICE, given)
        check_nothing_left(given, stored)
        rows, cols = sides.values()
        return cls(rows=rows, cols=cols, scores=tuple(scores.values()), **choice)


def widened(model: Model, cold: tuple[ColdLines | None, ColdLines | None]) -> Model:
    """``model``, a fit without draws, with the cold lines as lines of its own.

    Where features have no share these are the average line, as without features.
    """
    rows, cols = (side if side is not None and side.share else None for side in cold)
    if rows is not None and rows.ids.size:
        ids, counts, places = _with_ids(model.row_ids, model.row_counts, rows)
        left, scale = _side(model.left, places, rows), _ones(model.fit.row_scale, ids)
        fit = replace(model.fit, left=left[0, :-1, :-1], row_bias=left[0, :-1, -1], row_scale=scale)
        seen = None if model.seen is None else _taller(model.seen, ids.size)
        model = replace(model, fit=fit, left=left, row_ids=ids, row_counts=counts, seen=seen)
    if cols is not None and cols.ids.size:
        ids, counts, places = _with_ids(model.col_ids, model.col_counts, cols)
        right, scale = _side(model.right, places, cols), _ones(model.fit.col_scale, ids)
        fit = replace(
            model.fit, right=right[0, :-1, :-1], col_bias=right[0, :-1, -1], col_scale=scale
        )
        seen = None if model.seen is None else _taller(model.seen.T, ids.size).T
        model = replace(model, fit=fit, right=right, col_ids=ids, col_counts=counts, seen=seen)
    return model


def _with_ids(
    known: Ids, counts: np.ndarray, cold: ColdLines
) -> tuple[Ids, np.ndarray, np.ndarray]:
    """(all ids, their counts of entries, 1 for cold ones, and the places of the cold ones).

    An id with entries keeps them: its place is −1.
    """
    ids, codes = known.extended(cold.ids.labels, "ids")
    all_counts = np.pad(counts, (0, ids.size - len(counts)))
    own = all_counts[codes] > 0
    places = np.where(own, -1, codes)
    all_counts[places[~own]] = 1
    return ids, all_counts, places


def _side(lines: np.ndarray, places: np.ndarray, cold: ColdLines) -> np.ndarray:
    """The lines of a side with the cold ones at their ``places``, and the average behind."""
    size = max(lines.shape[1] - 1, int(places.max(initial=-1)) + 1)
    out = np.empty((1, size + 1, lines.shape[2]), lines.dtype)
    out[:, : lines.shape[1] - 1], out[:, -1] = lines[:, :-1], lines[:, -1]
    new = places >= 0
    out[0, places[new]] = cold.lines[new]
    return out


def _ones(scale: np.ndarray, ids: Ids) -> np.ndarray:
    return np.pad(scale, (0, ids.size - len(scale)), constant_values=1.0)


def _taller(seen: Observations, rows: int) -> Observations:
    """The same entries in a matrix of so many rows."""
    lines, more = seen.by_row, rows - seen.shape[0]
    indptr = np.pad(lines.indptr, (0, more), mode="edge")
    return Observations(replace(lines, indptr=indptr), seen.by_col, (rows, seen.shape[1]))
