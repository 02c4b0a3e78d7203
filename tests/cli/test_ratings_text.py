"""Text files of `deeplinear ratings` and `predict`: options, guesses, standard input and output."""

import io

import numpy as np
import pandas as pd
import pytest
from command_line import QUICK, one_line, run
from typer.testing import CliRunner

from deeplinear.cli import app

pytestmark = pytest.mark.usefixtures("quiet")
NUMBERS = ["--rows", "1", "--cols", "2", "--values", "3"]


@pytest.fixture
def expected(source, tmp_path):
    """The predictions from the plain file, and the model."""
    output, model = tmp_path / "expected.csv", tmp_path / "expected.dln"
    result = run("ratings", source, "-o", output, "--model", model, *QUICK)
    assert result.exit_code == 0, result.output
    return pd.read_csv(output), model


def ask(arguments, text=None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=text)


class TestForms:
    @pytest.mark.parametrize(
        ("separator", "decimal", "header", "options"),
        [
            ("\t", ".", False, []),
            (";", ",", True, []),
            (";", ",", False, ["--decimal", ",", "--separator", ";", "--no-header"]),
            ("|", ".", True, ["--header"]),
        ],
    )
    def test_the_same_predictions(
        self, ratings, expected, tmp_path, separator, decimal, header, options
    ):
        frame = pd.DataFrame({"user": ratings.users, "item": ratings.items, "x": ratings.values})
        path, output = tmp_path / "r.txt", tmp_path / "o.tsv.gz"
        frame.to_csv(path, sep=separator, decimal=decimal, header=header, index=False)
        result = run("ratings", path, "-o", output, *NUMBERS, *options, *QUICK)
        assert result.exit_code == 0, result.output
        found = pd.read_csv(output, sep="\t")
        np.testing.assert_array_equal(found.to_numpy(), expected[0].to_numpy())

    def test_standard_input_and_output(self, source, expected, tmp_path):
        result = ask(["ratings", "-", "-o", "-", *QUICK], source.read_text())
        assert result.exit_code == 0, result.output
        pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(result.stdout)), expected[0])
        assert "stdin.csv: 300 entries" in result.stderr
        assert "held-out RMSE" in result.stderr

    def test_left_out_entries_are_counted(self, source, expected, tmp_path):
        text = source.read_text() + "1,77,NA\n2,77,-99.0\n"
        options = ["--missing", "NA", "--missing", "-99"]
        result = ask(["ratings", "-", "-o", "-", *QUICK, *options], text)
        assert result.exit_code == 0, result.output
        assert "2 entries of" in one_line(result.stderr)
        assert "left out, whose value is missing (--missing 'NA', '-99')" in one_line(result.stderr)
        assert len(pd.read_csv(io.StringIO(result.stdout))) == len(expected[0])
        result = ask(["ratings", "-", "-o", "-", *QUICK], text)
        assert "Error: INPUT: '-', line 302: the value is 'NA'" in one_line(result.stderr)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["-", "--at", "-", "-o", "o.csv"], "--at: standard input is INPUT already"),
            (["-", "--model", "-"], "--model: a model is no text; give the name of a file"),
            (["-", "-o", "-", "--thousands", "x"], "--thousands: 'x' is no mark of thousands"),
        ],
    )
    def test_refusals(self, source, arguments, message):
        result = ask(["ratings", *arguments], source.read_text())
        assert result.exit_code == 2
        assert message in one_line(result.stderr)

    def test_options_of_text_and_a_matrix(self, tmp_path):
        (tmp_path / "a.mtx").write_text("%%MatrixMarket matrix coordinate real general\n1 1 0\n")
        result = run("ratings", tmp_path / "a.mtx", "-o", "-", "--encoding", "cp1252")
        assert "--encoding: it has no meaning for" in one_line(result.stderr)


class TestPairs:
    @pytest.mark.parametrize("first", ["1,2", "2,1"])
    def test_first_pairs_that_hold_column_numbers(self, source, expected, tmp_path, first):
        text = f"{first}\n3,4\n"
        listed = [
            ask(["ratings", source, *NUMBERS, "--at", "-", "-o", "-", *QUICK], text),
            ask(["predict", expected[1], "--at", "-"], text),
        ]
        for result in listed:
            assert result.exit_code == 0, result.output
            found = pd.read_csv(io.StringIO(result.stdout)).iloc[:, :2].to_numpy()
            assert found.tolist() == [[*map(int, first.split(","))], [3, 4]]

    def test_ids_in_other_spellings(self, expected):
        result = ask(["predict", expected[1], "--at", "-"], "item; user\n4;3.0\n")
        assert result.exit_code == 0, result.output
        found = pd.read_csv(io.StringIO(result.stdout))
        assert found.iloc[0, :2].tolist() == [3, 4]

    def test_a_guess_about_the_heading_is_said_and_can_be_overridden(self, source, expected):
        text = "eve,x\nann,y\n"
        result = ask(["predict", expected[1], "--at", "-"], text)
        assert "('eve', 'x') is taken for a heading, which is a guess" in one_line(result.stderr)
        assert "--no-header says otherwise" in one_line(result.stderr)
        result = ask(["predict", expected[1], "--at", "-", "--no-header"], text)
        assert "guess" not in result.stderr
        assert len(pd.read_csv(io.StringIO(result.stdout))) == 2
        command = ["ratings", source, "--at", "-", "-o", "-", *QUICK]
        assert "--no-at-header says otherwise" in one_line(ask(command, text).stderr)
        result = ask([*command, "--no-at-header"], text)
        assert len(pd.read_csv(io.StringIO(result.stdout))) == 2

    def test_encodings(self, expected, source, tmp_path):
        text = "user,item\nRené,1\n".encode("cp1252")
        result = ask(["predict", expected[1], "--at", "-"], text)
        assert "--at: '-', line 2 (byte 0xe9" in one_line(result.stderr)
        result = ask(["predict", expected[1], "--at", "-", "--encoding", "cp1252"], text)
        assert "René" in result.stdout
        result = ask(["ratings", source, "--at", "-", "-o", "-", *QUICK], text)
        assert "name its --encoding of deeplinear predict" in one_line(result.stderr)
        options = ["--encoding", "cp1252", *QUICK]
        assert "René" in ask(["ratings", source, "--at", "-", "-o", "-", *options], text).stdout
