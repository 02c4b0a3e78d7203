"""Cold lines beside those of a fit, and in model files."""

import numpy as np
import pytest

import deeplinear as dl
from deeplinear.completion import file_format
from deeplinear.completion.model.cold_lines import widened
from deeplinear.errors import InputError

pytestmark = pytest.mark.usefixtures("quiet_fits", "quiet_empty_lines")


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(1)
    X, Q = rng.normal(size=(60, 2)), rng.normal(size=(30, 2))
    i, j = np.nonzero(rng.random((50, 30)) < 0.4)
    model = dl.DeepMatrixCompletion(depth=2, max_rank=4, random_state=0)
    return model.fit((i, j, (X @ Q.T)[i, j] + 0.1 * rng.normal(size=len(i))), row_features=X)


class TestWidened:
    def test_cold_lines_are_lines_of_the_model(self, fitted):
        side = fitted.features_.rows
        wide = widened(fitted.model_, fitted.features_.sides)
        np.testing.assert_array_equal(side.ids.labels, np.arange(50, 60))
        assert wide.fit.shape == (60, 30)
        fit = fitted.model_.fit
        q = np.column_stack([fit.right, fit.col_bias])
        expected = side.lines[:, :-1] @ q[:, :-1].T + side.lines[:, -1:] + q[:, -1] + fit.mean
        np.testing.assert_allclose(wide.block(np.arange(50, 60)), expected)
        np.testing.assert_array_equal(wide.block(np.arange(50)), fitted.model_.block(np.arange(50)))

    def test_lines_without_a_share_are_the_average(self, fitted):
        from dataclasses import replace

        none = replace(fitted.features_.rows, share=0.0)
        assert widened(fitted.model_, (none, None)) is fitted.model_


class TestFiles:
    def test_what_features_do_not_say_is_refused(self, fitted, tmp_path):
        path = tmp_path / "m.dln"
        fitted.save(path)
        kind = "DeepMatrixCompletion"
        meta, arrays = file_format.unpack(path, kind)

        def load(change):
            m, a = file_format.unpack(path, kind)
            change(m, a)
            file_format.write(tmp_path / "n.dln", kind, m, a)
            return dl.DeepMatrixCompletion.load(tmp_path / "n.dln")

        assert load(lambda m, a: None).features_.shares == fitted.features_.shares
        lines = arrays["cold row.lines"]
        changes = [
            lambda m, a: a.update({"cold row.lines": lines[:-1]}),
            lambda m, a: a.update({"cold row.slopes": arrays["cold row.slopes"][:-1]}),
            lambda m, a: a.update({"cold row.lines": np.full_like(lines, np.nan)}),
            lambda m, a: a.update({"cold row.encoder": np.frombuffer(b"{}", np.uint8)}),
            lambda m, a: m["features"]["row"].update(share=2.0),
            lambda m, a: m["features"].update(decay=0.0),
            lambda m, a: m["features"].update(column={"share": 1.0}),
            lambda m, a: m.pop("features"),
            lambda m, a: a.pop("cold.row"),
        ]
        for change in changes:
            with pytest.raises(InputError):
                load(change)
        assert meta["features"]["sweeps"] == fitted.features_.sweeps
