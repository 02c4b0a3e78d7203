"""Data that come with the package or with scikit-learn, as files with cells removed at random."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

_HOLES = 2024  # the seed of what is removed: another one than that of the fits


def write_bundled(name: str, folder: Path) -> tuple[Path, np.ndarray | None]:
    """(the file, the whole table of its numbers where that is known), for a name of `BUNDLED`."""
    return {
        "sea": _sea,
        "iris": _iris,
        "photograph": _photograph,
        "digits": _digits,
        "ratings": _ratings,
    }[name](folder)


def _sea(folder: Path) -> tuple[Path, np.ndarray]:
    from ..datasets import load_sea_surface

    X, years, months = load_sea_surface()
    hole = np.random.default_rng(_HOLES).random(X.shape) < 0.3
    cells = _cells(X, hole, "{:.2f}")
    rows = ([str(year), *row] for year, row in zip(years, cells, strict=True))
    return _table(folder / "sea_surface.csv", ["", *months], rows), X


def _iris(folder: Path) -> tuple[Path, None]:
    from sklearn.datasets import load_iris

    data = load_iris()
    rng = np.random.default_rng(_HOLES)
    shown = rng.permutation(len(data.data))[:120]
    X, species = data.data[shown], data.target_names[data.target[shown]]
    numbers = _cells(X, rng.random(X.shape) < 0.15, "{:.1f}")
    unknown = rng.random(len(X)) < 0.15
    rows = (
        [f"flower no. {k + 1}", *row, "" if unknown[k] else str(species[k])]
        for k, row in enumerate(numbers)
    )
    names = [name.removesuffix(" (cm)") for name in data.feature_names]
    return _table(folder / "iris.csv", ["label", *names, "species"], rows), None


def _photograph(folder: Path) -> tuple[Path, np.ndarray]:
    from PIL import Image
    from sklearn.datasets import load_sample_image

    grey = np.rint(load_sample_image("china.jpg").mean(axis=2)[::3, ::3]).astype(np.uint8)
    seen = np.random.default_rng(_HOLES).random(grey.shape) >= 0.6
    layers = np.stack([grey * seen, 255 * seen], axis=2).astype(np.uint8)
    path = folder / "photograph.png"
    Image.fromarray(layers).save(path)
    return path, grey / 255


def _digits(folder: Path) -> tuple[Path, np.ndarray]:
    from sklearn.datasets import load_digits

    X = load_digits().data[:200]
    hole = np.random.default_rng(_HOLES).random(X.shape) < 0.5
    names = [f"y{k // 8}x{k % 8}" for k in range(64)]
    return _table(folder / "digits.csv", names, _cells(X, hole, "{:.0f}")), X


def _ratings(folder: Path) -> tuple[Path, None]:
    from ..datasets import make_ratings

    found = make_ratings(120, 80, 3000)
    rows = zip(
        (f"person {user}" for user in found.users),
        (f"film {item}" for item in found.items),
        (f"{value:.0f}" for value in found.values),
        strict=True,
    )
    return _table(folder / "ratings.csv", ["user", "item", "rating"], rows), None


def _cells(X: np.ndarray, hole: np.ndarray, form: str) -> list[list[str]]:
    return [
        ["" if missing else form.format(x) for x, missing in zip(row, gone, strict=True)]
        for row, gone in zip(X, hole, strict=True)
    ]


def _table(path: Path, names: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    path.write_text(out.getvalue())
    return path
