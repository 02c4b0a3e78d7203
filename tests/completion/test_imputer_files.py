"""The imputer on disk and in other processes: files, checkpoints, pickles, clones, devices."""

import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from cases import slow
from completion_tables import noisy_table
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import deeplinear as dl
from deeplinear.errors import InputError

VARIANTS = {
    "plain": {},
    "drawn": {"n_draws": 3, "burn_in": 2},
    "no biases": {"center": False, "scale": False, "strength": 0.2, "depth": 2.0},
    "implicit": {"regularization": "implicit", "max_rank": 4},
    "chosen": {"depth": (2, float("inf")), "strength": (0.2, 0.4), "weighted_trace_norm": 0.5},
}


pytestmark = pytest.mark.usefixtures("quiet_fits")


@pytest.fixture(scope="module")
def table():
    return noisy_table(40, 20, seed=3)[0]


@pytest.fixture(scope="module")
def fitted(table):
    return dl.DeepLinearImputer(random_state=0).fit(table)


class TestFiles:
    @pytest.mark.parametrize("name", VARIANTS)
    def test_a_loaded_imputer_is_the_same_bit_for_bit(self, table, tmp_path, name):
        imputer = dl.DeepLinearImputer(random_state=0, **VARIANTS[name]).fit(table)
        imputer.save(tmp_path / "a.dln")
        loaded = dl.DeepLinearImputer.load(tmp_path / "a.dln")
        new = np.where(np.isnan(table[::-1]), 1.0, np.nan)
        for X in (table, new):
            np.testing.assert_array_equal(loaded.transform(X), imputer.transform(X))
            np.testing.assert_array_equal(loaded.predict_std(X), imputer.predict_std(X))
            np.testing.assert_array_equal(loaded.interval(X), imputer.interval(X))
        np.testing.assert_array_equal(loaded.draws(2), imputer.draws(2))
        np.testing.assert_array_equal(loaded.draws(2, new), imputer.draws(2, new))
        assert loaded.trials_ == imputer.trials_
        numbers = ("depth_", "strength_", "rank_", "effective_rank_", "train_score_", "n_iter_")
        for name in (*numbers, "validation_score_", "converged_", "status_"):
            assert getattr(loaded, name) == getattr(imputer, name), name
        for name in ("singular_values_", "components_"):
            np.testing.assert_array_equal(getattr(loaded, name), getattr(imputer, name))
        given, kept = imputer.get_params(), loaded.get_params()
        assert np.isnan(given.pop("missing_values"))
        assert np.isnan(kept.pop("missing_values"))
        assert kept == given

    def test_names_of_columns_and_what_is_missing(self, table, tmp_path):
        names = [f"größe {j}" for j in range(20)]
        frame = pd.DataFrame(table, columns=names)
        imputer = dl.DeepLinearImputer(random_state=0).fit(frame)
        imputer.save(tmp_path / "a.dln")
        loaded = dl.DeepLinearImputer.load(tmp_path / "a.dln")
        assert loaded.get_feature_names_out().tolist() == names
        np.testing.assert_array_equal(loaded.transform(frame), imputer.transform(frame))
        with pytest.raises(InputError, match="feature names"):
            loaded.transform(frame[names[::-1]])
        marked = dl.DeepLinearImputer(random_state=0, missing_values=-1).fit(
            np.where(np.isnan(table), -1, table)
        )
        marked.save(tmp_path / "b.dln")
        assert dl.DeepLinearImputer.load(tmp_path / "b.dln").missing_values == -1

    def test_without_entries(self, table, fitted, tmp_path):
        fitted.save(tmp_path / "small.dln", entries=False)
        fitted.save(tmp_path / "whole.dln")
        sizes = [(tmp_path / f"{name}.dln").stat().st_size for name in ("small", "whole")]
        assert sizes[0] < sizes[1]
        loaded = dl.DeepLinearImputer.load(tmp_path / "small.dln")
        np.testing.assert_array_equal(loaded.transform(table), fitted.transform(table))
        for call in (
            lambda: loaded.predict_std(table),
            lambda: loaded.interval(table),
            lambda: loaded.draws(2),
            lambda: loaded.draws(2, table),
        ):
            with pytest.raises(InputError, match=r"saved without its entries.*entries=True"):
                call()

    def test_other_estimators_damage_and_unfitted_ones(self, table, fitted, tmp_path):
        path = tmp_path / "a.dln"
        dl.DeepMatrixCompletion(random_state=0).fit(table).save(path)
        with pytest.raises(InputError, match="a DeepMatrixCompletion, not a DeepLinearImputer"):
            dl.DeepLinearImputer.load(path)
        fitted.save(path)
        data = path.read_bytes()
        rng = np.random.default_rng(0)
        for place in [*range(0, 24), *rng.integers(24, len(data), 40), len(data) - 1]:
            damaged = bytearray(data)
            damaged[place] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            with pytest.raises(InputError, match=r"damaged|format version|not a deeplinear model"):
                dl.DeepLinearImputer.load(path)
        with pytest.raises(NotFittedError):
            dl.DeepLinearImputer().save(path)


SCRIPT = """
import os, signal, sys
import numpy as np
import deeplinear as dl
from completion_tables import noisy_table
from deeplinear.completion.solver import checkpoint

checkpoint.SHARE = float("inf")  # every state is written, however fast

def watch(state):
    if len(sys.argv) > 2 and "fitting all" in state.stage:
        print(state.stage, flush=True)
        if sys.argv[2] == "die" and state.stage.endswith(" sweep 6"):
            os.kill(os.getpid(), signal.SIGKILL)

X = noisy_table(40, 20, seed=3)[0]
options = {"depth": (2, 3), "strength": (0.3, 0.1), "early_stopping": False}
imputer = dl.DeepLinearImputer(
    **options, tol=1e-9, max_iter=60, random_state=0, checkpoint=sys.argv[1], callback=watch
)
print("result", imputer.fit_transform(X).tobytes().hex(), imputer.n_iter_)
"""


class TestCheckpoint:
    def run(self, *arguments):
        tests = os.path.dirname(os.path.dirname(__file__))
        path = os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )

    def test_a_killed_fit_goes_on_and_ends_with_the_same_numbers(self, tmp_path):
        undisturbed = self.run(tmp_path / "a").communicate()[0].split()
        killed = self.run(tmp_path / "b", "die")
        killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        assert (tmp_path / "b").exists()
        resumed = self.run(tmp_path / "b", "again").communicate()[0].splitlines()
        first = next(int(line.split()[-1]) for line in resumed if "sweep" in line)
        assert first > 3  # it did not begin again
        assert resumed[-1].split() == undisturbed
        assert not list(tmp_path.iterdir())

    def test_that_of_other_data_is_refused(self, table, tmp_path):
        path = tmp_path / "c"

        def stop(state):
            if "sweep 3" in state.stage:
                raise KeyboardInterrupt

        options = {"strength": 0.2, "tol": 1e-9, "early_stopping": False, "random_state": 0}
        options["checkpoint"] = path
        with pytest.raises(KeyboardInterrupt):
            dl.DeepLinearImputer(**options, callback=stop).fit(table)
        assert path.exists()
        with pytest.raises(InputError, match="belongs to other data or other options"):
            dl.DeepLinearImputer(**options).fit(table + 1)
        dl.DeepLinearImputer(**options).fit(table)
        assert not path.exists()


class TestProcesses:
    def test_pickles_and_clones(self, table, fitted):
        again = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(again.transform(table), fitted.transform(table))
        np.testing.assert_array_equal(again.draws(1), fitted.draws(1))
        # a callback need not be picklable once the fit is over, where it is not a parameter
        assert not hasattr(fitted, "_callback")
        fresh = clone(fitted)
        assert not hasattr(fresh, "model_")
        np.testing.assert_array_equal(fresh.fit_transform(table), fitted.transform(table))

    def test_in_parallel(self, table, fitted):
        one = dl.DeepLinearImputer(random_state=0)
        for backend in ("loky", "threading"):
            found = Parallel(n_jobs=2, backend=backend)(
                delayed(clone(one).fit_transform)(table) for _ in range(2)
            )
            for filled in found:
                np.testing.assert_array_equal(filled, fitted.transform(table))

    @pytest.mark.parametrize("options", [{}, {"n_draws": 3}, {"regularization": "implicit"}])
    def test_threads_do_not_matter(self, options):
        X = noisy_table(400, 200, seed=3)[0]
        given = {"strength": 0.2, "random_state": 0, "max_iter": 8, "max_rank": 5, **options}
        one, two = (dl.DeepLinearImputer(**given, threads=k).fit_transform(X) for k in (1, 2))
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "options", [slow({}), {"depth": (2, 3), "center": False}, slow({"n_draws": 5})]
)
def test_devices_of_jax_agree_with_numpy(table, options):
    here, there = (
        dl.DeepLinearImputer(random_state=0, device=device, **options).fit(table)
        for device in ("cpu", "jax")
    )
    assert (here.depth_, here.strength_, here.rank_) == (there.depth_, there.strength_, there.rank_)
    np.testing.assert_allclose(there.transform(table), here.transform(table), rtol=0, atol=1e-8)
    np.testing.assert_allclose(there.predict_std(table), here.predict_std(table), atol=1e-8)
    np.testing.assert_allclose(there.draws(3), here.draws(3), atol=1e-6)
    assert there.validation_score_ == pytest.approx(here.validation_score_, rel=1e-8)
