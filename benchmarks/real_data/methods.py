"""One function per method: (task, settings) → the values of the cells asked for.

METHODS says to what each applies and which settings are tried on validation cells. This module runs
in the process of a method, perhaps in an environment without deeplinear: only NumPy is imported
before a method is asked for.
"""

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Task:
    """A table with cells to be filled in.

    ``values`` are those of the table (NaN where missing), ``labels`` the number of labels of each
    column (0: numbers). ``matrix`` is the same for methods that know numbers only: numbers in
    standard deviations about their mean, an indicator for each label. ``rows`` and ``cols`` are the
    cells asked for, in ``values`` for ours, in ``matrix`` for others.
    """

    values: np.ndarray
    labels: np.ndarray
    matrix: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    ordered: bool
    period: int
    ratings: bool
    seed: int

    @property
    def triples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows, cols = np.nonzero(~np.isnan(self.matrix))
        return rows, cols, self.matrix[rows, cols]


def ours(task: Task, **options) -> np.ndarray:
    """deeplinear as it is by default, with the order of the rows where they have one."""
    import deeplinear as dl

    if task.ratings:
        rows, cols = np.nonzero(~np.isnan(task.values))
        model = dl.DeepMatrixCompletion(random_state=task.seed, **options)
        model.fit((rows, cols, task.values[rows, cols]))
        return model.predict(task.rows, task.cols)
    if task.ordered:
        options = {"row_order": True} | options
    features = tuple(
        dl.Feature(str(j), dl.FeatureKind.category, tuple(range(count)))
        if count
        else dl.Feature(str(j))
        for j, count in enumerate(task.labels.tolist())
    )
    imputer = dl.DeepLinearImputer(random_state=task.seed, **options)
    filled = imputer.fit_transform(dl.CodedTable(task.values, features))
    return np.asarray(filled)[task.rows, task.cols]


def means(task: Task) -> np.ndarray:
    seen = ~np.isnan(task.matrix)
    total, count = np.where(seen, task.matrix, 0).sum(axis=0), seen.sum(axis=0)
    return (total / np.maximum(count, 1))[task.cols]  # 0, the mean of all, for an empty column


def knn(task: Task, k: int, weights: str) -> np.ndarray:
    from sklearn.impute import KNNImputer

    imputer = KNNImputer(n_neighbors=k, weights=weights, keep_empty_features=True)
    return imputer.fit_transform(task.matrix)[task.rows, task.cols]


def _iterative(matrix: np.ndarray, task: Task, estimator=None, **options) -> np.ndarray:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    nearest = options.pop("nearest", None)
    if nearest is not None and nearest < matrix.shape[1]:
        options["n_nearest_features"] = nearest
    imputer = IterativeImputer(
        estimator, random_state=task.seed, keep_empty_features=True, **options
    )
    return imputer.fit_transform(matrix)[task.rows, task.cols]


def bayesian_ridge(task: Task, nearest: int | None, rounds: int) -> np.ndarray:
    return _iterative(task.matrix, task, nearest=nearest, max_iter=rounds)


def boosted_trees(task: Task, trees: int, nearest: int | None) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingRegressor

    trees = HistGradientBoostingRegressor(max_iter=trees, random_state=task.seed)
    return _iterative(task.matrix, task, trees, nearest=nearest, max_iter=3)


def lightgbm_chain(task: Task, trees: int) -> np.ndarray:
    import miceforest
    import pandas as pd

    frame = pd.DataFrame(task.matrix, columns=[f"c{j}" for j in range(task.matrix.shape[1])])
    kernel = miceforest.ImputationKernel(
        frame, num_datasets=1, mean_match_candidates=0, random_state=task.seed
    )
    kernel.mice(3, num_iterations=trees, num_threads=1, verbose=False, min_data_in_leaf=5)
    return kernel.complete_data(0).to_numpy()[task.rows, task.cols]


def soft_impute(task: Task, part: float) -> np.ndarray:
    """Mazumder, Hastie, Tibshirani (2010): the singular values of the completed matrix are lowered
    by ``part`` of the largest of the observed one, again and again.
    """
    seen = ~np.isnan(task.matrix)
    observed = np.where(seen, task.matrix, 0.0)
    low = np.zeros_like(observed)
    threshold = part * np.linalg.norm(observed, 2)
    for _ in range(200):
        u, s, vt = np.linalg.svd(np.where(seen, observed, low), full_matrices=False)
        new = (u * np.maximum(s - threshold, 0)) @ vt
        change = np.linalg.norm(new - low)
        low = new
        if change <= 1e-4 * np.linalg.norm(new):
            break
    return low[task.rows, task.cols]


def cmfrec(task: Task, k: int, penalty: float) -> np.ndarray:
    import pandas as pd
    from cmfrec import CMF

    frame = pd.DataFrame(dict(zip(("UserId", "ItemId", "Rating"), task.triples, strict=True)))
    model = CMF(method="als", k=k, lambda_=penalty, scale_lam=True, nthreads=1, verbose=False)
    found = model.fit(frame).predict(user=task.rows, item=task.cols)
    return np.where(np.isnan(found), 0.0, found)


def smurff(task: Task, k: int, samples: int) -> np.ndarray:
    import scipy.sparse as sp
    import smurff as package

    rows, cols, values = task.triples
    seen = sp.coo_matrix((values, (rows, cols)), shape=task.matrix.shape)
    asked = sp.coo_matrix((np.ones(len(task.rows)), (task.rows, task.cols)), seen.shape)
    session = package.TrainSession(
        priors=["normal", "normal"],
        num_latent=k,
        burnin=samples // 2,
        nsamples=samples,
        num_threads=1,
        verbose=0,
        seed=task.seed + 1,
    )
    # the noise is learned (the default holds it fixed)
    session.addTrainAndTest(seen, asked, package.AdaptiveNoise(1.0, 10.0))
    found = {tuple(p.coords): p.pred_avg for p in session.run()}
    return np.array(
        [found[pair] for pair in zip(task.rows.tolist(), task.cols.tolist(), strict=True)]
    )


def myfm(task: Task, k: int, samples: int) -> np.ndarray:
    import myfm as package
    import scipy.sparse as sp

    m, n = task.matrix.shape

    def pairs(rows, cols):
        ones, at = np.ones(2 * len(rows)), np.arange(len(rows))
        where = np.concatenate([at, at]), np.concatenate([rows, m + cols])
        return sp.csr_matrix((ones, where), shape=(len(rows), m + n))

    rows, cols, values = task.triples
    model = package.MyFMGibbsRegressor(rank=k, random_seed=task.seed)
    model.fit(pairs(rows, cols), values, n_iter=samples, grouping=[0] * m + [1] * n)
    return model.predict(pairs(task.rows, task.cols))


def _interpolated(matrix: np.ndarray) -> np.ndarray:
    """Columns joined by straight lines between observed rows, level beyond; empty ones 0."""
    times, filled = np.arange(len(matrix)), np.zeros_like(matrix)
    for j, x in enumerate(matrix.T):
        seen = ~np.isnan(x)
        if seen.any():
            filled[:, j] = np.interp(times, times[seen], x[seen])
    return filled


def interpolation(task: Task) -> np.ndarray:
    return _interpolated(task.matrix)[task.rows, task.cols]


def lagged_ridge(task: Task, nearest: int, lags: int) -> np.ndarray:
    """Each column by Bayesian ridge from the others and from the interpolated rows around."""
    smooth = _interpolated(task.matrix)
    steps = [step for lag in range(1, lags + 1) for step in (-lag, lag)]
    at = np.arange(len(smooth))
    shifted = [smooth[np.clip(at + step, 0, len(smooth) - 1)] for step in steps]
    return _iterative(np.hstack([task.matrix, *shifted]), task, nearest=nearest, max_iter=5)


def truncated_tensor(task: Task, part: float, kept: float) -> np.ndarray:
    """LRTC-TNN (Chen, Yang, Sun 2020) for columns × days × times of a day, by its ADMM.

    In each of the three unfoldings the first ``kept`` of the singular values are free and the
    others lowered, at first by ``part`` of the largest, by 5 % less in every step.
    """
    days = len(task.matrix) // task.period
    data = task.matrix.T.reshape(-1, days, task.period)
    seen = ~np.isnan(data)
    data = np.where(seen, data, 0.0)
    dual, threshold, mean = np.zeros((3, *data.shape)), None, data
    for _ in range(100):
        lows = np.empty_like(dual)
        for k in range(3):
            flat = np.moveaxis(mean - dual[k], k, 0)
            u, s, vt = np.linalg.svd(flat.reshape(len(flat), -1), full_matrices=False)
            threshold = threshold or part * s[0]
            s[int(np.ceil(kept * len(s))) :] -= threshold
            lows[k] = np.moveaxis(((u * np.maximum(s, 0)) @ vt).reshape(flat.shape), 0, k)
        new = np.where(seen, data, (lows + dual).mean(axis=0))
        change, mean = np.linalg.norm(new - mean), new
        dual = (dual + lows - mean) / 1.05  # of the step's own scale
        threshold /= 1.05
        if change <= 1e-4 * np.linalg.norm(data):
            break
    return mean.reshape(len(mean), -1).T[task.rows, task.cols]


def _anywhere(task: Task) -> bool:
    return True


def _tables(task: Task) -> bool:
    return not task.ratings


def _ratings(task: Task) -> bool:
    return task.ratings


def _periodic(task: Task) -> bool:
    return task.period > 0


def _ordered(task: Task) -> bool:
    return task.ordered


@dataclass(frozen=True)
class Method:
    """``extra``: a variant of ours, shown but not ranked."""

    run: Callable[..., np.ndarray]
    applies: Callable[[Task], bool] = _anywhere
    grid: dict[str, list] = field(default_factory=dict)
    extra: bool = False

    @property
    def is_ours(self) -> bool:
        return self.run is ours

    def settings(self) -> list[dict]:
        """All of the grid; without one, one of nothing."""
        return [
            dict(zip(self.grid, values, strict=True))
            for values in itertools.product(*self.grid.values())
        ]


METHODS = {
    "deeplinear": Method(ours),
    "deeplinear, network alone": Method(ours, _tables, {"refine": ["off"]}, extra=True),
    "deeplinear, rows in any order": Method(ours, _ordered, {"row_order": [None]}, extra=True),
    "deeplinear, 50 draws": Method(ours, _ratings, {"n_draws": [50], "burn_in": [50]}, extra=True),
    "deeplinear, 50 draws, implicit feedback": Method(
        ours,
        _ratings,
        {"n_draws": [50], "burn_in": [50], "implicit_feedback": [True]},
        extra=True,
    ),
    "column means": Method(means),
    "KNN": Method(knn, _tables, {"k": [3, 5, 10, 20], "weights": ["distance", "uniform"]}),
    "Bayesian ridge": Method(
        bayesian_ridge, _tables, {"rounds": [5, 20], "nearest": [10, 30, None]}
    ),
    "boosted trees": Method(boosted_trees, _tables, {"trees": [50, 150], "nearest": [10, 30]}),
    "LightGBM chain": Method(lightgbm_chain, _tables, {"trees": [50, 150]}),
    "soft-impute": Method(soft_impute, _anywhere, {"part": [0.3, 0.1, 0.05, 0.02, 0.01, 0.003]}),
    "cmfrec": Method(cmfrec, _anywhere, {"k": [10, 30], "penalty": [0.01, 0.03, 0.1]}),
    "SMURFF": Method(smurff, _anywhere, {"k": [8, 16, 32], "samples": [100]}),
    "myFM": Method(myfm, _ratings, {"k": [4, 8, 16], "samples": [200]}),
    "interpolation": Method(interpolation, _ordered),
    "truncated tensor": Method(
        truncated_tensor, _periodic, {"part": [0.3, 0.1], "kept": [0.05, 0.1, 0.2]}
    ),
    "lagged ridge": Method(lagged_ridge, _ordered, {"nearest": [10, 30], "lags": [1, 2]}),
}


def quiet(method: Method, task: Task, settings: dict) -> np.ndarray:
    """What the method gives, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(method.run(task, **settings), float)
