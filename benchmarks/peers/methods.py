"""One function per method: fit on a training set, predict pairs. Only NumPy is imported before a
method is asked for.

Each is a function (train, pairs, shape, threads, **settings) → predictions, where train =
(rows, cols, values); GRIDS says which settings are tried on the validation entries. Values are
centred for the methods that model no mean. Ours compute in float32, as cmfrec and LensKit do by
default.
"""

import itertools

import numpy as np


def single(train):
    return *train[:2], train[2].astype(np.float32)


def ours(train, pairs, shape, threads, depth=3.0, **options):
    """deeplinear at one depth; the strength and the stop are chosen inside, on a tenth of the
    training entries.
    """
    import warnings

    import deeplinear as dl

    warnings.simplefilter("ignore")
    model = dl.DeepMatrixCompletion(
        depth, threads=threads, random_state=0, clip="range", **options
    ).fit(single(train))
    return model.predict(*pairs)


def ours_cv(train, pairs, shape, threads, **options):
    """deeplinear, the depth chosen too."""
    import warnings

    import deeplinear as dl

    warnings.simplefilter("ignore")
    model = dl.DeepMatrixCompletion(threads=threads, random_state=0, clip="range", **options).fit(
        single(train)
    )
    return model.predict(*pairs)


def cmfrec(train, pairs, shape, threads, k, penalty, implicit=False):
    import pandas as pd
    from cmfrec import CMF

    frame = pd.DataFrame(dict(zip(("UserId", "ItemId", "Rating"), train, strict=True)))
    model = CMF(
        method="als",
        k=k,
        lambda_=penalty,
        scale_lam=True,
        nthreads=threads,
        verbose=False,
        add_implicit_features=implicit,
    )
    return model.fit(frame).predict(user=pairs[0], item=pairs[1])


def cmfrec_implicit(train, pairs, shape, threads, **settings):
    return cmfrec(train, pairs, shape, threads, implicit=True, **settings)


def libmf(train, pairs, shape, threads, k, penalty, iterations):
    from libmf import mf

    mean = train[2].mean()
    data = np.column_stack([train[0], train[1], train[2] - mean]).astype(np.float32)
    model = mf.MF(
        k=k,
        lambda_p2=penalty,
        lambda_q2=penalty,
        nr_iters=iterations,
        nr_threads=threads,
        quiet=True,
    )
    model.fit(data)
    if np.sqrt(np.mean((model.predict(data[:, :2]) - data[:, 2]) ** 2)) > 0.98 * train[2].std():
        raise RuntimeError(
            "the binding does not even fit its training entries (error above their standard "
            "deviation)"
        )
    return model.predict(np.column_stack(pairs)) + mean


def surprise(train, pairs, shape, threads, k, penalty, epochs):
    import pandas as pd
    from surprise import SVD, Dataset, Reader

    frame = pd.DataFrame(dict(zip("uix", train, strict=True)))
    data = Dataset.load_from_df(
        frame, Reader(rating_scale=(frame.x.min(), frame.x.max()))
    ).build_full_trainset()
    model = SVD(n_factors=k, reg_all=penalty, n_epochs=epochs, random_state=0).fit(data)
    return [model.predict(u, i).est for u, i in zip(*pairs, strict=True)]


def smurff(train, pairs, shape, threads, k, samples):
    import scipy.sparse as sp
    import smurff as package

    rows, cols, values = train
    mean = values.mean()
    seen = sp.coo_matrix((values - mean, (rows, cols)), shape=shape)
    asked = sp.coo_matrix((np.ones(len(pairs[0])), pairs), shape=shape)
    session = package.TrainSession(
        priors=["normal", "normal"],
        num_latent=k,
        burnin=samples // 4,
        nsamples=samples,
        num_threads=threads,
        verbose=0,
        seed=1,
    )
    # the noise is learned (the default holds it fixed at a precision of 5, far off for ratings)
    session.addTrainAndTest(seen, asked, package.AdaptiveNoise(1.0, 10.0))
    found = {tuple(p.coords): p.pred_avg for p in session.run()}
    return (
        np.array([found[pair] for pair in zip(*(side.tolist() for side in pairs), strict=True)])
        + mean
    )


def cornac(train, pairs, shape, threads, k, penalty, epochs):
    from cornac.data import Dataset
    from cornac.models import MF

    data = Dataset.from_uir(list(zip(*(side.tolist() for side in train), strict=True)), seed=1)
    model = MF(
        k=k,
        lambda_reg=penalty,
        max_iter=epochs,
        learning_rate=0.01,
        use_bias=True,
        num_threads=threads,
        seed=1,
    )
    model.fit(data)
    out = np.full(len(pairs[0]), train[2].mean())
    users, items = data.uid_map, data.iid_map
    for t, (u, i) in enumerate(zip(*(side.tolist() for side in pairs), strict=True)):
        if u in users and i in items:
            out[t] = model.score(users[u], items[i])
    return out


def lenskit(train, pairs, shape, threads, k, penalty):
    import pandas as pd
    from lenskit.als import BiasedMFScorer
    from lenskit.data import ItemList, RecQuery, from_interactions_df
    from lenskit.training import TrainingOptions

    data = from_interactions_df(
        pd.DataFrame(dict(zip(("user_id", "item_id", "rating"), train, strict=True)))
    )
    model = BiasedMFScorer(features=k, regularization=penalty)
    model.train(data, TrainingOptions())
    out = np.full(len(pairs[0]), train[2].mean())
    for user in np.unique(pairs[0]):
        where = np.flatnonzero(pairs[0] == user)
        scores = model(RecQuery(user_id=user), ItemList(item_ids=pairs[1][where])).scores()
        out[where] = np.where(np.isnan(scores), out[where], scores)
    return out


def fancyimpute(train, pairs, shape, threads, shrinkage):
    from fancyimpute import SoftImpute

    if shape[0] * shape[1] > 5e6:
        raise MemoryError("dense: only for small matrices")
    mean = train[2].mean()
    X = np.full(shape, np.nan)
    X[train[0], train[1]] = train[2] - mean
    return SoftImpute(shrinkage_value=shrinkage, verbose=False).fit_transform(X)[pairs] + mean


_BARE = {"strength": [0.25, 0.32, 0.4], "max_rank": [10, 20, 50], "validation_fraction": [0]}
METHODS = {
    "deeplinear, depth 2": (ours, {"depth": [2.0]}),
    "deeplinear, depth 3": (ours, {"depth": [3.0]}),
    "deeplinear, depth 4": (ours, {"depth": [4.0]}),
    "deeplinear, depth chosen": (ours_cv, {}),
    "deeplinear, depth 3, average of 50": (ours, {"n_draws": [50], "burn_in": [20]}),
    "deeplinear, depth 3, average, features": (
        ours,
        {"n_draws": [20], "burn_in": [20], "implicit_feedback": [True]},
    ),
    # tuned as the others are, outside: the fit alone is timed, without a choice of strength and
    # without calibration
    "deeplinear, depth 3, tuned outside": (ours, _BARE | {"max_iter": [4, 8]}),
    "deeplinear, average of 20, features, tuned outside": (
        ours,
        _BARE | {"max_iter": [4], "n_draws": [20], "burn_in": [10], "implicit_feedback": [True]},
    ),
    "cmfrec": (cmfrec, {"k": [10, 30], "penalty": [0.03, 0.1]}),
    "cmfrec, implicit features": (cmfrec_implicit, {"k": [10, 30], "penalty": [0.03, 0.1]}),
    "LIBMF": (libmf, {"k": [10, 30], "penalty": [0.03, 0.06, 0.1], "iterations": [30, 100]}),
    "surprise SVD": (surprise, {"k": [20, 100], "penalty": [0.05, 0.1], "epochs": [20, 50]}),
    "SMURFF (Bayesian average)": (smurff, {"k": [8, 16, 32], "samples": [50, 150]}),
    "cornac MF": (cornac, {"k": [10, 50], "penalty": [0.02, 0.05], "epochs": [50, 100]}),
    "LensKit ALS": (lenskit, {"k": [10, 50], "penalty": [0.1, 0.5]}),
    "fancyimpute SoftImpute": (fancyimpute, {"shrinkage": [5.0, 10.0, 20.0]}),
}
# What each of the others cannot be compared on: implicit-feedback packages ("implicit") rank items
# and predict no ratings.


def grid(name):
    """All settings of a method."""
    choices = METHODS[name][1]
    return [
        dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())
    ]
