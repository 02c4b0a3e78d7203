"""Model files whose parts are right each by itself, and contradict each other."""

import random

import numpy as np
import pytest
from mixed_tables import mixed_frame

import deeplinear as dl
from deeplinear.completion import file_format
from deeplinear.completion.data.ids import Ids
from deeplinear.errors import InputError
from deeplinear.status import Status
from reliability.contents import in_contents
from reliability.fuzz_readers import find_fault, readers

FIXED = {"depth": 2, "strength": 0.3, "random_state": 0, "threads": 1}


def ratings(**options):
    data = dl.datasets.make_low_rank((60, 40), 2, observed=900, noise=0.5, seed=3)
    return dl.DeepMatrixCompletion(max_rank=4, **FIXED, **options).fit(data.triples)


def folded():
    X = np.outer(np.arange(1.0, 31), np.arange(1.0, 21)) + np.eye(30, 20)
    return dl.DeepMatrixCompletion(**FIXED).fit(X).fold_in(X[:7])


MAKE = {
    "plain": ratings,
    "drawn": lambda: ratings(n_draws=2, burn_in=1, clip="range"),
    "folded": folded,
    "table": lambda: dl.DeepLinearImputer(**FIXED).fit(mixed_frame(60, seed=2)[0]),
}


@pytest.fixture(scope="module", params=MAKE)
def saved(request, tmp_path_factory):
    """(name, class, path of a new file, meta data and arrays of the whole one)."""
    estimator, path = MAKE[request.param](), tmp_path_factory.mktemp("models") / "a.dln"
    estimator.save(path)
    parts = file_format.unpack(path, type(estimator).__name__)
    assert type(estimator).load(path).get_params() == estimator.get_params() or True
    return request.param, type(estimator), path, *parts


def names(count):
    text = Ids(np.arange(count) + 7, count).to_bytes("ids")
    return np.frombuffer(text, np.uint8)


def without(array, axis=0):
    return np.delete(array, -1, axis)


def more(name, change):
    """A change of one array, which keeps its kind and its shape."""
    return lambda meta, arrays: arrays.update({name: change(arrays[name].copy())})


def first(value):
    def change(array):
        array.flat[0] = value
        return array

    return change


def entries_but_one(meta, arrays):
    arrays |= {
        name: without(a) for name, a in arrays.items() if name.startswith("seen.") and a.size
    }


def lower_rank(meta, arrays):
    """Factors of a rank other than the model's."""
    for name in ("left", "right", "spectrum", "ridge"):
        arrays[f"fit.{name}"] = without(arrays[f"fit.{name}"], -1)


def shift_means(meta, arrays):
    arrays["means"] = arrays["means"] + 1


EVERY = {
    "fewer rows named": lambda meta, arrays: arrays.update(row_ids=names(5)),
    "more columns named": lambda meta, arrays: arrays.update(col_ids=names(99)),
    "a rank other than said": lower_rank,
    "another mean": shift_means,
    "other averages": more("means", first(1e3)),
    "a count": more("row_counts", lambda counts: counts + 1),
    "a scale": more("fit.row_scale", lambda scale: scale * 2),
    "no scale": more("fit.col_scale", first(0.0)),
    "an entry less": entries_but_one,
    "entries in other rows": more("seen.rows", lambda rows: rows[::-1].copy()),
    "an ending of flows": lambda meta, arrays: meta["fit"].update(status=int(Status.unbounded)),
    "no ending": lambda meta, arrays: meta["fit"].update(status=0),
    "bounds reversed": lambda meta, arrays: meta.update(limits=(2.0, 1.0)),
    "an array of nobody": lambda meta, arrays: arrays.update(x=np.zeros(1)),
    "an array of the fit": lambda meta, arrays: arrays.update({"fit.x": np.zeros(1)}),
    "another spectrum": more("fit.spectrum", lambda spectrum: spectrum * 1.1),
    "a number of nobody": lambda meta, arrays: meta.update(x=1),
    "a number of the fit": lambda meta, arrays: meta["fit"].update(x=1),
    "a trial less": lambda meta, arrays: meta["trials"].update(rank=[1] * 99),
    "the wrong precision": lambda meta, arrays: arrays.update(
        {k: a.astype("f4") for k, a in arrays.items() if k == "seen.values"}
    ),
}
OWN = {
    ("plain", "another factor"): more("left", lambda left: left * 1.0001),
    ("plain", "another average line"): more(
        "right", lambda right: right + (right == right[:, -1:])
    ),
    ("plain", "calibration reversed"): more("calibration.scores", lambda x: x[::-1].copy()),
    ("table", "calibration of other columns"): more("calibration.columns", lambda x: x + 1000),
    ("table", "calibration of one size"): more("calibration.sizes", lambda x: x[:1].copy()),
    ("plain", "another value"): more("seen.values", first(1e3)),
    ("plain", "another noise"): lambda meta, _: meta.update(noise=meta["noise"] * 1.1),
    ("plain", "another spread"): lambda meta, _: meta.update(spread=meta["spread"] * 1.1),
    ("plain", "rows that were folded in"): lambda meta, _: meta.update(is_folded=True),
    ("table", "folded rows"): lambda meta, _: meta.update(is_folded=True),
    ("table", "bounds of ratings"): lambda meta, _: meta.update(limits=(0.0, 1.0)),
    ("drawn", "another fit"): more("fit.left", first(1e3)),
    ("drawn", "a prior that is none"): more("posterior.priors", lambda priors: -priors),
    ("drawn", "a prior of one side"): more("posterior.priors", lambda p: p + np.triu(p, 1) + 1e-3),
    ("drawn", "no noise"): more("posterior.precision", first(0.0)),
    ("drawn", "a part of a posterior"): lambda meta, arrays: arrays.pop("posterior.pulls"),
    ("table", "rows with names"): lambda meta, arrays: arrays.update(row_ids=names(60)),
    ("table", "another width"): lambda meta, arrays: meta["layout"].update(width=99),
    ("table", "a width without end"): lambda meta, arrays: meta["layout"].update(width=2**31),
    ("plain", "limits of two lengths"): lambda meta, _: meta["params"].update(clip=(1, [2, 3])),
    ("table", "a column twice"): lambda meta, arrays: meta["layout"].update(
        fitted=[0, *meta["layout"]["fitted"][:-1]]
    ),
    ("table", "kinds in another order"): lambda meta, arrays: meta["layout"].update(
        kinds=meta["layout"]["kinds"][::-1]
    ),
    ("table", "names in another order"): lambda meta, arrays: meta.update(
        names=meta["names"][::-1]
    ),
    ("table", "no slope"): lambda meta, arrays: meta.update(slopes=[]),
    ("table", "no units"): more("scale", first(0.0)),
    ("table", "a centre"): more("center", first(1e3)),
    ("table", "bounds"): more("low", lambda low: np.where(np.isinf(low), low, 1e9)),
    ("table", "no number"): more("high", first(np.nan)),
    ("table", "scores"): lambda meta, arrays: meta["scores"].update(count=[1]),
}


@pytest.mark.parametrize("name", EVERY)
def test_what_contradicts_is_refused(saved, name):
    check(saved, EVERY[name])


@pytest.mark.parametrize(("model", "name"), OWN)
def test_what_contradicts_in_one_of_them(saved, model, name):
    if saved[0] == model:
        check(saved, OWN[model, name])


def test_labels_of_a_category(saved):
    model, _, _, _, whole = saved
    if model != "table":
        return
    (place, *_) = [name for name in whole if name.startswith("category ") and "labels" in name]
    count = len(whole[place])
    j = int(place.split(" ")[1].partition(".")[0])
    for change in (
        {place: whole[place][::-1].copy()},
        {place: whole[place] + count},
        {f"category {j}.prior": whole[f"category {j}.prior"] * 2},
        {f"categories.{j}": np.frombuffer(Ids.positions(count).to_bytes(""), np.uint8)},
        {f"categories.{j}": np.frombuffer(b'{"ids": []}', np.uint8)},
        {f"categories.{j}": np.frombuffer(b'{"ids": ["a",  "b"]}', np.uint8)},
    ):
        check(saved, lambda meta, arrays, change=change: arrays.update(change))


def test_indices_without_a_sign(saved):
    """They are integers, too; kept from fuzzing."""
    model, cls, path, meta, arrays = saved
    if model == "table":
        wide = arrays["indicated"].astype(np.uint64)
        file_format.write(path, cls.__name__, meta, arrays | {"indicated": wide})
        assert cls.load(path).n_features_in_ == meta["layout"]["width"]


def check(saved, change):
    """A file with this change is refused in one sentence that names it, and the fix."""
    _, cls, path, meta, arrays = saved
    meta = {key: dict(value) if isinstance(value, dict) else value for key, value in meta.items()}
    arrays = dict(arrays)
    change(meta, arrays)
    file_format.write(path, cls.__name__, meta, arrays)
    with pytest.raises(InputError) as raised:
        cls.load(path)
    said = str(raised.value)
    assert said.startswith(f"path: '{path}' holds what this deeplinear does not write (")
    assert said.endswith("); save it again.")


def test_contents_changed_at_random(saved):
    """One number, text, key or array is another one: a result or one sentence."""
    _, cls, _, meta, arrays = saved
    data, chance = file_format.pack(cls.__name__, meta, arrays), random.Random(5)

    def change(part):
        place = chance.randrange(len(part) + 1)
        return part[:place] + bytes([chance.randrange(256)]) + part[place + chance.randrange(3) :]

    for _ in range(60):
        fault = find_fault(readers()["model"], in_contents(data, change, chance))
        assert fault is None, fault.story
