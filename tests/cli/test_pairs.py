"""Which pairs `--at` asks for, in the ids of the data."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from command_line import COLUMNS, QUICK, one_line, run

import deeplinear as dl

pytestmark = pytest.mark.usefixtures("quiet")


class TestPairs:
    @pytest.mark.parametrize("suffix", ["csv", "parquet"])
    def test_one_strange_id_leaves_the_others_known(self, source, ratings, tmp_path, suffix):
        users, items = ratings.users[:3], ratings.items[:3]
        (tmp_path / "pairs.csv").write_text(
            "user,item\n"
            + "".join(f"{u},{i}\n" for u, i in zip(users, items, strict=True))
            + f"eve,{items[0]}\n"
        )
        output, model = tmp_path / f"o.{suffix}", tmp_path / "m.dln"
        result = run(
            "ratings",
            source,
            *COLUMNS,
            "-o",
            output,
            "--at",
            tmp_path / "pairs.csv",
            "--model",
            model,
            *QUICK,
        )
        assert result.exit_code == 0, result.output
        assert (
            "1 of 4 entries have ids without any entry in the fit (1 rows, 0 columns)"
            in one_line(result.stderr)
        )
        found = pd.read_csv(output) if suffix == "csv" else pd.read_parquet(output)
        expected = dl.DeepMatrixCompletion.load(model).predict(users, items)
        np.testing.assert_allclose(found.prediction[:3], expected, rtol=1e-12)
        assert found.user.astype(str).tolist() == [*map(str, users), "eve"]

    @pytest.mark.parametrize(
        ("heading", "columns"), [(False, ["--rows", "1", "--cols", "2"]), (True, COLUMNS[:0])]
    )
    def test_pairs_of_texts_without_a_heading(self, ratings, tmp_path, heading, columns):
        names = [f"u{u}" for u in ratings.users], [f"i{i}" for i in ratings.items]
        frame = pd.DataFrame(dict(zip(("who", "what", "r"), (*names, ratings.values), strict=True)))
        frame.to_csv(tmp_path / "r.csv", index=False, header=heading)
        frame.iloc[:4, :2].to_csv(tmp_path / "p.csv", index=False, header=False)
        columns = columns or ["--values", "3"]
        result = run(
            "ratings",
            tmp_path / "r.csv",
            *columns,
            "-o",
            tmp_path / "o.csv",
            "--at",
            tmp_path / "p.csv",
            *QUICK,
        )
        assert result.exit_code == 0, result.output
        assert pd.read_csv(tmp_path / "o.csv").iloc[:, 0].tolist() == names[0][:4]

    def test_a_heading_of_other_names_is_no_pair(self, source, tmp_path):
        (tmp_path / "p.csv").write_text("a,b\n1,2\n")
        columns = ["--rows", "1", "--cols", "2", "--values", "3"]
        files = ["-o", tmp_path / "o.csv", "--at", tmp_path / "p.csv"]
        result = run("ratings", source, *columns, *files, *QUICK)
        assert result.exit_code == 0, result.output
        assert len(pd.read_csv(tmp_path / "o.csv")) == 1

    def test_pairs_for_a_matrix_are_numbers(self, ratings, tmp_path):
        sp.save_npz(
            tmp_path / "a.npz",
            sp.coo_array((ratings.values, (ratings.users, ratings.items))).tocsr(),
        )
        (tmp_path / "p.csv").write_text("x,y\na,b\n")
        result = run(
            "ratings",
            tmp_path / "a.npz",
            "-o",
            tmp_path / "o.csv",
            "--at",
            tmp_path / "p.csv",
            *QUICK,
        )
        assert result.exit_code == 2
        assert "must hold row and column numbers from 1" in one_line(result.stderr)
