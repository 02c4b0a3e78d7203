"""The picture of docs/features.md: python docs/figures/features.py FOLDER writes features.png
beside itself (two minutes); FOLDER holds u.data, u.user and u.item of MovieLens-100K.
"""

import argparse
import csv
import warnings
from pathlib import Path

import numpy as np

import deeplinear as dl
from deeplinear.plots import COLOURS, house_style, new_figure
from deeplinear.scores import root_mean_square

KINDS = ("known ids", "new users", "new films", "both new")
SEEDS = range(5)


def movielens(folder):
    """(users, films, ratings), ages … of users, years and genres of films, each with their ids."""

    def lines(name, separator):
        with (folder / name).open(encoding="latin-1", newline="") as file:
            return list(csv.reader(file, delimiter=separator))

    entries = np.array(lines("u.data", "\t"), int)
    users = [(int(x[0]), float(x[1]), x[2], x[3]) for x in lines("u.user", "|")]
    films = [
        (
            int(x[0]),
            float(x[2][-4:] or "nan"),
            "|".join(map(str, np.flatnonzero(np.array(x[5:24]) == "1"))),
        )
        for x in lines("u.item", "|")
    ]

    def keyed(rows):
        table = np.array([row[1:] for row in rows], object)
        return [row[0] for row in rows], table

    return entries, keyed(users), keyed(films)


def errors(entries, features, seed):
    """Errors without and with features by kind of entry; a tenth of each is held back."""
    rng = np.random.default_rng(seed)
    users, films, ratings = entries[:, 0], entries[:, 1], entries[:, 2].astype(float)
    new_user, new_film = (rng.random(x.max() + 1)[x] < 0.1 for x in (users, films))
    hidden = rng.random(len(ratings)) < 0.1
    known = ~new_user & ~new_film
    train = known & ~hidden
    masks = known & hidden, new_user & ~new_film, ~new_user & new_film, new_user & new_film
    found = []
    for given in ({}, dict(zip(("row_features", "col_features"), features, strict=True))):
        model = dl.DeepMatrixCompletion(depth=3, random_state=0)
        model.fit((users[train], films[train], ratings[train]), **given)
        found.append(
            [root_mean_square(model.predict(users[x], films[x]) - ratings[x]) for x in masks]
        )
    return found


def made(explained, seed, m=300, n=200, rank=3):
    """Errors of known and new rows without noise, over the spread, where features explain a part of
    the factors: (plain, with features) of each.
    """
    rng = np.random.default_rng(seed)
    X, Q = rng.normal(size=(m, 6)), rng.normal(size=(n, rank))
    signal = X @ rng.normal(size=(6, rank)) / np.sqrt(6)
    P = np.sqrt(explained) * signal + np.sqrt(1 - explained) * rng.normal(size=(m, rank))
    truth, new = P @ Q.T, np.arange(m) % 10 == 0
    seen = (rng.random((m, n)) < 0.06) & ~new[:, None]
    i, j = np.nonzero(seen)
    values = truth[i, j] + 0.5 * rng.normal(size=len(i))
    found = []
    for given in ({}, {"row_features": X}):
        model = dl.DeepMatrixCompletion(depth=2, max_rank=6, random_state=0)
        model.fit((i, j, values), **given)
        cols = np.unique(j)
        rows = np.repeat(np.arange(m), len(cols))
        gaps = (model.predict(rows, np.tile(cols, m)) - truth[:, cols].ravel()).reshape(m, -1)
        found.append([root_mean_square(gaps[~new]), root_mean_square(gaps[new])])
    return np.array(found) / truth.std()


def draw(films, shares, gains):
    figure = new_figure(10.0, 3.8)
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    places = np.arange(len(KINDS))
    for k, (name, colour) in enumerate(
        (("without features", "0.4"), ("with features", COLOURS[0]))
    ):
        values = films[:, k].mean(axis=0)
        spread = films[:, k].std(axis=0, ddof=1) / np.sqrt(len(films))
        at = places + 0.3 * k - 0.15
        left.errorbar(at, values, spread, fmt="so"[k], color=colour, capsize=4, label=name)
        for place, value in zip(at, values, strict=True):
            left.annotate(
                f"{value:.3f}",
                (place, value),
                (8 * (2 * k - 1), 0),
                textcoords="offset points",
                ha="left" if k else "right",
                va="center",
                fontsize=9,
            )
    left.set_xticks(places, KINDS)
    left.set_xlim(-0.7, 3.7)
    left.set_ylim(0.85, 1.22)
    left.set_ylabel("error (stars)")
    left.legend(loc="upper left")
    for kind, (name, colour) in enumerate((("known rows", COLOURS[0]), ("new rows", COLOURS[1]))):
        right.plot(shares, gains[:, 0, kind], "o--", color=colour, markerfacecolor="none")
        right.plot(shares, gains[:, 1, kind], "o-", color=colour, label=name)
    best = np.sqrt(1 - np.array(shares))
    right.plot(shares, best, ":", color="0.4", label="least possible, new rows")
    right.set_xlabel("part of the factors that features explain")
    right.set_ylabel("error / spread (dashed: without features)")
    right.legend(loc="lower left")
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    warnings.simplefilter("ignore")
    entries, *features = movielens(parser.parse_args().folder)
    films = np.array([errors(entries, features, seed) for seed in SEEDS])
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    gains = np.array([np.mean([made(share, s) for s in range(3)], axis=0) for share in shares])
    print(films.mean(axis=0), gains, sep="\n")
    with house_style():
        draw(films, shares, gains).savefig(Path(__file__).with_suffix(".png"), dpi=130)
