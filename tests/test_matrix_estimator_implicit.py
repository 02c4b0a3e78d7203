"""DeepMatrixCompletion with regularization="implicit": the flow of the network through the estimator and the command line."""

import math

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import deeplinear as dl
from deeplinear.cli import app
from deeplinear.completion.observations import Observations
from deeplinear.completion.thin_flow import flow
from deeplinear.errors import InputError, NotConvergedWarning

FLOW = {"regularization": "implicit", "max_rank": 6, "threads": 1, "random_state": 0}


@pytest.fixture(scope="module")
def problem():
    """900 noisy entries of a 50 × 40 matrix of rank 2 with biases; the hidden ones are known exactly."""
    rng = np.random.default_rng(4)
    truth = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 40)) + rng.normal(size=(50, 1)) + rng.normal(size=40) + 3
    rows, cols = np.divmod(rng.permutation(truth.size)[:900], 40)
    return (rows, cols, truth[rows, cols] + 0.3 * rng.normal(size=900)), truth


@pytest.fixture(scope="module")
def fitted(problem):
    return dl.DeepMatrixCompletion(depth=3, **FLOW).fit(problem[0])


def hidden(triples, shape):
    free = np.ones(shape, bool)
    free[triples[:2]] = False
    return np.nonzero(free)


@pytest.mark.parametrize("depth", [2.0, 3.0, math.inf])
def test_it_completes_and_stops_in_time(problem, depth):
    triples, truth = problem
    model = dl.DeepMatrixCompletion(depth=depth, **FLOW).fit(triples)
    rows, cols = hidden(triples, truth.shape)
    far = np.sqrt(np.mean((model.predict(rows, cols) - truth[rows, cols]) ** 2))
    bare = dl.DeepMatrixCompletion(depth=2, strength=50.0, validation_fraction=0, random_state=0).fit(triples)
    assert bare.rank_ == 0
    assert far < 0.5 * np.sqrt(np.mean((bare.predict(rows, cols) - truth[rows, cols]) ** 2))
    assert model.converged_
    assert 1e-3 < model.strength_ < 0.5  # not to the end, where it would go through the noise
    low, high = model.interval(rows, cols)
    noisy = truth[rows, cols] + 0.3 * np.random.default_rng(9).normal(size=len(rows))
    # Calibrated on 90 held-out entries: the coverage of new ones varies by √(0.9 · 0.1/90) = 0.03 around 0.9.
    assert 0.8 < np.mean((low <= noisy) & (noisy <= high)) <= 1


def test_the_choice_of_depth(problem):
    model = dl.DeepMatrixCompletionCV(depths=(2, 4), **FLOW).fit(problem[0])
    assert [trial.depth for trial in model.trials_] == [2, 4]
    best = min(model.trials_, key=lambda trial: trial.validation_rmse)
    assert model.depth_ == best.depth
    assert model.strength_ <= best.strength  # the part of the energy at which the flow of all entries stops


def test_it_stops_at_the_strength(problem):
    triples, _ = problem
    errors = {
        strength: dl.DeepMatrixCompletion(depth=3, strength=strength, validation_fraction=0, **FLOW)
        .fit(triples)
        .train_score_
        for strength in (0.5, 0.1)
    }
    bare = (
        dl.DeepMatrixCompletion(depth=2, strength=50.0, validation_fraction=0, random_state=0).fit(triples).train_score_
    )
    for strength, error in errors.items():
        assert 0.8 * strength < (error / bare) ** 2 <= strength * (1 + 1e-9)


def test_the_decay_that_a_stop_amounts_to(problem):
    """⟨R, W⟩ = λ Σ σ^{2/N}, R from the dense residual."""
    (rows, cols, values), truth = problem
    for depth in (2.5, math.inf):
        found = flow(Observations.from_triples(rows, cols, values, truth.shape), depth=depth, max_rank=4, stop=0.2)
        W = found.left @ found.right.T
        residual = values - found.predict(rows, cols)
        sigma = np.linalg.svd(W, compute_uv=False)[:4]
        assert found.decay * np.sum(sigma ** (2 / depth)) == pytest.approx(np.sum(residual * W[rows, cols]), rel=1e-6)


def test_new_rows_and_entries(problem, fitted):
    triples, truth = problem
    rows, cols, values = triples
    mine = rows == 7
    again = fitted.fold_in((rows[mine], cols[mine], values[mine]))
    gap = again.predict([7] * 40, range(40)) - fitted.predict([7] * 40, range(40))
    assert np.sqrt(np.mean(gap**2)) < 0.5 * np.std(truth[7])
    model = dl.DeepMatrixCompletion(depth=3, **FLOW).fit(triples)
    fresh = truth[3] + 1.0  # a new line that is like line 3
    model.partial_fit(([99] * 20, range(20), fresh[:20]))
    assert np.sqrt(np.mean((model.predict([99] * 20, range(20, 40)) - fresh[20:]) ** 2)) < 0.6 * np.std(fresh)
    assert model.predict([5], [5])[0] == pytest.approx(fitted.predict([5], [5])[0], abs=0.3)


def test_a_file_keeps_it(fitted, tmp_path):
    fitted.save(tmp_path / "flow.dln")
    loaded = dl.DeepMatrixCompletion.load(tmp_path / "flow.dln")
    assert loaded.regularization == "implicit"
    assert (loaded.predict([1, 2], [3, 4]) == fitted.predict([1, 2], [3, 4])).all()


def test_progress_and_too_few_steps(problem):
    told = []
    model = dl.DeepMatrixCompletion(
        depth=3, strength=0.1, validation_fraction=0, max_sweeps=4, callback=told.append, **FLOW
    )
    with pytest.warns(NotConvergedWarning, match="The flow stopped after . steps above the energy asked for"):
        model.fit(problem[0])
    assert not model.converged_
    objectives = [each.objective for each in told if each.objective is not None]
    assert len(objectives) >= 2
    assert objectives == sorted(objectives, reverse=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 1.5}, "strength must lie between 0 and 1 for the implicit flow"),
        ({"strength": 0.0}, "strength must lie between 0 and 1 for the implicit flow"),
        ({"checkpoint": "state"}, 'checkpoint needs regularization="explicit"'),
        ({"start_scale": 0.0}, "start_scale"),
        ({"max_rank": 41}, "max_rank must be at most"),
    ],
)
def test_bad_input(problem, options, message):
    with pytest.raises(InputError, match=message):
        dl.DeepMatrixCompletion(**FLOW | options).fit(problem[0])


def test_entries_without_residual():
    constant = ([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1], [2.0] * 6)
    model = dl.DeepMatrixCompletion(regularization="implicit", random_state=0).fit(constant)
    assert model.predict([2], [1])[0] == pytest.approx(2.0)


def test_the_command(problem, tmp_path):
    rows, cols, values = problem[0]
    pd.DataFrame({"user": rows, "item": cols, "rating": values}).to_csv(tmp_path / "in.csv", index=False)
    columns = ["--rows", "user", "--cols", "item", "--values", "rating"]
    asked = ["complete", str(tmp_path / "in.csv"), *columns, "-o", str(tmp_path / "out.csv")]
    done = CliRunner().invoke(app, [*asked, "--regularization", "implicit", "--depth", "3", "--max-rank", "5"])
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv(tmp_path / "out.csv")) == 50 * 40 - 900
    wrong = CliRunner().invoke(app, [*asked, "--regularization", "implied", "--force"])
    assert wrong.exit_code == 2
    assert "--regularization: 'implied' is none of explicit, implicit" in " ".join(wrong.output.split())
