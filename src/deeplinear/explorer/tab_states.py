"""What the tabs beside the laboratory show, and their places in the page's address."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from ..errors import InputError
from . import addresses
from .addresses import floats, one_of, short_text, switch

TABS = {
    "laboratory": "2×2 laboratory",
    "matrix": "Depth on your matrix",
    "experiments": "Experiments",
}
UPLOAD = "upload"
#: Bundled data by the name that addresses have: the title, and whether it is a list of entries.
BUNDLED = {
    "sea": ("Sea surface temperatures, 61 years × 12 months", False),
    "iris": ("Iris flowers: numbers, a species, and a column of text", False),
    "photograph": ("A photograph with 60 % of its pixels removed", False),
    "digits": ("Handwritten digits with half of their pixels removed", False),
    "ratings": ("Ratings of 80 films by 120 people (simulated)", True),
}
KINDS = {"table": "Table or image", "ratings": "List of entries (ratings)"}
METHODS = {"explicit": "weight decay (explicit)", "implicit": "small start, early stop (implicit)"}
FADES = {"auto": "faded in tables", "on": "faded", "off": "as it is"}
FIT_DEPTHS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, math.inf)
MOST_DEPTHS = 4


@dataclasses.dataclass(frozen=True)
class TabState:
    """Which tab is open.

    >>> TabState.from_query("?tab=matrix&depth=5")[0].tab
    'matrix'
    """

    tab: str = "laboratory"

    def __post_init__(self) -> None:
        one_of("tab", self.tab, TABS)

    def to_query(self) -> str:
        """See `addresses.to_query`."""
        return addresses.to_query(self)

    @classmethod
    def from_query(cls, query: str) -> "tuple[TabState, list[str]]":
        """See `addresses.from_query`."""
        return addresses.from_query(cls(), {"tab": str}, query)


@dataclasses.dataclass(frozen=True)
class MatrixState:
    """What "Depth on your matrix" shows.

    - ``data``: the name of a bundled one, or "upload"; ``kind``: of an upload "table" or "ratings";
      ``missing``: its markers of missing cells, ``keep``: columns that are carried through, each
      between commas.
    - ``depths``: one to four of `FIT_DEPTHS`; ``method``: one of `METHODS`; ``fitseed``.
    - ``fitted``: whether the fit is shown; ``fade``: one of `FADES`, what was observed.
    - ``user``, ``top``: of ratings, for whom the best are listed and how many.

    **Raises** `InputError` for a value out of range.

    >>> MatrixState(data="photograph", depths=(2.0, math.inf)).to_query()
    '?data=photograph&depths=2,inf'
    """

    data: str = "sea"
    kind: str = "table"
    missing: str = ""
    keep: str = ""
    depths: tuple[float, ...] = (2.0, 3.0, math.inf)
    method: str = "explicit"
    fitseed: int = 0
    fitted: bool = False
    fade: str = "auto"
    user: str = ""
    top: int = 5

    def __post_init__(self) -> None:
        one_of("data", self.data, (*BUNDLED, UPLOAD))
        one_of("kind", self.kind, KINDS)
        one_of("method", self.method, METHODS)
        one_of("fade", self.fade, FADES)
        short_text("missing", self.missing, 80)
        short_text("keep", self.keep, 200)
        short_text("user", self.user, 80)
        for depth in self.depths:
            one_of("depths", depth, FIT_DEPTHS)
        if not 1 <= len(self.depths) <= MOST_DEPTHS or self.depths != tuple(
            sorted(set(self.depths))
        ):
            raise InputError(
                f"depths must be one to {MOST_DEPTHS}, each once, the smaller first, got "
                f"{self.depths!r}."
            )
        if not 0 <= self.fitseed < 2**31:
            raise InputError(f"fitseed must be from 0 to 2³¹ − 1, got {self.fitseed!r}.")
        if not 1 <= self.top <= 20:
            raise InputError(f"top must be from 1 to 20, got {self.top!r}.")

    @property
    def is_long(self) -> bool:
        """Whether the data are a list of entries."""
        if self.data == UPLOAD:
            return self.kind == "ratings"
        return BUNDLED[self.data][1]

    def to_query(self) -> str:
        """See `addresses.to_query`."""
        return addresses.to_query(self)

    @classmethod
    def from_query(cls, query: str) -> "tuple[MatrixState, list[str]]":
        """See `addresses.from_query`."""
        return addresses.from_query(cls(), _MATRIX, query)


@dataclasses.dataclass(frozen=True)
class ExperimentsState:
    """What "Experiments" shows: the ``experiment`` to run and its ``runseed``; the stored run that
    is shown ``first``, and the ``second`` beside it, by their names.

    >>> ExperimentsState.from_query("?first=cmv_fig4")[0].first
    'cmv_fig4'
    """

    experiment: str = ""
    runseed: int = 0
    first: str = ""
    second: str = ""

    def __post_init__(self) -> None:
        for name in ("experiment", "first", "second"):
            short_text(name, getattr(self, name), 120)
        if not 0 <= self.runseed < 2**31:
            raise InputError(f"runseed must be from 0 to 2³¹ − 1, got {self.runseed!r}.")

    def to_query(self) -> str:
        """See `addresses.to_query`."""
        return addresses.to_query(self)

    @classmethod
    def from_query(cls, query: str) -> "tuple[ExperimentsState, list[str]]":
        """See `addresses.from_query`."""
        return addresses.from_query(cls(), _EXPERIMENTS, query)


_MATRIX: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("data", "kind", "missing", "keep", "method", "fade", "user"), str),
    "depths": floats,
    **dict.fromkeys(("fitseed", "top"), int),
    "fitted": switch,
}
_EXPERIMENTS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("experiment", "first", "second"), str),
    "runseed": int,
}
