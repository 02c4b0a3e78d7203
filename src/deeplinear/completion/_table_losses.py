"""The losses of the columns of a table."""

from collections.abc import Hashable

import numpy as np

from ..errors import InputError
from ._losses import loss_of
from ._table_io import Entries
from ._table_predictions import TablePredictions
from .data.features import FeatureKind
from .solver.pilot import check_entries


class TableLosses(TablePredictions):
    """Which loss each column has."""

    def _loss_by_feature(self) -> list[str]:
        """The name of the loss of each fitted feature; categories have the squared one."""
        features, given = self._layout.features, loss_of(self.loss)
        keys: list[Hashable] = list(self._keyed(features))
        is_number = [feature.kind is not FeatureKind.category for feature in features]
        if None in given:
            return [given[None] if number else "squared" for number in is_number]
        unknown = [key for key in given if key not in keys]
        if unknown:
            raise InputError(
                f"loss must name fitted columns of X, got {unknown[0]!r}: leave it out, or give a "
                "name that X has."
            )
        for key, number in zip(keys, is_number, strict=True):
            if key in given and not number:
                raise InputError(
                    f"loss is not for the column {key!r}, whose labels have a law of their own: "
                    "leave it out."
                )
        return [str(given.get(key, "squared")) for key in keys]

    def _check_losses(self, read: Entries) -> None:
        """`InputError` for columns whose loss is not for what they hold."""
        names = self._loss_by_feature()
        for j, (key, name) in enumerate(zip(self._keyed(names), names, strict=True)):
            if name != "squared":
                values = read.values[read.observed[:, j], j]
                check_entries(name, values, f"the column {key!r}")

    def _loss_names(self) -> list[str]:
        names = self._loss_by_feature()
        return [names[j] for j in self._indicators.owner]

    def _with_loss(self, name: str) -> np.ndarray:
        """Which columns of the fit have the loss ``name``, a mask."""
        return np.array(self._loss_names()) == name
