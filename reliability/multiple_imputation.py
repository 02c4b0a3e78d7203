"""Whether intervals after multiple imputation cover as often as they say.

    python -m reliability.multiple_imputation [--tables 500] [--rows 200] [--draws 20] [--jobs 1]

Tables of five correlated normal columns in different units lose cells completely at random (30 % of
all), or at random given the last column (a third of the others, mostly where it is large). What is
estimated is a coefficient of the regression of the first column on the others, and the mean of the
second. Their 95 % intervals come from m posterior draws by Rubin's rules, and for comparison from
the table completed once, as if nothing had been missing, and from the table before any cell was
lost. Printed are the shares that contain the truth (of multiple imputation also without the luck
that the tables have before any cell is lost), the fraction of missing information ("lost"), and how
correlated the estimates of successive draws are. Ends with code 1 if multiple imputation covers,
luck apart, less than 93 % or more than 97 % (of fewer than 500 tables: by more than two standard
errors beyond), or if completing once does not cover less by four standard errors.
"""

import argparse
import math
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

import deeplinear as dl

COLUMNS, COVERAGE = 5, 0.95
BAND = 0.93, 0.97
MECHANISMS = "completely at random", "at random given a column"
QUANTITIES = "coefficient", "mean"
_UNITS, _MEANS = np.array([1, 10, 0.1, 3, 1]), np.array([1, 20, -0.3, 5, 0])


def covariance() -> np.ndarray:
    """That of the columns: generic, with the second and the last related (correlation 0.5)."""
    root = np.random.default_rng(2).normal(size=(COLUMNS, COLUMNS))
    return (root @ root.T / COLUMNS + 0.3 * np.eye(COLUMNS)) * np.outer(_UNITS, _UNITS)


def truth() -> np.ndarray:
    """(coefficient of the second column in the regression of the first, mean of the second)."""
    C = covariance()
    return np.array([np.linalg.solve(C[1:, 1:], C[1:, 0])[0], _MEANS[1]])


def table(rows: int, mechanism: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(complete, holed): a new table, and the same with cells missing by ``mechanism``."""
    rng = np.random.default_rng(seed)
    complete = rng.multivariate_normal(_MEANS, covariance(), rows)
    if mechanism == MECHANISMS[0]:
        hole = rng.random(complete.shape) < 0.3
    else:
        last = (complete[:, -1] - _MEANS[-1]) / math.sqrt(covariance()[-1, -1])
        hole = rng.random(complete.shape) < 1 / (1 + np.exp(1 - 1.2 * last))[:, None]
        hole[:, -1] = False
    hole[hole.all(axis=1), -1] = False  # no empty rows
    return complete, np.where(hole, np.nan, complete)


def analyse(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(estimates, their variances) of both quantities from a complete table: textbook formulas."""
    design = np.column_stack([np.ones(len(X)), X[:, 1:]])
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ X[:, 0]
    noise = np.sum((X[:, 0] - design @ coefficients) ** 2) / (len(X) - COLUMNS)
    means = X[:, 1].mean(), X[:, 1].var(ddof=1) / len(X)
    return np.array([coefficients[1], means[0]]), np.array([noise * inverse[1, 1], means[1]])


@dataclass(frozen=True)
class Trial:
    """Of one table, for both quantities: whether the truth was covered, by each way."""

    multiple: np.ndarray
    single: np.ndarray
    complete: np.ndarray
    missing_information: np.ndarray
    successive: np.ndarray  # correlation of the estimates of successive draws


def trial(seed: int, mechanism: str, rows: int = 200, draws: int = 20) -> Trial:
    """Lose cells, complete, analyse, pool."""
    complete, holed = table(rows, mechanism, seed)
    free = {"min_value": None, "max_value": None}  # normal columns have no bounds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        imputer = dl.DeepLinearImputer(random_state=seed, threads=1, **free).fit(holed)
        tables = imputer.draws(draws)
    estimates, variances = map(np.array, zip(*map(analyse, tables), strict=True))
    pooled = dl.pool(estimates, variances, complete_dof=rows - COLUMNS)
    centred = estimates - pooled.estimate
    successive = np.sum(centred[1:] * centred[:-1], axis=0) / np.sum(centred**2, axis=0)
    return Trial(
        _covers(*pooled.interval(COVERAGE)),
        _covers(*_interval(imputer.transform(holed))),
        _covers(*_interval(complete)),
        pooled.missing_information,
        successive,
    )


def _interval(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a table as if all of it had been observed: by Student's law, without any pooling."""
    estimate, variance = analyse(X)
    same = dl.pool([estimate] * 2, [variance] * 2, complete_dof=len(X) - COLUMNS)
    return same.interval(COVERAGE)


def _covers(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return (low <= truth()) & (truth() <= high)


def trials(mechanism: str, count: int, rows: int, draws: int, jobs: int = 1) -> list[Trial]:
    one = partial(trial, mechanism=mechanism, rows=rows, draws=draws)
    if jobs == 1:
        return list(map(one, range(count)))
    with ProcessPoolExecutor(jobs) as pool:
        return list(pool.map(one, range(count), chunksize=5))


def share(found: list[Trial], way: str) -> np.ndarray:
    """The share of trials that covered the truth, (2,)."""
    return np.mean([getattr(t, way) for t in found], axis=0)


def corrected(found: list[Trial]) -> np.ndarray:
    """The share of multiple imputation without the luck of these tables, (2,).

    Intervals from the tables before any cell was lost cover with probability 0.95 exactly; by as
    much as they do more or less often here, and as far as the two go together, the share is moved
    (a control variate).
    """
    ours, known = (
        np.array([getattr(t, way) for t in found], float) for way in ("multiple", "complete")
    )
    spread = known - known.mean(axis=0)
    slope = np.sum(spread * ours, axis=0) / np.maximum(np.sum(spread**2, axis=0), 1e-300)
    return ours.mean(axis=0) - slope * (known.mean(axis=0) - COVERAGE)


def standard_error(count: int) -> float:
    """Of a share of ``count`` trials that should be `COVERAGE`."""
    return math.sqrt(COVERAGE * (1 - COVERAGE) / count)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=500)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    error = standard_error(given.tables)
    slack = 0.0 if given.tables >= 500 else 2 * error
    print(
        f"{given.tables} tables of {given.rows} × {COLUMNS}, {given.draws} draws of each; ", end=""
    )
    print(f"standard error of a share {error:.3f}")
    print(
        "missing                    estimate     multiple  corrected  single  complete  lost  "
        "successive"
    )
    bad = False
    for mechanism in MECHANISMS:
        found = trials(mechanism, given.tables, given.rows, given.draws, given.jobs)
        shares = [share(found, way) for way in ("multiple", "single", "complete")]
        fair = corrected(found)
        lost = np.mean([t.missing_information for t in found], axis=0)
        successive = np.mean([t.successive for t in found], axis=0)
        for k, quantity in enumerate(QUANTITIES):
            multiple, single, complete = (x[k] for x in shares)
            fine = BAND[0] - slack <= fair[k] <= BAND[1] + slack and single < multiple - 4 * error
            bad |= not fine
            print(
                f"{mechanism:26} {quantity:11} {multiple:9.3f} {fair[k]:10.3f} {single:7.3f} "
                f"{complete:9.3f} {lost[k]:5.2f} {successive[k]:11.2f}{'' if fine else '  !'}",
                flush=True,
            )
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
