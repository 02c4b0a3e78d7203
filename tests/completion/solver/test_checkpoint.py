"""Checkpoints: a killed fit resumes to the same numbers; files of other fits are refused."""

import math
import signal
import subprocess
import sys

import numpy as np
import pytest
from completion_data import half_observed, same, table

import deeplinear as dl
from deeplinear import InputError
from deeplinear.completion import file_format
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver import checkpoint, descent
from deeplinear.completion.solver.fit import fit
from deeplinear.completion.solver.path import path

SCRIPT = """
import os, signal, sys, numpy as np
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver import checkpoint
from deeplinear.completion.solver.fit import fit
checkpoint.SHARE = float("inf")  # every state is written, however fast
rng = np.random.default_rng(5)
rows, cols = np.nonzero(rng.random((60, 40)) < 0.5)
X = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 40)) + 0.3 * rng.normal(size=(60, 40))
seen = Observations.from_triples(rows, cols, X[rows, cols], (60, 40))
def die(result):
    if result.n_sweeps == 20:
        os.kill(os.getpid(), signal.SIGKILL)
some = rows[:50], cols[:50], X[rows, cols][:50]
options = {"strength": 0.01, "tol": 0, "max_sweeps": 60, "patience": 60, "validation": some}
callback = die if len(sys.argv) > 2 else None
found = fit(seen, **options, checkpoint=sys.argv[1], callback=callback)
numbers = *found.objective, *found.left.ravel()[:20], *found.validation
print("done", found.n_sweeps, *numbers)
"""


def finished(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_killed_fit_resumes_to_the_same_numbers(tmp_path):
    undisturbed = finished(str(tmp_path / "a"))
    assert undisturbed.startswith("done 63 ")
    file = tmp_path / "b"
    killed = subprocess.run([sys.executable, "-c", SCRIPT, str(file), "die"])
    assert killed.returncode == -signal.SIGKILL
    stages, _ = file_format.unpack(file, "Checkpoint")
    assert stages["fit"]["content"]["total"] == 20
    assert finished(str(file)) == undisturbed


def test_another_problem_or_a_damaged_file_is_refused(rng, tmp_path):
    *_, seen = table(rng)
    file = tmp_path / "fit"
    fit(seen, checkpoint=file, max_sweeps=3)
    with pytest.raises(InputError, match="belongs to other data or other options"):
        fit(seen, checkpoint=file, max_sweeps=3, strength=0.3)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(InputError, match="is damaged or cut short"):
        fit(seen, checkpoint=file, max_sweeps=3)


def test_finished_fits_end_after_their_last_sweep(rng, tmp_path, monkeypatch):
    *_, seen = table(rng)
    monkeypatch.setattr(checkpoint, "SHARE", math.inf)  # written after every sweep
    first = fit(seen, checkpoint=tmp_path / "fit", strength=0.2)
    sweeps, plain = [], descent.sweep
    monkeypatch.setattr(descent, "sweep", lambda *args: sweeps.append(0) or plain(*args))
    again = fit(seen, checkpoint=tmp_path / "fit", strength=0.2)
    assert len(sweeps) == 1
    assert same(first, again)


def test_a_checkpoint_belongs_to_its_validation(tmp_path):
    (rows, cols, values), hidden, _ = half_observed(0, 0.1)
    seen, file = Observations.from_triples(rows, cols, values, (80, 60)), tmp_path / "fit"
    first, other = (tuple(x[part] for x in hidden) for part in (slice(0, 50), slice(50, 100)))
    options = {"strength": 0.3, "checkpoint": file, "threads": 1}

    def killed(found):
        if found.n_sweeps == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(seen, validation=first, callback=killed, **options)
    assert file.exists()
    for wrong in (other, None):
        with pytest.raises(InputError, match="other data or other options"):
            fit(seen, validation=wrong, **options)
    resumed = fit(seen, validation=first, **options)
    whole = fit(seen, validation=first, strength=0.3, threads=1)
    np.testing.assert_array_equal(resumed.left, whole.left)


class Killed(BaseException):
    """At the end of a write, where a process may be killed."""


@pytest.fixture
def kills(monkeypatch):
    """Every state is written; the process ends after the number of writes that is asked for."""
    left = [math.inf]
    write = checkpoint.write_atomically

    def counted(where, data):
        write(where, data)
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    monkeypatch.setattr(checkpoint, "SHARE", math.inf)
    monkeypatch.setattr(checkpoint, "write_atomically", counted)
    return left


def through_kills(kills, every, compute):
    """The result of ``compute``, called until it ends; and how often it was killed."""
    for count in range(1000):
        kills[0] = every
        try:
            return compute(), count
        except Killed:
            pass
    raise AssertionError("it does not get on")


def ratings():
    return dl.datasets.make_low_rank((60, 40), 2, observed=900, noise=0.5, seed=3).triples


@pytest.mark.parametrize(
    "options",
    [
        {"depth": (2, 3, math.inf)},
        {"depth": (1.5, 2), "strength": (0.5, 0.2, 0.1)},
        {"depth": (2.5, 4), "strength": (0.1, 5e-3, 1e-3), "early_stopping": False, "max_iter": 6},
        {"depth": (2, 3), "strength": 1e-3, "max_iter": 9},
        {"depth": 3, "strength": 0.3, "validation_fraction": 0.0, "tol": 0.0, "max_iter": 20},
        {"depth": 2, "n_draws": 3},
    ],
    ids=["choice", "convex", "chained", "each depth alone", "no choice", "draws"],
)
@pytest.mark.filterwarnings("ignore:The fit stopped")
def test_a_choice_and_its_fit_go_on_after_any_kill(kills, tmp_path, options):
    """Bit for bit, wherever they were killed, in the choice or in the last fit."""
    common = {"max_rank": 5, "random_state": 0, "threads": 1} | options
    if min(np.atleast_1d(options["depth"])) < 2:
        del common["max_rank"]
    whole = dl.DeepMatrixCompletion(**common).fit(ratings())
    file = tmp_path / "checkpoint"

    def compute():
        return dl.DeepMatrixCompletion(**common, checkpoint=file).fit(ratings())

    resumed, count = through_kills(kills, 5, compute)
    assert count > 2
    assert resumed.trials_ == whole.trials_
    assert resumed.validation_score_ == whole.validation_score_ or not whole.trials_
    assert resumed.status_ == whole.status_
    for name in ("left", "right", "row_counts"):
        np.testing.assert_array_equal(
            getattr(resumed.model_, name), getattr(whole.model_, name), name
        )
    assert same(resumed.model_.fit, whole.model_.fit)
    assert not list(tmp_path.iterdir())


def test_tables_too(kills, tmp_path, rng):
    X = table(rng)[0]
    X = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    common = {"depth": (2, 3), "random_state": 0, "threads": 1}
    whole = dl.DeepLinearImputer(**common).fit_transform(X)
    file = tmp_path / "checkpoint"

    def compute():
        return dl.DeepLinearImputer(**common, checkpoint=file).fit_transform(X)

    resumed, count = through_kills(kills, 40, compute)
    assert count > 2
    np.testing.assert_array_equal(resumed, whole)


def test_the_first_state_is_written_before_the_first_fit_ends(kills, tmp_path):
    file = tmp_path / "checkpoint"
    kills[0] = 2
    with pytest.raises(Killed):
        dl.DeepMatrixCompletion(random_state=0, checkpoint=file).fit(ratings())
    stages, _ = file_format.unpack(file, "Checkpoint")
    assert list(stages) == ["choice"]
    assert stages["choice"]["content"]["trials"]["depth"] == []
    assert "hand" in stages["choice"]["content"]


def test_a_choice_belongs_to_its_data(kills, tmp_path):
    rows, cols, values = ratings()
    file = tmp_path / "checkpoint"
    kills[0] = 12
    with pytest.raises(Killed):
        dl.DeepMatrixCompletion(random_state=0, checkpoint=file).fit((rows, cols, values))
    before = file.read_bytes()
    others = [
        (dl.DeepMatrixCompletion(random_state=0, checkpoint=file), values + 1),
        (dl.DeepMatrixCompletion(random_state=1, checkpoint=file), values),
        (dl.DeepMatrixCompletion((2, 3), random_state=0, checkpoint=file), values),
        # no choice: what is there is not of a stage before
        (dl.DeepMatrixCompletion(strength=0.1, validation_fraction=0, checkpoint=file), values),
    ]
    for model, x in others:
        with pytest.raises(InputError, match="belongs to other data or other options"):
            model.fit((rows, cols, x))
    assert file.read_bytes() == before


def test_a_checkpoint_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    def full(where, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_atomically", full)
    with pytest.raises(InputError, match=r"checkpoint: '.*' cannot be written \(No space left"):
        dl.DeepMatrixCompletion(checkpoint=tmp_path / "a").fit(ratings())


def reread(file, change):
    """The file with something else in it, and a right checksum."""
    stages, arrays = file_format.unpack(file, "Checkpoint")
    change(stages, arrays)
    file_format.write(file, "Checkpoint", stages, arrays)


def cut(name):
    return lambda stages, arrays: arrays.update({name: arrays[name][:-1]})


def put(name, value):
    def change(stages, arrays):
        arrays[name] = arrays[name].copy()
        arrays[name].flat[0] = value

    return change


def said(key, value):
    return lambda stages, arrays: stages["fit"]["content"].update({key: value})


@pytest.mark.parametrize(
    "change",
    [
        *(cut(f"fit/state.{name}") for name in "ZYs"),
        *(put(f"fit/state.{name}", math.nan) for name in "ZYs"),
        put("fit/state.s", -1.0),
        lambda stages, arrays: arrays.update({"fit/state.Z": arrays["fit/state.Z"].astype("f4")}),
        lambda stages, arrays: arrays.update({"fit/state.Z": arrays["fit/state.Z"].astype(int)}),
        lambda stages, arrays: arrays.pop("fit/state.Y"),
        said("phase", -1),
        said("phase", 10**6),
        said("sweeps", "many"),
        said("trace", [[1.0], 2.0]),
        said("mean", math.inf),
        said("tau", None),
        put("fit/state.Z", 0.5),
        lambda stages, arrays: arrays["fit/state.Z"].put(-1, 1e308),  # where there is nothing
        put("fit/state.s", 50.0),
        said("mean", 1e6),
        said("trace", []),
        said("scores", [1.0]),
        said("total", 0),
        said("best_sweep", 1),
        said("x", 1),
        lambda stages, arrays: arrays.update({"fit/x": np.zeros(1)}),
        lambda stages, arrays: arrays.update({"x": np.zeros(1)}),
        lambda stages, arrays: stages["fit"].pop("content"),
        lambda stages, arrays: stages.update(fit=3),
    ],
)
def test_states_that_no_fit_has_are_refused(kills, tmp_path, rng, change):
    """Compiled loops would follow short arrays out of their memory."""
    *_, seen = table(rng)
    file = tmp_path / "fit"
    kills[0] = 4
    with pytest.raises(Killed):
        fit(seen, checkpoint=file)
    kills[0] = math.inf
    reread(file, change)
    with pytest.raises(InputError, match=r"checkpoint: '.*' holds what .* or name another"):
        fit(seen, checkpoint=file)


@pytest.mark.parametrize("writes", [0, 5, 20])
def test_paths_that_no_walk_has_are_refused(kills, tmp_path, writes):
    """Every array cut short in turn, and every number of the walk replaced by a text."""
    rows, cols, values = ratings()
    seen = Observations.from_triples(rows, cols, values, (rows.max() + 1, cols.max() + 1))
    held = rows[:50], cols[:50], values[:50]
    options = {"depths": [1.5, 3], "strengths": (0.3, 5e-3), "validation": held, "max_sweeps": 8}
    kills[0] = writes
    with pytest.raises(Killed):
        path(seen, **options, checkpoint=tmp_path / "path")
    kills[0] = math.inf
    stages, arrays = file_format.unpack(tmp_path / "path", "Checkpoint")
    content = stages["fit"]["content"]
    changes = [cut(name) for name in arrays if arrays[name].ndim]
    changes += [said(key, "text") for key in content]
    changes += [
        lambda stages, arrays, key=key: stages["fit"]["content"].pop(key)
        for key in content
        if key != "hand"
    ]
    for change in changes:
        file_format.write(tmp_path / "path", "Checkpoint", stages, arrays)
        reread(tmp_path / "path", change)
        with pytest.raises(InputError, match="holds what this deeplinear does not write"):
            path(seen, **options, checkpoint=tmp_path / "path")


def test_a_file_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"is not a deeplinear model file .* or name another file"):
        dl.DeepMatrixCompletion(checkpoint=path).fit(ratings())
    assert path.read_text() == "a,b\n1,2\n"


def test_a_link_to_a_checkpoint(kills, tmp_path):
    """It is followed, and what it leads to is removed at the end."""
    (tmp_path / "far").mkdir()
    link, target = tmp_path / "link", tmp_path / "far" / "fit"
    link.symlink_to(target)
    options = {"strength": 0.3, "random_state": 0, "checkpoint": link}
    kills[0] = 3
    with pytest.raises(Killed):
        dl.DeepMatrixCompletion(**options).fit(ratings())
    assert link.is_symlink()
    assert target.is_file()
    kills[0] = math.inf
    dl.DeepMatrixCompletion(**options).fit(ratings())
    assert link.is_symlink()
    assert not target.exists()


def trials(change):
    def changed(stages, arrays):
        columns = stages["fit"]["content"]["trials"]
        for name, column in columns.items():
            columns[name] = change(name, list(column))

    return changed


def without_trials(stages, arrays):
    """It has ended, and nothing was tried."""
    content = stages["fit"]["content"]
    trials(lambda name, column: [])(stages, arrays)
    content.update(ended=True, step=-1, hand=None, last=[])
    for name in ("base", "at", "best"):
        content.pop(name, None)
    for name in [*arrays]:
        del arrays[name]


def best(name, change):
    def changed(stages, arrays):
        arrays[f"fit/best.{name}"] = change(arrays[f"fit/best.{name}"])

    return changed


@pytest.mark.parametrize(
    "change",
    [
        trials(lambda name, column: column * 2),
        trials(lambda name, column: []),
        without_trials,
        trials(lambda name, column: [0.4] * len(column) if name == "strength" else column),
        trials(lambda name, column: [7.0] * len(column) if name == "depth" else column),
        trials(lambda name, column: [9.0] * len(column) if name == "validation_rmse" else column),
        said("ended", 1),
        said("step", -1),
        said("step", 2),
        said("hand", 7.0),
        said("last", [3, 3]),
        said("base", {}),
        lambda stages, arrays: stages["fit"]["content"]["base"].update(total=1),
        lambda stages, arrays: stages["fit"]["content"]["best"].update(sweep=0),
        lambda stages, arrays: stages["fit"]["content"]["best"].update(validation=[]),
        lambda stages, arrays: stages["fit"]["content"]["best"].update(strength=0.4),
        best("row_scale", lambda scale: scale * 2),
        best("left", lambda left: left.astype("f4")),
    ],
)
def test_walks_whose_parts_contradict_each_other(kills, tmp_path, change):
    rows, cols, values = ratings()
    seen = Observations.from_triples(rows, cols, values, (rows.max() + 1, cols.max() + 1))
    held = rows[:50], cols[:50], values[:50]
    options = {"depths": [2, 3], "strengths": (0.5, 0.3), "validation": held, "max_sweeps": 8}
    file = tmp_path / "path"
    kills[0] = 12
    with pytest.raises(Killed):
        path(seen, **options, checkpoint=file)
    kills[0] = math.inf
    assert file_format.unpack(file, "Checkpoint")[0]["fit"]["content"]["trials"]["depth"]
    reread(file, change)
    with pytest.raises(InputError, match=r"checkpoint: '.*' holds what this deeplinear does not"):
        path(seen, **options, checkpoint=file)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.filterwarnings("ignore:The fit stopped")
def test_states_are_balanced_in_either_precision(kills, tmp_path, dtype):
    """What is refused of a state is far from the rounding of those that are written."""
    rows, cols, values = ratings()
    options = {"depth": (2, 3), "strength": (0.3, 1e-3), "max_rank": 5, "max_iter": 9}
    options |= {"random_state": 0, "threads": 1}
    data = rows, cols, (1000 * values).astype(dtype)
    whole = dl.DeepMatrixCompletion(**options).fit(data)

    def compute():
        return dl.DeepMatrixCompletion(**options, checkpoint=tmp_path / "a").fit(data)

    resumed, count = through_kills(kills, 5, compute)
    assert count > 2
    assert same(resumed.model_.fit, whole.model_.fit)
