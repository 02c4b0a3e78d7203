"""What a picture of the laboratory shows, and its place in the page's address."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from ..errors import InputError
from . import addresses
from .addresses import floats, one_of

#: The entries of W, by row and column, as addresses name them.
ENTRIES = ("11", "12", "21", "22")
DEPTHS = (*(float(depth) for depth in range(1, 51)), math.inf)
DELTAS = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
SCALES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
RUNS = (100, 300, 1000, 3000)
BETAS = (math.inf, 1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
DECAYS = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)
STEPS = (0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0)
MAPS = ("volume", "stratum", "entropy", "energy", "free")
REACHES = (0.8, 1.6, 3.0, 8.0, 30.0, 80.0)
THEMES = ("light", "dark")
#: Absolute values that observed entries and clicked starts may have.
LARGEST = 100.0


@dataclasses.dataclass(frozen=True)
class State:
    """All that a picture depends on.

    - ``observed``: the names of the entries that are observed, two or three of "11", "12", "21",
      "22"; ``values``: what all four would be observed as, in that order.
    - ``depth``; ``delta``: δ of the leaf c_p = (p − 1)δ; ``scale``: standard deviation of the
      entries of the starts; ``runs``: how many; ``seed``.
    - ``beta``: β of the Langevin noise, ∞ for none; ``decay``: λ of the factors' weight decay;
      ``step``: η of gradient descent on the factors, 0 for the flow.
    - ``map``: the function under the points; ``reach``: half the width of the plane.
    - ``click``: the place (x, y) in the plane where the followed run starts, or None: the first
      random start; ``frame``: how much of the time is shown, in per cent.
    - ``preset``: the name of the preset this came from, "" for none; ``theme``.

    **Raises** `InputError` for a value out of range.

    >>> State(depth=math.inf, runs=300).to_query()
    '?depth=inf&runs=300'
    >>> State.from_query("?depth=inf&runs=300")[0] == State(depth=math.inf, runs=300)
    True
    """

    observed: tuple[str, ...] = ("11", "22")
    values: tuple[float, ...] = (0.92, 0.92, 0.92, 0.92)
    depth: float = 3.0
    delta: float = 0.0
    scale: float = 1e-3
    runs: int = 1000
    seed: int = 0
    beta: float = math.inf
    decay: float = 0.0
    step: float = 0.0
    map: str = "volume"
    reach: float = 1.6
    click: tuple[float, float] | None = None
    frame: int = 100
    preset: str = ""
    theme: str = "light"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            one_of(name, getattr(self, name), choices)
        if len(self.observed) not in (2, 3) or not set(self.observed) < set(ENTRIES):
            raise InputError(
                f"observed must be two or three of {', '.join(ENTRIES)}, got {self.observed!r}."
            )
        if self.observed != tuple(sorted(set(self.observed))):
            raise InputError(f"observed must be in order, each once, got {self.observed!r}.")
        _numbers("values", self.values, 4)
        if self.click is not None:
            _numbers("click", self.click, 2)
        if not 0 <= self.frame <= 100:
            raise InputError(f"frame must be from 0 to 100, got {self.frame!r}.")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"seed must be an integer from 0 to 2³¹ − 1, got {self.seed!r}.")
        if len(self.preset) > 40:
            raise InputError("preset must be the name of a preset.")

    @property
    def plane(self) -> tuple[str, str]:
        """The two entries of the plane, across and up: those that are free; beside one free entry
        the opposite one, whose product with it is in det W.
        """
        free = [name for name in ENTRIES if name not in self.observed]
        if len(free) == 1:
            free.append(ENTRIES[3 - ENTRIES.index(free[0])])
        return free[0], free[1]

    def to_query(self) -> str:
        """The address's query: what differs from the defaults, "" for nothing."""
        return addresses.to_query(self)

    @classmethod
    def from_query(cls, query: str) -> "tuple[State, list[str]]":
        """(the state of an address, a sentence for each part of it that cannot be read).

        Parts that cannot be read keep their defaults, names of others are left alone.

        >>> State.from_query("?depth=-1&runs=300")[1]
        ['depth must be one of 1, 2, … 50, inf, got -1.0.']
        """
        return addresses.from_query(cls(), _READERS, query)


def _numbers(name: str, values: tuple[float, ...], count: int) -> None:
    if len(values) != count or not all(abs(value) <= LARGEST for value in values):
        raise InputError(f"{name} must be {count} numbers of at most {LARGEST:g}, got {values!r}.")


_CHOICES: dict[str, tuple] = {
    "depth": DEPTHS,
    "delta": DELTAS,
    "scale": SCALES,
    "runs": RUNS,
    "beta": BETAS,
    "decay": DECAYS,
    "step": STEPS,
    "map": MAPS,
    "reach": REACHES,
    "theme": THEMES,
}
_READERS: dict[str, Callable[[str], Any]] = {
    "observed": lambda text: tuple(text.split(",")),
    "values": floats,
    "click": floats,
    **dict.fromkeys(("depth", "delta", "scale", "beta", "decay", "step", "reach"), float),
    **dict.fromkeys(("runs", "seed", "frame"), int),
    **dict.fromkeys(("map", "preset", "theme"), str),
}
