"""Model files with right checksums and wrong contents, which compiled loops would follow."""

import copy
import math

import numpy as np
import pytest
from mixed_tables import mixed_frame

import deeplinear as dl
from deeplinear.completion import file_format
from deeplinear.errors import InputError

FIXED = {"random_state": 0, "threads": 1}


def ratings_model():
    ratings = dl.datasets.make_low_rank((60, 40), 2, observed=900, noise=0.5, seed=3)
    model = dl.DeepMatrixCompletion(depth=3, max_rank=4, n_draws=2, burn_in=1, **FIXED)
    weights = np.random.default_rng(0).uniform(0.5, 2, 900)
    return model.fit(ratings.triples, sample_weight=weights)


def folded_model():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 20))
    model = dl.DeepMatrixCompletion(depth=2, strength=0.1, **FIXED).fit(X)
    return model.fold_in(X[:7])


def table_model():
    return dl.DeepLinearImputer(depth=2, strength=0.3, **FIXED).fit(mixed_frame(60, seed=2)[0])


MAKE = {"ratings": ratings_model, "folded": folded_model, "table": table_model}


@pytest.fixture(scope="module", params=MAKE)
def saved(request, tmp_path_factory):
    """(estimator, path, meta data and arrays of its file)."""
    estimator = MAKE[request.param]()
    path = tmp_path_factory.mktemp("models") / "whole.dln"
    estimator.save(path)
    return estimator, path, file_format.unpack(path, type(estimator).__name__)


def refused(saved, tmp_path, meta, arrays):
    """Whether a file with these contents and a right checksum is refused in one sentence."""
    estimator, path = saved[0], tmp_path / "other.dln"
    file_format.write(path, type(estimator).__name__, meta, arrays)
    try:
        type(estimator).load(path)
    except InputError as error:
        said = f"path: '{path}' holds what this deeplinear does not write ("
        return str(error).startswith(said) and "\n" not in str(error)
    return False


def numbers(meta, place=()):
    """The places of all numbers, texts and truth values of a header."""
    items = meta.items() if isinstance(meta, dict) else enumerate(meta)
    for key, value in items:
        if isinstance(value, dict | list | tuple):
            yield from numbers(value, (*place, key))
        else:
            yield (*place, key)


def put(meta, place, value):
    if isinstance(meta, tuple):
        changed = list(meta)
        changed[place[0]] = value if len(place) == 1 else put(meta[place[0]], place[1:], value)
        return tuple(changed)
    meta = copy.copy(meta)
    meta[place[0]] = value if len(place) == 1 else put(meta[place[0]], place[1:], value)
    return meta


# An array of any length is as good as another here, or its length stands for what it says.
FREE = ("calibration.scores", "calibration.sizes", "indicated")


def test_every_array_is_needed_in_its_kind_and_shape(saved, tmp_path):
    _, _, (meta, arrays) = saved
    for name, array in arrays.items():
        others = {
            "gone": {key: a for key, a in arrays.items() if key != name},
            "short": arrays | {name: array[:-1]},
            "long": arrays | {name: np.concatenate([array, array[-1:]])},
            "flat": arrays | {name: array[None]},
            "texts": arrays | {name: array.astype("u2")},
            "halves": arrays | {name: array.astype("f2")},
        }
        for what, changed in others.items():
            same_kind = what == "texts" and array.dtype.kind in "iu" and array.dtype != np.uint8
            free = name in FREE and what in ("short", "long")
            if array.size and not same_kind and not free:
                assert refused(saved, tmp_path, meta, changed), (name, what)


def test_every_number_of_an_array_is_in_its_range(saved, tmp_path):
    _, _, (meta, arrays) = saved
    for name, array in arrays.items():
        flat = array.dtype.kind
        if not array.size or name.endswith("_ids") or name.startswith("categories."):
            continue
        wrong = {"f": [math.nan], "i": [-1], "u": [], "b": []}[flat]
        if name in ("low", "high", "calibration.scores", "calibration.sizes", "fit.ridge"):
            wrong = []
        if name in ("seen.rows", "seen.cols", "indicated") or name.startswith("labels."):
            wrong = [np.iinfo(array.dtype).max]
        for value in wrong:
            changed = array.copy()
            changed.flat[-1] = value
            assert refused(saved, tmp_path, meta, arrays | {name: changed}), (name, value)


def test_every_number_of_the_header_is_one(saved, tmp_path):
    """What is a text is another text, or is refused; nothing is anything else than an error."""
    _, _, (meta, arrays) = saved
    places = [p for p in numbers(meta) if p[0] not in ("params", "scores")]
    assert len(places) > 20
    for place in places:
        old = meta
        for key in place:
            old = old[key]
        if not isinstance(old, str) and place[:2] != ("fit", "bias_ridge"):
            for value in ("text", [1, 2, "c"], {"a": 1}):
                assert refused(saved, tmp_path, put(meta, place, value), arrays), (place, value)


def test_parameters_are_those_of_the_class(saved, tmp_path):
    _, _, (meta, arrays) = saved
    for change in (
        {"nonsense": 1},
        {"depth": 0.5},
        {"depth": "deep"},
        {"threads": -1},
        {"checkpoint": "/etc/passwd"},
        {"callback": "print"},
        {"columns": {"a": 1}},
        {"columns": ["a", ["b"], None]},
        {"strength": 10**400},
        {"random_state": 2**70},
        {"depth": [[2]]},
    ):
        params = meta["params"] | change
        assert refused(saved, tmp_path, meta | {"params": params}, arrays), change
    for change in ({"predict": 3}, {"__class__": "x"}):
        assert refused(saved, tmp_path, meta | {"state": meta["state"] | change}, arrays)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"ids": 3}',
        '{"ids": [[1]]}',
        '{"ids": [{"date": "x"}]}',
        '{"ids": [{"eval": "1"}]}',
        '{"positions": "3"}',
        '{"positions": -1}',
        '{"positions": 60.0}',
        '{"positions": 60, "of": [1, 1]}',
        '{"positions": 60, "of": [61]}',
        '{"positions": 1' + "0" * 400 + "}",
        '{"ids": [1, 2]}',
        "[" * 100_000,
        "not JSON",
    ],
)
def test_ids_that_are_none(saved, tmp_path, text):
    _, _, (meta, arrays) = saved
    data = np.frombuffer(text.encode(), np.uint8)
    assert refused(saved, tmp_path, meta, arrays | {"row_ids": data})


def test_a_model_of_numbers_that_are_not_finite_is_not_saved(tmp_path):
    model = folded_model()
    model.model_.fit.left[2, 0] = math.nan
    with pytest.raises(InputError, match=r"this model cannot be saved, for left must not be NaN"):
        model.save(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_models_and_fits_by_hand(saved):
    """Arrays that do not belong together are refused where they are put together."""
    from dataclasses import replace

    model = saved[0].model_
    fit = model.fit
    for name in ("left", "right", "spectrum", "ridge", "row_bias", "col_scale"):
        with pytest.raises(InputError, match=r"must have the shape .* give all arrays of one fit"):
            replace(fit, **{name: getattr(fit, name)[:-1]})
        with pytest.raises(InputError, match=rf"{name} must be float32 or float64"):
            replace(fit, **{name: getattr(fit, name).astype(np.float16)})
    for name in ("left", "right"):
        with pytest.raises(InputError, match=rf"{name} must have the shape"):
            replace(model, **{name: getattr(model, name)[:, :-1]})
    with pytest.raises(InputError, match="must have as many ids"):
        replace(model, row_ids=model.row_ids.kept(np.arange(3)))
