"""The test session: 64 bits, shapes of the annotations checked at run time, doctests in a fixed
namespace.
"""

import math
import os
import signal

from jaxtyping import install_import_hook

# Before the first import of what they cover. Only the numerical core: its annotations carry shapes.
CORE = [
    "energies",
    "geometry.point",
    "geometry.kernel",
    "geometry.operator",
    "geometry.derivatives",
    "geometry.metric",
    "geometry.volume",
    "dynamics.factors",
    "dynamics.coordinates",
]
install_import_hook([f"deeplinear.{name}" for name in CORE], "beartype.beartype")

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from deeplinear.compilation import cache_compilations, forget_programs  # noqa: E402

jax.config.update("jax_enable_x64", True)
# The first call of everything compiles, so no deadline; the same examples in every run.
settings.register_profile("deeplinear", deadline=None, derandomize=True)
settings.load_profile("deeplinear")


def pytest_configure(config):
    """What commands keep between calls goes to pytest's cache, not to the user's folder; and an
    interruption reaches tests that a shell runs in the background, which ignores it.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "cache"):  # not with -p no:cacheprovider
        os.environ["XDG_CACHE_HOME"] = str(config.cache.mkdir("home"))


@pytest.fixture(autouse=True)
def _no_compilation_cache():
    """A test that keeps compiled programs does so for itself alone, also by JAX's own cache."""
    before = jax.config.jax_compilation_cache_dir
    cache_compilations(False)
    yield
    if jax.config.jax_compilation_cache_dir != before:
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture(autouse=True, scope="module")
def _compiled_for_one_file():
    """What a file compiled goes with it: thousands of programs use up a process's memory maps, and
    then the compiler ends it with a signal."""
    yield
    jax.clear_caches()
    forget_programs()


@pytest.fixture
def rng():
    """A generator with a fixed seed: generic points, the same in every run."""
    return np.random.default_rng(20231)


@pytest.fixture(autouse=True)
def _doctest_namespace(doctest_namespace):
    doctest_namespace.update(np=np, math=math, jax=jax, jnp=jax.numpy)
