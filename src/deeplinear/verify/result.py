"""What a check returns."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..extras import needed_by

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Check:
    """The result of a check: true where it ``passed``.

    ``summary`` is one sentence, ``figures`` holds the numbers behind it.

    >>> check = Check("balance", True, {"imbalance": 1e-16}, "The factors are balanced.")
    >>> bool(check), str(check)
    (True, 'passed  balance: The factors are balanced.')
    """

    name: str
    passed: bool
    figures: Mapping[str, Any]
    summary: str

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        return f"{'passed' if self.passed else 'FAILED'}  {self.name}: {self.summary}"


@dataclasses.dataclass(frozen=True, repr=False)
class Checks:
    """Several checks: true where all passed; a table as text.

    Iteration gives the `Check` objects, and an index by name one of them.
    """

    results: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether all passed."""
        return all(self.results)

    def __bool__(self) -> bool:
        return self.passed

    def __iter__(self) -> Iterator[Check]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, name: str) -> Check:
        return {check.name: check for check in self.results}[name]

    def to_frame(self) -> "pd.DataFrame":
        """A frame of pandas, a line for each check. **Raises** `InputError` without pandas."""
        with needed_by("frames"):
            import pandas
        names = ("name", "passed", "summary")
        return pandas.DataFrame({name: [getattr(x, name) for x in self] for name in names})

    def __repr__(self) -> str:
        failed = [check.name for check in self.results if not check]
        count = f"{len(self) - len(failed)} of {len(self)} passed"
        return f"Checks({count}{'; failed: ' * bool(failed)}{', '.join(failed)})"

    def __str__(self) -> str:
        count = sum(map(bool, self.results))
        return "\n".join(
            [*map(str, self.results), f"{count} of {len(self.results)} checks passed."]
        )


def tolerance(tol: float | None, dtype: DTypeLike, default: float) -> float:
    """``tol``, or where it is None the default for 64 bits, or its counterpart for 32 bits."""
    if tol is not None:
        return tol
    return default if np.dtype(dtype) == np.float64 else 3 * math.sqrt(default)


def within(
    name: str, errors: Mapping[str, SupportsFloat], tol: float, what: str, **more: ArrayLike
) -> Check:
    """The check that every one of ``errors`` is at most ``tol`` (NaN is not).

    The summary says that ``what`` holds, or does not, and names the largest error; ``more`` goes
    to the figures.
    """
    deviations = {key: float(value) for key, value in errors.items()}
    # NaN compares false with everything: it counts as the largest
    worst = max(deviations, key=lambda k: math.inf if np.isnan(deviations[k]) else deviations[k])
    passed = deviations[worst] <= tol
    text = (
        f"{what} {'hold' if passed else 'do not hold'} to {tol:.0e}; the largest deviation is "
        f"{deviations[worst]:.1e} ({worst})."
    )
    return Check(name, passed, {**deviations, **more, "tol": tol}, text)
