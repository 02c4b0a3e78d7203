"""Frames of numbers, labels, booleans, dates and text that the tests of the imputer share."""

import numpy as np
import pandas as pd


def labelled(score, labels):
    """The label of each score by its quantile: equally frequent, in order."""
    edges = np.quantile(score, np.linspace(0, 1, len(labels) + 1)[1:-1])
    return np.array(labels, object)[np.digitize(score, edges)]


def mixed_frame(n=200, missing=0.25, seed=0):
    """(frame with holes, the complete one), all columns but dates and notes of two factors."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    whole = pd.DataFrame(
        {
            "a": z[:, 0] + 0.1 * rng.normal(size=n),
            "b": z @ [1, 1] + 0.1 * rng.normal(size=n),
            "positive": np.exp(z[:, 1] / 2),
            "c": z @ [1, -1] + 0.1 * rng.normal(size=n),
            "count": pd.array(np.round(5 + z[:, 0] - z[:, 1]).astype(int), dtype="Int64"),
            "flag": pd.array(z[:, 1] > 0, dtype="boolean"),
            "color": pd.array(labelled(z[:, 0], ["blue", "green", "red"]), dtype="str"),
            "size": pd.Categorical(
                labelled(z[:, 1], ["S", "M", "L"]), categories=["S", "M", "L", "XL"], ordered=True
            ),
            "when": pd.date_range("2020-01-01", periods=n),
            "note": [f"note number {i}" for i in range(n)],
        }
    )
    holed = whole.copy()
    for name in whole.columns[:-2]:
        holed.loc[rng.random(n) < missing, name] = pd.NA
    holed.loc[3, "when"] = pd.NaT
    holed.loc[4, "note"] = None
    return holed, whole
