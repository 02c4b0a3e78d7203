"""Functions that are compiled as a whole: a `jax.jit` whose programs outlive the process.

JAX's own cache on disk finds a program only after it was traced, and switching it on is a setting
of the whole process. Here a program is found by what it depends on (the function, the source of
this package, versions, settings, shapes), and no line of the function is traced again.
"""

import dataclasses
import enum
import functools
import os
import pickle
import threading
import weakref
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import serialize_executable
from jaxtyping import Array

from . import folder
from .fingerprint import UnknownError, describe, digest, setting, settings
from .notice import notice

P = ParamSpec("P")
R = TypeVar("R")

_PROGRAMS: "weakref.WeakSet[Program]" = weakref.WeakSet()


class Effort(enum.Enum):
    """How hard XLA tries on a CPU: compiling takes about 1 : 2 : 4, running the other way round."""

    #: For what runs once, and takes no time beside its compilation.
    LEAST = enum.auto()
    #: All but XLA's newer emitters of loops, by which small matrices run no faster.
    USUAL = enum.auto()
    #: For long elementwise work, which runs up to twice as fast by those.
    MOST = enum.auto()


_OPTIONS: dict[Effort, dict[str, bool | str]] = {
    Effort.LEAST: {
        "xla_cpu_use_fusion_emitters": False,
        "xla_backend_optimization_level": "0",
        "xla_llvm_disable_expensive_passes": True,
    },
    Effort.USUAL: {"xla_cpu_use_fusion_emitters": False},
    Effort.MOST: {},
}
_unknown_options: set[str] = set()  # to this jaxlib


def program(
    function: Callable[P, R] | None = None,
    *,
    effort: Effort | Callable[..., Effort] = Effort.USUAL,
) -> Any:
    """``function`` of pytrees of arrays (what is no array is static), compiled at first use.

    Inside ``jit``, ``vmap`` and ``grad`` it is a part of what is traced, as with `jax.jit`. Its
    results are pytrees of arrays. Static arguments that are not this library's (a function of the
    user's) are compiled for this process alone. ``effort`` may depend on the arguments, arrays as
    their shapes.
    """
    if function is None:
        return functools.partial(program, effort=effort)
    return Program(function, effort)


def forget_programs() -> None:
    """Drop every compiled program from memory, as `jax.clear_caches` does for JAX's own."""
    for each in _PROGRAMS:
        each.forget()


class Program(Generic[P, R]):
    """What `program` makes of a function."""

    def __init__(
        self, function: Callable[P, R], effort: Effort | Callable[..., Effort] = Effort.USUAL
    ) -> None:
        functools.update_wrapper(self, function)
        self._effort = effort
        self._function = _exactly(function)
        self._traced = eqx.filter_jit(self._function)
        self._ready: dict[object, Callable[[Sequence[Array]], Any]] = {}
        self._lock = threading.RLock()
        _PROGRAMS.add(self)

    def forget(self) -> None:
        """Drop what is compiled."""
        self._ready.clear()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        leaves, tree = jax.tree.flatten((args, kwargs))
        # (`jnp.asarray` of a NumPy array is compiled for each shape)
        arrays = [
            jax.device_put(x) if isinstance(x, np.ndarray) else x
            for x in leaves
            if isinstance(x, jax.Array | np.ndarray)
        ]
        if not all(map(_is_plain, arrays)) or setting("jax_disable_jit"):
            return self._traced(*args, **kwargs)
        kinds = iter(map(_kind, arrays))
        shapes = tuple(next(kinds) if isinstance(x, jax.Array | np.ndarray) else x for x in leaves)
        key = tree, shapes, settings()
        try:
            run = self._ready.get(key)
        except TypeError:  # something static cannot be compared
            return self._traced(*args, **kwargs)
        if run is None:
            with self._lock:  # several threads want it: one makes it
                if key not in self._ready:
                    self._ready[key] = self._prepared(tree, shapes)
                run = self._ready[key]
        return run(arrays)

    def _prepared(
        self, tree: jax.tree_util.PyTreeDef, shapes: tuple[object, ...]
    ) -> Callable[[Sequence[Array]], R]:
        """The program for arguments of this kind, from disk or compiled."""
        args, kwargs = jax.tree.unflatten(tree, shapes)
        try:
            name = digest(describe(self._function), describe(args), describe(kwargs))
        except UnknownError:
            return _Unkept(self._traced, tree, shapes)
        if (found := _load(name)) is not None:
            return found
        _watch_jax()
        before = _fetched.count
        with notice():
            compiled, outputs = self._compiled(tree, shapes)
        if _fetched.count == before:  # what JAX read from disk lacks parts when written again
            _keep(name, compiled, outputs)
        return functools.partial(_run, compiled, outputs)

    def _compiled(
        self, tree: jax.tree_util.PyTreeDef, shapes: tuple[object, ...]
    ) -> tuple[jax.stages.Compiled, object]:
        """The executable on a list of arrays, and the form of its results: a number for each."""
        form: list[object] = []

        def flat(arrays: list[Array]) -> list[Array]:
            args, kwargs = _filled(tree, shapes, arrays)
            leaves, out = jax.tree.flatten(self._function(*args, **kwargs))
            form[:] = [jax.tree.unflatten(out, range(len(leaves)))]
            return leaves

        flat.__name__ = getattr(self._function, "__name__", "program")
        arrays = [x for x in shapes if isinstance(x, jax.ShapeDtypeStruct)]
        effort = self._effort
        if not isinstance(effort, Effort):
            args, kwargs = jax.tree.unflatten(tree, shapes)
            effort = effort(*args, **kwargs)
        return _compile(jax.jit(flat).lower(arrays), effort), form[0]


def _exactly(function: Callable[P, R]) -> Callable[P, R]:
    """``function``, traced with products of float32 in float32, unless JAX is set otherwise.

    Accelerators would round the factors to 11 bits, and say nothing.
    """

    @functools.wraps(function)
    def exact(*args: P.args, **kwargs: P.kwargs) -> R:
        if setting("jax_default_matmul_precision") is not None or not accelerated():
            return function(*args, **kwargs)
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return exact


@dataclasses.dataclass
class _Unkept:
    """A program for this process alone, compiled by JAX at its first call."""

    traced: Callable[..., Any]
    tree: jax.tree_util.PyTreeDef
    shapes: tuple[object, ...]
    is_compiled: bool = False

    def __call__(self, arrays: Sequence[Array]) -> Any:
        args, kwargs = _filled(self.tree, self.shapes, arrays)
        if self.is_compiled:
            return self.traced(*args, **kwargs)
        with notice():
            out = self.traced(*args, **kwargs)
        self.is_compiled = True
        return out


def _compile(lowered: jax.stages.Lowered, effort: Effort) -> jax.stages.Compiled:
    flags = os.environ.get("XLA_FLAGS", "")  # what is set there holds
    options = {
        name: value
        for name, value in _OPTIONS[effort].items()
        if name not in flags and name not in _unknown_options
    }
    if options and _device().platform == "cpu":
        try:
            return lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            unknown = [name for name in options if f"'{name}'" in str(error)]
            if unknown:  # a jaxlib without such an option: the others hold
                _unknown_options.update(unknown)
                return _compile(lowered, effort)
    return lowered.compile()


def _filled(
    tree: jax.tree_util.PyTreeDef, shapes: tuple[object, ...], arrays: Sequence[Array]
) -> tuple[tuple, dict]:
    """The arguments, with ``arrays`` where the shapes are."""
    rest = iter(arrays)
    leaves = [next(rest) if isinstance(x, jax.ShapeDtypeStruct) else x for x in shapes]
    return jax.tree.unflatten(tree, leaves)


def _is_plain(x: Array) -> bool:
    """Whether ``x`` is a value in the memory of the default device, and numbers."""
    if isinstance(x, jax.core.Tracer) or jnp.issubdtype(x.dtype, jax.dtypes.extended):
        return False
    return x.devices() == {_device()}


def accelerated() -> bool:
    """Whether programs run on an accelerator, and not on the processor."""
    return _platform() != "cpu"


def _platform() -> str:
    device = _device()  # JAX takes a name as well
    return device if isinstance(device, str) else device.platform


def _device() -> jax.Device:
    return setting("jax_default_device") or _first_device()


@functools.cache
def _first_device() -> jax.Device:
    return jax.devices()[0]


def _kind(x: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type)


def _run(compiled: jax.stages.Compiled, outputs: object, arrays: Sequence[Array]) -> Any:
    return jax.tree.unflatten(jax.tree.structure(outputs), compiled(list(arrays)))


class _Fetched(threading.local):
    """How many programs this thread got from JAX's own cache on disk."""

    count = 0


_fetched = _Fetched()


@functools.cache
def _watch_jax() -> None:
    """Count what JAX reads from its own cache."""

    def listen(event: str, **_: str | int) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            _fetched.count += 1

    jax.monitoring.register_event_listener(listen)


def _keep(name: str, compiled: jax.stages.Compiled, outputs: object) -> None:
    """Write a program to disk, unless it cannot be (it calls back into Python)."""
    if folder.cache_folder() is None:
        return
    try:
        content = pickle.dumps((serialize_executable.serialize(compiled), outputs))
    except Exception:  # any: it is only not kept
        return
    folder.write(name, zlib.compress(content, 1))


def _load(name: str) -> Callable[[Sequence[Array]], Any] | None:
    """A program from disk."""
    content = folder.read(name)
    if content is None:
        return None
    _register_lapack()
    try:
        (payload, inputs, results), outputs = pickle.loads(zlib.decompress(content))
        compiled = serialize_executable.deserialize_and_load(
            payload, inputs, results, execution_devices=[_device()]
        )
    except Exception:  # any: it is compiled again
        return None
    return functools.partial(_run, compiled, outputs)


@functools.cache
def _register_lapack() -> None:
    """Let jaxlib look up LAPACK, which a program calls: it does so where a call is lowered only."""
    jax.jit(jnp.linalg.cholesky).lower(jax.ShapeDtypeStruct((1, 1), jnp.float32))
