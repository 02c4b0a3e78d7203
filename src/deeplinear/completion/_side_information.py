"""The part of `DeepMatrixCompletion` that learns from features of rows and columns."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from ..errors import InputError
from ._training import CompletionEstimator
from .data.ids import Ids
from .data.observations import Observations
from .data.side_features import Encoder, Features, keyed
from .file_format import Arrays, Meta
from .model.cold_lines import ColdLines, SideInformation, widened
from .model.predictor import Model
from .solver.fit import LowRankFit
from .solver.selection import HoldOut
from .solver.side_choice import SideChoice, SideScores, choose_sides
from .solver.side_information import Side, Sides, balanced, informed, lines_of, loadings_of

NAMES = ("row_features", "col_features")


@dataclass(frozen=True)
class _Given:
    """The features of one side: ids, their encoded features, and the encoder."""

    ids: np.ndarray
    features: csr_matrix
    encoder: Encoder

    def side(self, lines: Ids, counts: np.ndarray) -> Side:
        """The features in the order of the lines of a fit, of those with entries."""
        codes = lines.codes(self.ids, "features")
        there = np.flatnonzero(codes >= 0)
        place = csr_matrix(
            (np.ones(len(there)), (codes[there], there)), (lines.size, len(self.ids))
        )
        have = np.zeros(lines.size, bool)
        have[codes[there]] = True
        return Side(csr_matrix(place @ self.features), have & (counts > 0))

    def cold(self, lines: Ids, counts: np.ndarray) -> np.ndarray:
        """Which of the ids have no entries."""
        codes = lines.codes(self.ids, "features")
        return (codes < 0) | (counts[codes] == 0)


class LearnsFromFeatures(CompletionEstimator):
    """Features as prior means of rows and columns, and the lines of ids without entries."""

    columns: Sequence[str]
    _line_ids: tuple[Ids, Ids]
    #: What became of ``row_features`` and ``col_features``; None without any.
    features_: SideInformation | None = None
    _given: tuple[_Given | None, _Given | None] = (None, None)
    _choice_of_sides: SideChoice | None = None

    def _give(self, row_features: Features, col_features: Features) -> None:
        """Read the features of a fit, before it; `InputError` where they cannot be used."""
        self.features_ = self._choice_of_sides = None
        given = row_features, col_features
        if all(x is None for x in given):
            self._given = (None, None)
            return
        name = NAMES[0] if row_features is not None else NAMES[1]
        for wrong, what in (
            (self.n_draws, "n_draws=0"),
            (self._is_implicit, 'regularization="explicit"'),
            (self._has_losses, 'loss="squared"'),
            (not self.validation_fraction, "validation_fraction > 0, where they are judged"),
        ):
            if wrong:
                raise InputError(f"{name} needs {what}: change that, or leave the features out.")
        read: list[_Given | None] = []
        for features, key, name in zip(given, self.columns, NAMES, strict=False):
            if features is None:
                read.append(None)
                continue
            ids, table = keyed(features, key, name)
            encoder = Encoder.of(table, name)
            read.append(_Given(ids, encoder.encode(table, name), encoder))
        self._given = read[0], read[1]

    def _sides(self, seen: Observations) -> Sides:
        lines = ((self._line_ids[0], seen.by_row), (self._line_ids[1], seen.by_col))
        rows, cols = (
            None if given is None else given.side(ids, own.counts)
            for given, (ids, own) in zip(self._given, lines, strict=True)
        )
        return rows, cols

    # What `CompletionEstimator` asks for

    def _informed_choice(self, held: HoldOut, fit: LowRankFit, seed: int) -> LowRankFit:
        sides = self._sides(held.training)
        if sides == (None, None):
            return fit
        for side, ids, name in zip(sides, self._line_ids, NAMES, strict=True):
            if side is not None and not side.have.any():
                raise InputError(
                    f"{name} names no id that has entries, as {ids.label(0)!r}: give the ids of "
                    "the entries."
                )
        where: dict[str, Any] = {"threads": self.threads, "device": self.device}
        self._choice_of_sides, informed_fit = choose_sides(fit, held, sides, seed, **where)
        return informed_fit

    def _informed(self, fit: LowRankFit, seen: Observations) -> LowRankFit:
        choice = self._choice_of_sides
        if choice is None:
            return fit
        sides = self._sides(seen)
        if choice.sweeps:
            course = informed(
                fit,
                seen,
                sides,
                choice.decay,
                choice.tightness,
                threads=self.threads,
                device=self.device,
            )
            fit = balanced(next(islice(course, choice.sweeps - 1, None)), seen)
        cold: list[ColdLines | None] = []
        for k, (own, entries) in enumerate(((fit, seen), (fit.T, seen.T))):
            given, side = self._given[k], sides[k]
            if given is None or side is None:
                cold.append(None)
                continue
            decay, share = choice.cold_decays[k], choice.shares[k]
            loadings = loadings_of(own, entries, side, decay)
            known = entries.by_row.counts
            average = lines_of(own)[known > 0].mean(axis=0, dtype=float)
            new, towards = given.cold(self._line_ids[k], known), loadings.towards(average, share)
            lines = given.ids[new], given.features[new], given.encoder, towards, share
            cold.append(ColdLines.of(*lines))
        scores = tuple(np.sort(np.abs(errors)).astype(float) for errors in choice.errors)
        numbers: dict[str, Any] = {
            one.name: getattr(choice, one.name) for one in fields(SideScores)
        }
        self.features_ = SideInformation(rows=cold[0], cols=cold[1], scores=scores, **numbers)
        return fit

    # After the fit

    def _widened(self, row_features: Features = None, col_features: Features = None) -> Model:
        """The model with the lines of ids that have features and no entries."""
        if self.features_ is None and row_features is None and col_features is None:
            return self.model_
        known = (None, None) if self.features_ is None else self.features_.sides
        cold = []
        given = row_features, col_features
        for own, features, key, name in zip(known, given, self.columns, NAMES, strict=False):
            if features is not None and own is None:
                raise InputError(f"{name} must be left out, for the fit had none.")
            later = own is not None and features is not None
            cold.append(own.replaced(features, key, name) if own is not None and later else own)
        return widened(self.model_, (cold[0], cold[1]))

    def _kinds(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Which entry has a line from features: the position in `KINDS`, or −1.

        The average line beside one from features counts as cold.
        """
        counts = self.model_.row_counts, self.model_.col_counts
        is_row, is_col = (_is_cold(*side) for side in zip((rows, cols), counts, strict=True))
        both = (is_row | is_col) & (is_row | (rows < 0)) & (is_col | (cols < 0))
        return np.select([both, is_row, is_col], [2, 0, 1], -1)

    def _reach(
        self, deviation: np.ndarray, kinds: np.ndarray, coverage: float | None
    ) -> np.ndarray:
        """Half the width of intervals, or without ``coverage`` calibrated deviations.

        Those of lines from features are the errors of lines that were held out whole.
        """
        model = self.model_
        if coverage is None:
            out = deviation * model.calibration.sizes
        else:
            out = model.reach(deviation, coverage)
        if self.features_ is not None:
            for kind in np.unique(kinds[kinds >= 0]):
                own = self.features_.calibrations[kind]
                out[kinds == kind] = own.sizes[0] if coverage is None else own.factor(coverage)
        return out

    def _refuse_features(self, what: str) -> None:
        if self.features_ is not None:
            raise InputError(
                f"{what} needs a fit without features, got one with them: fit again without them."
            )

    # On disk

    def _dump_more(self, meta: Meta, arrays: Arrays) -> None:
        if self.features_ is not None:
            self.features_.dump(meta, arrays)

    def _restore_more(self, meta: Meta, arrays: Arrays) -> None:
        self.features_ = None
        if "features" in meta:
            self.features_ = SideInformation.restore(meta, arrays, self.model_.fit.rank)
            for side, ids in zip(
                self.features_.sides, (self.model_.row_ids, self.model_.col_ids), strict=True
            ):
                if side is not None:
                    ids.codes(side.ids.labels, "ids")  # of a matrix: none may lie outside
            if self.model_.draws > 1 or self.model_.is_folded:
                raise InputError("features belong to a fit without draws or folded rows.")


def _is_cold(codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether lines of a widened model have no entries; that of −1, the average line, is none."""
    every = np.pad(counts, (0, int(codes.max(initial=-1)) + 1))
    return (codes >= 0) & (every[codes] == 0)
