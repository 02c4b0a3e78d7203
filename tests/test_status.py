"""One vocabulary of how a computation ended: sentences, codes in arrays, and no JAX to read it."""

import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplinear as dl
from deeplinear.status import Status


class TestSentences:
    @pytest.mark.parametrize("status", Status)
    def test_every_status_has_one_sentence_and_its_own(self, status):
        assert status.sentence.endswith(".")
        assert str(status) == f"{status}" == Status[status.value] == status.sentence
        assert [other for other in Status if other.sentence == status.sentence] == [status]

    def test_codes_of_every_kind_are_looked_up(self):
        for code in (4, np.int32(4), np.array(4), jnp.asarray(4), Status.energy):
            assert dl.Status[code] == "The energy fell to stop_energy."
        assert Status["energy"] is Status(4) is Status.energy

    def test_several_codes_or_unknown_ones_are_refused(self):
        with pytest.raises(TypeError, match="one code"):
            Status[np.array([1, 2])]
        with pytest.raises(ValueError, match="99"):
            Status[99]
        with pytest.raises(KeyError):
            Status["lost"]

    def test_the_names_of_before_are_the_same_vocabulary(self):
        assert dl.Ending is dl.DiffusionStatus is dl.Status is Status
        assert pickle.loads(pickle.dumps(Status.limit)) is Status.limit


class TestCodes:
    codes = (Status.converged, Status.max_steps, Status.stopped_early, Status.running)

    def test_arrays_of_codes_compare_and_are_judged(self):
        for array in (np.array, jnp.array):
            codes = array(self.codes)
            assert (codes == Status.max_steps).tolist() == [False, True, False, False]
            assert Status.succeeded(codes).tolist() == [True, False, True, False]
        assert Status.succeeded(Status.limit) is True
        assert Status.succeeded(Status.callback) is False

    def test_compiled_code_chooses_among_them(self):
        @jax.jit
        @jax.vmap
        def judge(error):
            status = jnp.asarray(Status.not_converged, jnp.int32)
            status = jnp.where(error < 1, Status.converged, status)
            return jnp.where(jnp.isnan(error), Status.failed, status)

        found = judge(jnp.array([0.1, 2.0, jnp.nan]))
        assert found.dtype == jnp.int32
        expected = [Status.converged, Status.not_converged, Status.failed]
        assert [Status(int(code)) for code in found] == expected

    def test_results_of_a_batch_carry_them(self):
        energy = dl.Completion([0], [0], [1.0], (2, 2))
        starts = jnp.eye(2) * jnp.array([0.5, 1.0])[:, None, None]
        flow = jax.vmap(
            lambda W: dl.gradient_flow(
                energy, W, 1, t1=1.0, stop_energy=1e-3, rtol=1e-3, chart="dense"
            )
        )(starts)
        assert flow.status.dtype == jnp.int32
        assert (flow.status == Status.reached_t1).tolist() == [True, False]
        assert flow.converged.tolist() == [True, True]
        assert Status[flow.status[1]] == "The energy fell to stop_energy."


def test_neither_jax_nor_numpy_is_needed():
    code = (
        "import sys; from deeplinear.status import Status; "
        "assert not {'jax', 'numpy', 'equinox'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
