"""Precision, devices, threads and memory, as far as this process may use them."""

import os
import platform
from pathlib import Path

import numpy as np

from ..processors import processor_count
from .finding import Finding, look

SECTION = "machine"
_LEAST_MEMORY = 1 << 30  # bytes for comfortable work
_GROUP = Path("/sys/fs/cgroup")  # limits of a container, of both versions
_LIMITS = (_GROUP / "memory.max", _GROUP / "memory" / "memory.limit_in_bytes")


def findings() -> list[Finding]:
    """Findings about what computes."""
    jax = "install JAX again (pip install --force-reinstall jax jaxlib), or set JAX_PLATFORMS=cpu"
    numba = "install numba again: pip install --force-reinstall numba llvmlite"
    return [
        look(SECTION, "precision", jax, _precision),
        look(SECTION, "devices", jax, _devices),
        look(SECTION, "processors", "set LOKY_MAX_CPU_COUNT to their number", _processors),
        look(SECTION, "BLAS", "install NumPy and SciPy again", _blas),
        look(SECTION, "compiled loops", numba, _loops),
        look(SECTION, "memory", "leave it", _memory),
    ]


def _precision() -> Finding:
    """64 bits in JAX, and small numbers in NumPy, which some libraries switch off for a process."""
    import jax.numpy as jnp

    bits = jnp.zeros(()).dtype.itemsize * 8
    tiny = float(np.finfo(float).smallest_normal)
    small = float(np.float64(tiny) / 2) > 0
    figures = {"bits": bits, "subnormal": small}
    if not small:
        text = "numbers below 2e−308 become 0: some library was built with -ffast-math; update it."
        return Finding(SECTION, "precision", False, text, figures)
    if bits != 64:
        text = (
            'JAX computes in 32 bits here; jax.config.update("jax_enable_x64", True) before '
            "anything else gives 64."
        )
        return Finding(SECTION, "precision", None, text, figures)
    return Finding(SECTION, "precision", True, "64 bits, with subnormal numbers.", figures)


def _devices() -> Finding:
    import jax

    found = [f"{device.platform} {device.id} ({device.device_kind})" for device in jax.devices()]
    text = f"JAX {jax.__version__} computes on {', '.join(found[:8])}."
    return Finding(SECTION, "devices", True, text, {"devices": found})


def _processors() -> Finding:
    mine, all_of_them = processor_count(), os.cpu_count() or 1
    limited = mine < all_of_them
    why = " (affinity or the limit of a container)" if limited else ""
    text = f"{mine} of {all_of_them} may be used{why}; {platform.system()} {platform.machine()}."
    figures = {"usable": mine, "all": all_of_them}
    return Finding(SECTION, "processors", True, text, figures)


def _blas() -> Finding:
    """Threads of the linear algebra: more than processors make it slow, not wrong."""
    import scipy.linalg  # noqa: F401  # it may bring a library of its own
    from threadpoolctl import threadpool_info

    libraries = [lib for lib in threadpool_info() if lib["user_api"] == "blas"]
    shown = {f"{lib['internal_api']} {lib['version']}": lib["num_threads"] for lib in libraries}
    mine = processor_count()
    figures = {"libraries": shown}
    text = ", ".join(f"{name} on {threads} thread(s)" for name, threads in shown.items())
    if any(threads > 2 * mine for threads in shown.values()):
        text += f", but only {mine} processor(s) may be used; set OMP_NUM_THREADS={mine}."
        return Finding(SECTION, "BLAS", False, text, figures)
    return Finding(SECTION, "BLAS", True, f"{text or 'no library that we know'}.", figures)


def _loops() -> Finding:
    """numba: whether it compiles, and which layers of threads it has."""
    import numba
    from numba.core import config

    layers = [name for name in ("tbb", "omp", "workqueue") if _has_layer(name)]
    figures = {
        "numba": numba.__version__,
        "threads": getattr(config, "NUMBA_NUM_THREADS", None),
        "layers": layers,
        "layer": getattr(config, "THREADING_LAYER", None),
    }
    if getattr(config, "DISABLE_JIT", False):
        text = "numba does not compile (NUMBA_DISABLE_JIT), which is very slow; unset it."
        return Finding(SECTION, "compiled loops", False, text, figures)
    answer = numba.njit(lambda x: x * x + 1)(2.0)
    text = (
        f"numba {numba.__version__} compiles; its layers of threads: {', '.join(layers)}"
        " (ours are Python's own, on compiled loops)."
    )
    return Finding(SECTION, "compiled loops", answer == 5.0, text, figures)


def _has_layer(name: str) -> bool:
    from importlib import import_module

    module = {"tbb": "tbbpool", "omp": "omppool", "workqueue": "workqueue"}[name]
    try:
        import_module(f"numba.np.ufunc.{module}")
    except ImportError:
        return False
    return True


def _memory() -> Finding:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return Finding(SECTION, "memory", None, "how much there is, this system does not tell.", {})
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory_limit()
    limited = limit is not None and limit < size
    usable = min(size, limit) if limit is not None else size
    figures = {"bytes": size, "limit": limit}
    text = f"{usable / 1e9:.1f} GB{' (the limit of a container)' if limited else ''}"
    if usable < _LEAST_MEMORY:
        text += " are little: 1 GB is enough for small tables; allow this process more."
        return Finding(SECTION, "memory", False, text, figures)
    return Finding(SECTION, "memory", True, f"{text}.", figures)


def memory_limit() -> int | None:
    """Bytes that a container allows; None without a limit."""
    for path in _LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return int(text)
    return None
