"""DeepMatrixCompletion with regularization="implicit": the flow of the network through the
estimator and the command line.
"""

import math

import numpy as np
import pandas as pd
import pytest
from cases import slow
from typer.testing import CliRunner

import deeplinear as dl
from deeplinear.cli import app
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.flow import FlowLaw, low_rank_flow
from deeplinear.errors import InputError, NotConvergedWarning
from deeplinear.status import Status

FLOW = {"regularization": "implicit", "max_rank": 6, "threads": 1, "random_state": 0}


@pytest.fixture(scope="module")
def problem():
    """900 noisy entries of a 50 × 40 matrix of rank 2 with biases; the hidden ones are known
    exactly.
    """
    rng = np.random.default_rng(4)
    truth = (
        rng.normal(size=(50, 2)) @ rng.normal(size=(2, 40))
        + rng.normal(size=(50, 1))
        + rng.normal(size=40)
        + 3
    )
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
    bare = dl.DeepMatrixCompletion(
        depth=2, strength=50.0, validation_fraction=0, random_state=0
    ).fit(triples)
    assert bare.rank_ == 0
    assert far < 0.5 * np.sqrt(np.mean((bare.predict(rows, cols) - truth[rows, cols]) ** 2))
    assert model.converged_
    assert 1e-3 < model.strength_ < 0.5  # not to the end, where it would go through the noise
    low, high = model.interval(rows, cols)
    noisy = truth[rows, cols] + 0.3 * np.random.default_rng(9).normal(size=len(rows))
    # Calibrated on 90 held-out entries, coverage varies by √(0.9 · 0.1/90) = 0.03 around 0.9; and
    # the flow of all entries stops at the same energy, not quite at the same place.
    assert 0.75 < np.mean((low <= noisy) & (noisy <= high)) <= 1


def test_the_choice_of_depth(problem):
    model = dl.DeepMatrixCompletion(depth=(2, 4), **FLOW).fit(problem[0])
    assert [trial.depth for trial in model.trials_] == [2, 4]
    best = min(model.trials_, key=lambda trial: trial.validation_rmse)
    assert model.depth_ == best.depth
    assert (
        model.strength_ <= best.strength
    )  # the part of the energy at which the flow of all entries stops


def test_it_stops_at_the_strength(problem):
    triples, _ = problem
    errors = {
        strength: dl.DeepMatrixCompletion(depth=3, strength=strength, validation_fraction=0, **FLOW)
        .fit(triples)
        .train_score_
        for strength in (0.5, 0.1)
    }
    bare = (
        dl.DeepMatrixCompletion(depth=2, strength=50.0, validation_fraction=0, random_state=0)
        .fit(triples)
        .train_score_
    )
    for strength, error in errors.items():
        assert 0.8 * strength < (error / bare) ** 2 <= strength * (1 + 1e-9)


def test_the_decay_that_a_stop_amounts_to(problem):
    """⟨R, W⟩ = λ Σ σ^{2/N}, R from the dense residual."""
    (rows, cols, values), truth = problem
    for depth in (2.5, math.inf):
        found = low_rank_flow(
            Observations.from_triples(rows, cols, values, truth.shape),
            law=FlowLaw(stop=0.2),
            depth=depth,
            max_rank=4,
        )
        W = found.left @ found.right.T
        residual = values - found.predict(rows, cols)
        sigma = np.linalg.svd(W, compute_uv=False)[:4]
        assert found.decay * np.sum(sigma ** (2 / depth)) == pytest.approx(
            np.sum(residual * W[rows, cols]), rel=1e-6
        )


def test_new_rows_are_folded_in(problem, fitted):
    (rows, cols, values), truth = problem
    mine = rows == 7
    again = fitted.fold_in((rows[mine], cols[mine], values[mine]))
    gap = again.predict([7] * 40, range(40)) - fitted.predict([7] * 40, range(40))
    assert np.sqrt(np.mean(gap**2)) < 0.5 * np.std(truth[7])


@pytest.mark.parametrize("depth", [3.0, slow(math.inf)])
def test_new_lines_are_folded_in_and_no_other_moves(problem, depth):
    triples, truth = problem
    model = dl.DeepMatrixCompletion(depth=depth, **FLOW).fit(triples)
    before, strength = model.predict([5] * 40, range(40)), model.strength_
    fresh = truth[3] + 1.0  # a new line that is like line 3
    seen, rest = range(0, 40, 2), range(1, 40, 2)
    folded = model.fold_in(([0] * 20, seen, fresh[::2])).predict([0] * 20, rest)
    model.partial_fit(([99] * 20, seen, fresh[::2]))
    error = np.sqrt(np.mean((model.predict([99] * 20, rest) - fresh[1::2]) ** 2))
    assert error == pytest.approx(np.sqrt(np.mean((folded - fresh[1::2]) ** 2)), rel=0.01)
    assert model.strength_ == strength
    assert model.predict([5] * 40, range(40)) == pytest.approx(before, abs=1e-9)


def test_many_new_entries_are_learned_again(problem):
    (rows, cols, values), _ = problem
    first = rows == rows[0]
    model = dl.DeepMatrixCompletion(depth=3, strength=0.1, **FLOW | {"max_rank": None})
    model.fit((rows[first], cols[first], values[first])).partial_fit(
        (rows[~first], cols[~first], values[~first])
    )
    whole = dl.DeepMatrixCompletion(depth=3, strength=0.1, **FLOW | {"max_rank": None})
    whole.fit(
        (
            np.r_[rows[first], rows[~first]],
            np.r_[cols[first], cols[~first]],
            np.r_[values[first], values[~first]],
        )
    )
    assert model.rank_ == whole.rank_ > 1
    assert model.predict([3, 4], [5, 6]) == pytest.approx(
        whole.predict([3, 4], [5, 6]), abs=0.1
    )  # other codes: another start


def test_another_kind_of_fit_is_not_continued(fitted, problem):
    model = dl.DeepMatrixCompletion(
        strength=0.3, validation_fraction=0, max_rank=3, random_state=0
    ).fit(problem[0])
    with pytest.raises(InputError, match="regularization must be that of the fit"):
        model.set_params(
            regularization="implicit", strength="auto", validation_fraction=0.1
        ).partial_fit(([1], [99], [1.0]))


def test_weights_and_draws(problem):
    (rows, cols, values), truth = problem
    none = np.r_[np.ones(len(rows)), np.zeros(3)]
    spoiled = np.r_[rows, [0, 1, 2]], np.r_[cols, [40, 40, 40]], np.r_[values, [1e3, -1e3, 5e2]]
    options = FLOW | {"strength": 0.1, "validation_fraction": 0}
    plain = dl.DeepMatrixCompletion(depth=3, **options).fit((rows, cols, values))
    weighted = dl.DeepMatrixCompletion(depth=3, **options).fit(spoiled, sample_weight=none)
    where = hidden((rows, cols), truth.shape)
    apart = np.sqrt(np.mean((weighted.predict(*where) - plain.predict(*where)) ** 2))
    assert apart < 0.3 * np.sqrt(
        np.mean((plain.predict(*where) - truth[where]) ** 2)
    )  # another start: one more column
    drawn = dl.DeepMatrixCompletion(depth=3, n_draws=20, **options).fit((rows, cols, values))
    errors = [
        np.sqrt(np.mean((model.predict(*where) - truth[where]) ** 2)) for model in (plain, drawn)
    ]
    assert errors[1] < errors[0]


def test_at_rest_is_an_end(problem):
    """At rank 2 the noise cannot be fitted: E has a minimum above the energy asked for, and the
    flow says that it is there.
    """
    (rows, cols, values), truth = problem
    seen = Observations.from_triples(rows, cols, values, truth.shape)
    found = low_rank_flow(seen, depth=3, max_rank=2)
    assert found.status == Status.converged
    assert found.objective[-1] > 10 * 1e-5 * found.objective[0]
    law = FlowLaw(start=(found.U, found.s, found.V), t1=1e3)
    longer = low_rank_flow(seen, law=law, depth=3, max_rank=2)
    assert longer.objective[-1] > 0.99 * found.objective[-1]


def test_a_file_keeps_it(fitted, tmp_path):
    fitted.save(tmp_path / "flow.dln")
    loaded = dl.DeepMatrixCompletion.load(tmp_path / "flow.dln")
    assert loaded.regularization == "implicit"
    assert (loaded.predict([1, 2], [3, 4]) == fitted.predict([1, 2], [3, 4])).all()


def test_progress_and_too_few_steps(problem):
    told = []
    model = dl.DeepMatrixCompletion(
        depth=3, strength=0.1, validation_fraction=0, max_iter=4, callback=told.append, **FLOW
    )
    with pytest.warns(
        NotConvergedWarning, match="The flow was still on its way after 4 steps tried"
    ):
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


@pytest.mark.parametrize(("value", "biases"), [(2.0, True), (0.0, True), (0.0, False), (0.1, True)])
def test_entries_without_residual(value, biases):
    """Nothing is left to learn: the missing entries are not those of a random start."""
    rows, cols = np.nonzero(np.random.default_rng(0).random((8, 6)) < 0.5)
    model = dl.DeepMatrixCompletion(regularization="implicit", biases=biases, random_state=0)
    found = model.fit((rows, cols, np.full(len(rows), value))).complete()
    assert model.converged_
    np.testing.assert_allclose(found, value, atol=1e-9)


def test_the_command(problem, tmp_path):
    rows, cols, values = problem[0]
    pd.DataFrame({"user": rows, "item": cols, "rating": values}).to_csv(
        tmp_path / "in.csv", index=False
    )
    columns = ["--rows", "user", "--cols", "item", "--values", "rating"]
    asked = ["ratings", str(tmp_path / "in.csv"), *columns, "-o", str(tmp_path / "out.csv")]
    done = CliRunner().invoke(
        app, [*asked, "--regularization", "implicit", "--depth", "3", "--max-rank", "5"]
    )
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv(tmp_path / "out.csv")) == 50 * 40 - 900
    assert "effective rank" in done.output
    stopped = CliRunner().invoke(
        app, [*asked, "--regularization", "implicit", "--force", "--checkpoint", "state"]
    )
    assert stopped.exit_code == 2
    assert "--checkpoint: the implicit flow has none" in " ".join(stopped.output.split())
    wrong = CliRunner().invoke(app, [*asked, "--regularization", "implied", "--force"])
    assert wrong.exit_code == 2
    assert "--regularization: 'implied' is none of explicit, implicit" in " ".join(
        wrong.output.split()
    )
