"""Programs that outlive the process: found by the next one, refused, damaged, turned off."""

import json
import os
import subprocess
import sys
import textwrap
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplinear as dl
from deeplinear.compilation import cache_compilations, folder, program
from deeplinear.compilation.fingerprint import UnknownError, describe
from deeplinear.compilation.programs import _OPTIONS, Effort, Program, _compile
from deeplinear.dynamics.ensembles.steppers import PlanarStepper

# Says what it computed, how many programs it compiled and how many of JAX's settings it changed.
CHILD = """
import json, jax, numpy as np
before = dict(jax.config.values)
import deeplinear as dl
from deeplinear.compilation.programs import _OPTIONS, Effort, Program, _compile
compiled, compile = [], Program._compiled
def count(self, *args):
    compiled.append(self.__name__)
    return compile(self, *args)
Program._compiled = count
def energy(W):
    return ((W - {target}) ** 2).sum()
W = np.array([[1.0, 0.5], [0.2, 1.5]], np.float32)
values = [float(dl.curvature.scalar(W, 3)), dl.gradient(energy, W, 2).tolist()]
changed = sum(before[name] != x for name, x in jax.config.values.items())
print(json.dumps([values, compiled, changed]))
"""


def child(home, target=1.0, **environment):
    """What a process with this cache folder prints: values, programs compiled, settings changed."""
    names = ("DEEPLINEAR_CACHE", "JAX_COMPILATION_CACHE_DIR")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD).format(target=target)],
        env={**kept, "XDG_CACHE_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def files(home):
    return sorted(path for path in home.rglob("*.program"))


def test_a_second_process_compiles_nothing_and_computes_the_same(tmp_path):
    first = child(tmp_path)
    assert sorted(first[1]) == ["_gradient", "_on_batch"]
    assert first[2] == 0
    assert len(files(tmp_path / "deeplinear" / "compiled")) == 2
    second = child(tmp_path)
    assert second == [first[0], [], 0]


def test_an_energy_that_changed_is_another_program(tmp_path):
    child(tmp_path)
    values, compiled, _ = child(tmp_path, target=2.0)
    assert compiled == ["_gradient"]
    W = np.array([[1.0, 0.5], [0.2, 1.5]])
    np.testing.assert_allclose(
        values[1], dl.gradient(lambda W: jnp.sum((W - 2) ** 2), W, 2), rtol=1e-5
    )


def test_turned_off_nothing_is_kept(tmp_path):
    child(tmp_path, DEEPLINEAR_CACHE="off")
    assert not any(tmp_path.iterdir())


def test_the_folder_of_jax_is_respected(tmp_path):
    child(tmp_path / "home", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))
    assert len(files(tmp_path / "own" / "deeplinear")) == 2
    assert not files(tmp_path / "home")


def test_programs_that_jax_has_kept_are_not_written_again(tmp_path):
    """What JAX reads from its own cache lacks functions once it is written a second time."""
    of_jax = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    first = child(tmp_path, **of_jax, DEEPLINEAR_CACHE=str(tmp_path / "ours"))
    for _ in range(2):  # ours is empty at first, JAX's is not
        again = child(tmp_path, **of_jax, DEEPLINEAR_CACHE=str(tmp_path / "others"))
        assert again[0] == first[0]
    assert again[1] == first[1]


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nowhere"])
def test_a_home_that_cannot_be_written_is_no_error(home):
    assert len(child(home)[1]) == 2


def test_two_processes_at_once_leave_whole_files(tmp_path):
    code = f"from test_programs import child; child({str(tmp_path)!r})"
    here = os.path.dirname(__file__)
    path = os.pathsep.join([here, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    both = [
        subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})
        for _ in range(2)
    ]
    assert [process.wait() for process in both] == [0, 0]
    assert child(tmp_path)[1] == []
    assert not list(tmp_path.rglob("*.partial"))


@pytest.fixture
def kept(tmp_path):
    cache_compilations(tmp_path / "kept")
    return tmp_path / "kept"


def twice(x, factor=2):
    return {"y": factor * x}


@pytest.fixture
def known(monkeypatch):
    """A function that counts as the library's own."""
    monkeypatch.setattr(twice, "__module__", "deeplinear.test")
    return partial(Program, twice)


def test_a_damaged_file_is_compiled_again(kept, known):
    assert float(known()(jnp.float32(3.0))["y"]) == 6
    (file,) = files(kept)
    content = file.read_bytes()
    for damaged in (content[:50], b"", content[:-1] + b"x"):
        file.write_bytes(damaged)
        assert float(known()(jnp.float32(3.0))["y"]) == 6
        assert file.read_bytes()[32:] == content[32:] or len(file.read_bytes()) > 50


def test_others_must_not_be_able_to_write_there(kept, known):
    kept.mkdir(mode=0o700)
    kept.chmod(0o777)
    assert float(known()(jnp.float32(3.0))["y"]) == 6
    assert not files(kept)


def test_the_folder_stays_small(kept, known, monkeypatch):
    run = known()
    run(jnp.ones(1, jnp.float32))
    size = files(kept)[0].stat().st_size
    monkeypatch.setattr(folder, "MOST", 3 * size + size // 2)
    for n in range(2, 7):
        run(jnp.ones(n, jnp.float32))
        os.utime(files(kept)[0])
    assert len(files(kept)) == 3
    assert sum(file.stat().st_size for file in files(kept)) <= folder.MOST


def test_values_are_those_of_jit_also_where_it_is_traced(known, rng):
    run, x = known(), rng.normal(size=3)
    np.testing.assert_array_equal(run(x)["y"], 2 * x)
    np.testing.assert_array_equal(run(x, factor=3)["y"], 3 * x)  # a static argument
    np.testing.assert_array_equal(jax.jit(lambda x: run(x)["y"])(x), 2 * x)
    np.testing.assert_array_equal(jax.vmap(jax.grad(lambda x: run(x)["y"] ** 2))(x), 8 * x)
    np.testing.assert_array_equal(jax.jit(lambda y: y + run(x)["y"])(1.0), 1 + 2 * x)
    assert run(jnp.float32(1))["y"].dtype == jnp.float32


def test_what_is_not_the_librarys_own_is_not_described():
    describe((PlanarStepper(), jnp.linalg.norm, {"a": [1.0, "b", None]}, np.ones(2)))
    for unknown in (lambda x: x, twice, eqx.nn.Lambda(lambda x: x), object()):
        with pytest.raises(UnknownError):
            describe(unknown)


def test_programs_of_unknown_functions_are_not_kept(kept):
    assert float(program(lambda x: x + 1)(jnp.float32(1.0))) == 2
    assert not files(kept)


class Lowered:
    """What is lowered for a jaxlib that knows these options alone."""

    def __init__(self, *known):
        self.known, self.tried = known, []

    def compile(self, compiler_options=None):
        self.tried.append(compiler_options or {})
        for name in compiler_options or {}:
            if name not in self.known:
                raise jax.errors.JaxRuntimeError(f"No such compile option: '{name}'")
        return compiler_options or {}


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="options of the CPU")
def test_options_that_a_jaxlib_does_not_know(monkeypatch):
    """jaxlib 0.11 knows one option less: the others hold, and it is tried once."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr("deeplinear.compilation.programs._unknown_options", set())
    every = _OPTIONS[Effort.LEAST]
    rest = list(every)[1:]
    assert _compile(Lowered(*every), Effort.LEAST) == every
    few = Lowered(*rest)
    assert _compile(few, Effort.LEAST) == {name: every[name] for name in rest}
    assert _compile(few, Effort.LEAST) == few.tried[-1]
    assert len(few.tried) == 3
    assert _compile(Lowered(), Effort.LEAST) == {}


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="options of the CPU")
def test_the_options_are_known_to_this_jaxlib_but_for_one(monkeypatch):
    """Later ones have no switch for the emitters of loops."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    lowered = jax.jit(lambda x: x + 1).lower(jnp.ones(3))
    for name, value in _OPTIONS[Effort.LEAST].items():
        try:
            lowered.compile(compiler_options={name: value})
        except jax.errors.JaxRuntimeError as error:
            assert name == "xla_cpu_use_fusion_emitters"
            assert f"'{name}'" in str(error)  # noqa: PT017
