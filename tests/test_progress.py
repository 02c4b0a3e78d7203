"""The progress protocol: one record, parts of a whole, and lines that do not flood a terminal."""

import io

import numpy as np
import pytest

from deeplinear.progress import Progress, ProgressPrinter, part, report, with_verbose
from deeplinear.scores import root_mean_square


def test_a_report_without_a_callback_costs_nothing_and_asks_for_no_end():
    assert report(None, "sweep 1", 0.5) is False


@pytest.mark.parametrize(("answer", "ends"), [(True, True), (None, False), (False, False)])
def test_the_callback_gets_everything_and_its_answer_says_whether_to_end(answer, ends):
    states = []
    callback = lambda state: (states.append(state), answer)[1]  # noqa: E731
    filled = np.ones((2, 2))
    assert (
        report(
            callback,
            "sweep 1",
            0.5,
            objective=3.0,
            validation_rmse=0.25,
            complete=lambda: filled,
        )
        is ends
    )
    (state,) = states
    assert (state.stage, state.done, state.objective) == ("sweep 1", 0.5, 3.0)
    assert state.validation_rmse == 0.25
    assert state.complete() is filled


def test_a_part_runs_over_its_interval_of_the_whole_and_names_itself():
    states = []
    callback = part(states.append, 0.5, 0.75, "depth 3: ")
    for done in (None, 0.0, 0.5, 1.5):
        callback(Progress("sweep", done, 2.0, 0.1))
    assert [state.done for state in states] == [0.5, 0.5, 0.625, 0.75]
    assert {(s.stage, s.objective, s.validation_rmse) for s in states} == {
        ("depth 3: sweep", 2.0, 0.1)
    }
    assert part(None, 0.0, 1.0) is None
    assert part(lambda state: True, 0.0, 1.0)(Progress("sweep")) is True


def test_the_printer_prints_at_most_one_line_a_second_and_the_last_state_at_the_end():
    stream, time = io.StringIO(), iter([0.0, 0.1, 0.5, 1.0, 1.2, 2.0])
    printer = ProgressPrinter(stream, clock=lambda: next(time))
    for sweep in range(1, 5):
        assert printer(Progress(f"sweep {sweep}", sweep / 10, validation_rmse=0.5)) is None
    printer.finish()
    printer.finish()
    lines = stream.getvalue().splitlines()
    assert lines == [
        "[    0.1 s]  10%  sweep 1, held-out RMSE 0.5",
        "[    1.2 s]  40%  sweep 4, held-out RMSE 0.5",
    ]


def test_verbose_prints_on_standard_error_and_keeps_the_answer(capsys):
    callback = with_verbose(lambda state: True, True)
    assert callback(Progress("sweep 1", objective=2.0)) is True
    shown = capsys.readouterr()
    assert not shown.out
    assert "sweep 1, objective 2" in shown.err
    assert with_verbose(None, False) is None
    assert with_verbose(None, True)(Progress("sweep 2")) is None
    assert "sweep 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("x", "value"),
    [
        ([], 0.0),
        ([[0.0, 0.0]], 0.0),
        ([3e-200, 4e-200, 0, 0], 2.5e-200),
        ([-3e200, 4e200, 0, 0], 2.5e200),
        (np.array([-128, -128], np.int8), 128.0),
        ([np.inf, 1.0], np.inf),
        ([-np.inf, 1.0], np.inf),
        ([np.nan, np.inf], np.nan),
    ],
)
def test_root_mean_square_at_the_ends_of_the_range(x, value):
    np.testing.assert_allclose(root_mean_square(x), value, rtol=1e-15)


def test_root_mean_square_of_single_precision_is_summed_in_double():
    x = np.full(100_001, 0.1, np.float32)
    assert root_mean_square(x) == pytest.approx(float(np.float32(0.1)), rel=1e-15)


def test_root_mean_square_is_that_of_plain_arithmetic(rng):
    x = rng.normal(size=(40, 30))
    assert root_mean_square(x) == pytest.approx(float(np.sqrt(np.mean(x**2))), rel=1e-14)
