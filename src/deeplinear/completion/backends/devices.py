"""The passes over the entries in JAX: on a GPU, or dealt out to several devices.

Entries are stored in segments of `WIDTH` per line, padded with weight 0, so that a pass is gathers,
small dense sums and one sum over sorted segments; nothing is scattered entry by entry. Lines are
dealt out in contiguous groups, one per device, with about equal numbers of segments; a group needs
the whole other side and nothing else, so a pass has no communication. The entries stay on the
devices; the factors travel with every pass (their size is a small part of the entries'). `Devices`
is a backend like the others: everything else of a fit is the same code.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from ...errors import InputError
from ..data.observations import Compressed
from .base import AbstractBackend, Pass

WIDTH = 32
# Segments that are worked on at a time on one device: on a processor what its cache holds, on an
# accelerator so many that their work takes longer than the launch of its kernels.
BATCH, LARGE_BATCH = 2**12, 2**15
LINES, ALL = PartitionSpec("lines"), PartitionSpec()
Specs = PartitionSpec | tuple[PartitionSpec, ...]


@contextmanager
def _exactly() -> Iterator[None]:
    """float64 data in float64, and products of float32 in float32: not rounded to 11 bits, as
    accelerators would.
    """
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        yield


class Shards:
    """One compressed structure, cut for ``count`` devices.

    Arrays have a leading axis of ``count`` equal parts, flattened. A part is a multiple of
    ``batch`` segments, about as many as are asked for: a remainder would be cut off by a copy.
    """

    def __init__(self, lines: Compressed, count: int, batch: int = BATCH) -> None:
        counts = lines.counts
        segments = -(-counts // WIDTH)
        edges = np.searchsorted(
            np.cumsum(segments), np.linspace(0, segments.sum(), count + 1)[1:-1], side="right"
        )
        edges = np.r_[0, edges, len(counts)]
        heights, sizes = (
            np.diff(edges),
            np.add.reduceat(np.r_[segments, 0], edges[:-1]) * (np.diff(edges) > 0),
        )
        self.height, size = int(heights.max()), int(max(sizes.max(), 1))
        pieces = -(-size // batch)
        self.batch = -(-size // pieces)
        size = pieces * self.batch
        group = np.repeat(np.arange(count), heights)
        # where a line, and where its first segment, lies in the padded order
        self.place = group * self.height + np.arange(len(counts)) - edges[group]
        offsets = np.cumsum(segments) - segments
        first = group * size + offsets - offsets[np.minimum(edges[group], len(counts) - 1)]
        line = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(lines.indices)) - lines.indptr[line]
        slot = (first[line] + within // WIDTH) * WIDTH + within % WIDTH
        total = count * size
        self.rows, self.count = count * self.height, count
        self.indices = np.zeros((total, WIDTH), np.int32)
        self.values = np.zeros((total, WIDTH), lines.values.dtype)
        self.weights = np.zeros((total, WIDTH), lines.values.dtype)
        self.indices.flat[slot] = lines.indices
        self.values.flat[slot] = lines.values
        self.weights.flat[slot] = lines.weights if lines.weights.size else 1
        # segments without entries belong to the last line of their group, so that the order stays
        # sorted
        self.segment = np.full(total, self.height - 1, np.int32)
        starts = np.repeat(first - offsets, segments) + np.arange(segments.sum())
        self.segment[starts] = np.repeat(np.arange(len(counts)) - edges[group], segments)
        self.number = np.zeros(self.rows, np.uint32)
        self.number[self.place] = np.arange(len(counts))

    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.indices, self.values, self.weights, self.segment, self.number


def _over_lines(values: Array, segment: Array, height: int) -> Array:
    return jax.ops.segment_sum(values, segment, height, indices_are_sorted=True)


def _solve(indices, values, weights, segment, number, Z, scale, mean, Y, how, *, steps, batch):
    """`Dense.solve` for the lines of one device."""
    ridge, extra, free = how
    height = len(Z)

    def look(part):
        i, x, w, z = part
        y = Y[i]
        e = x - mean - y @ z
        return (w * e) @ y, w @ (y * y), (w * e) @ e

    def curve(part):
        i, w, d = part
        y = Y[i]
        along = w * (y @ d)
        return along @ y

    grad, square, energy = jax.lax.map(
        look, (indices, values, weights, Z[segment]), batch_size=batch
    )
    grad, square = _over_lines(grad, segment, height), _over_lines(square, segment, height)
    pull, bend = (Z * grad).sum(axis=0), (Z * Z * square).sum(axis=0)
    total = ridge * scale[:, None] + extra
    grad = grad - total * Z
    inverse = jnp.where(
        square + total > 0, free / jnp.where(square + total > 0, square + total, 1), 0
    )
    direction = inverse * grad
    eps = jnp.finfo(Z.dtype).eps
    least = (64 * eps) ** 2 * (grad * direction).sum(axis=1)

    def step(_, state):
        Z, grad, direction, norm = state
        image = jax.lax.map(curve, (indices, weights, direction[segment]), batch_size=batch)
        image = _over_lines(image, segment, height) + total * direction
        bent = (direction * image).sum(axis=1)
        go = (norm > least) & (bent > eps * norm)  # see `Dense.solve`
        length = jnp.where(go, norm / jnp.where(go, bent, 1), 0)[:, None]
        Z, grad = Z + length * direction, grad - length * image
        new = (grad * grad * inverse).sum(axis=1)
        ratio = jnp.where(go, new / jnp.where(go, norm, 1), 0)[:, None]
        return Z, grad, inverse * grad + ratio * direction, jnp.where(go, new, 0)

    Z = jax.lax.fori_loop(0, steps, step, (Z, grad, direction, (grad * direction).sum(axis=1)))[0]
    return Z, energy.sum()[None] / 2, pull[None], bend[None]


def _signs(i: Array, j: Array, seed: int) -> Array:
    """`dense.random_signs`."""
    a, b = jnp.maximum(i, j).astype(jnp.uint64), jnp.minimum(i, j).astype(jnp.uint64)
    h = a * jnp.uint64(0x9E3779B97F4A7C15) + b * jnp.uint64(0xC2B2AE3D27D4EB4F) + jnp.uint64(seed)
    h = (h ^ (h >> jnp.uint64(30))) * jnp.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> jnp.uint64(27))) * jnp.uint64(0x94D049BB133111EB)
    return jnp.where((h >> jnp.uint64(63)) == 1, 1, -1)


def _residual_matmul(indices, values, weights, segment, number, Z, mean, Y, X, *, seed, batch):
    """`Dense.residual_matmul` for the lines of one device."""

    def look(part):
        i, x, w, z, line = part
        we = w * (x - mean - Y[i] @ z)
        if seed:
            we = we * _signs(line, i.astype(jnp.uint32), seed)
        return we @ X[i]

    out = jax.lax.map(
        look, (indices, values, weights, Z[segment], number[segment]), batch_size=batch
    )
    return _over_lines(out, segment, len(Z))


@cache
def _program(
    function: Callable,
    mesh: Mesh,
    split: int,
    whole: int,
    outputs: Specs,
    static: tuple[tuple[str, int], ...],
) -> Callable[..., Array | tuple[Array, ...]]:
    """``function`` on every device of ``mesh``; all fits of a process share what JAX compiles."""
    specs = (*[LINES] * (5 + split), *[ALL] * whole)
    local = jax.shard_map(
        partial(function, **dict(static)), mesh=mesh, in_specs=specs, out_specs=outputs
    )
    return jax.jit(local)


class Devices(AbstractBackend):
    """The passes of a fit on JAX devices; draws and leverages on the backend ``cpu``.

    ``kind`` is ``"gpu"`` (all of them) or ``"jax"`` (all devices of JAX's default platform).
    float64 data are computed in float64. After ``jax.distributed.initialize`` the devices are those
    of all processes: each runs the same fit on the same data and ends with the same result; only
    the factors travel between them.
    """

    def __init__(self, kind: str, cpu: AbstractBackend) -> None:
        super().__init__(cpu.pool)
        self.cpu = cpu
        try:
            self.devices = jax.devices() if kind == "jax" else jax.devices(kind)
        except RuntimeError as error:
            raise InputError(
                f'device="{kind}" is not there ({error}): use device="cpu", or install '
                "deeplinear[gpu]."
            ) from None
        self._batch = BATCH if self.devices[0].platform == "cpu" else LARGE_BATCH
        mesh = Mesh(np.array(self.devices), ("lines",))
        self._split, self._same = NamedSharding(mesh, LINES), NamedSharding(mesh, ALL)
        self._mesh = mesh
        self._several = len({device.process_index for device in self.devices}) > 1
        self._shards: dict[int, tuple[Compressed, Shards, tuple[Array, ...]]] = {}

    def _of(self, lines: Compressed) -> tuple[Shards, tuple[Array, ...]]:
        if id(lines) not in self._shards:
            shards = Shards(lines, len(self.devices), self._batch)
            put = tuple(self._put(array, self._split) for array in shards.arrays())
            # holds on to ``lines``, so that the id stays its own
            self._shards[id(lines)] = lines, shards, put
        return self._shards[id(lines)][1:]

    def forget(self, lines: Compressed) -> None:
        self._shards.pop(id(lines), None)

    def _call(
        self, function: Callable, split: int, whole: int, outputs: Specs, **static: int
    ) -> Callable:
        return _program(function, self._mesh, split, whole, outputs, tuple(static.items()))

    def _spread(self, shards: Shards, array: np.ndarray) -> Array:
        padded = np.zeros((shards.rows, *array.shape[1:]), array.dtype)
        padded[shards.place] = array
        return self._put(padded, self._split)

    def _put(self, array: ArrayLike, sharding: NamedSharding) -> Array:
        """``array``, which every process holds, on the devices."""
        if not self._several:
            return jax.device_put(array, sharding)
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, sharding, lambda place: array[place])

    def _take(self, array: Array) -> np.ndarray:
        """The whole of an array that is spread over the devices, in every process."""
        if not self._several:
            return np.asarray(array)
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(array, tiled=True))

    def solve(self, lines, Z, Y, mean, ridge, extra, scale, free, steps) -> Pass:
        with _exactly():
            shards, entries = self._of(lines)
            call = self._call(_solve, 2, 3, (LINES,) * 4, steps=steps, batch=shards.batch)
            whole = [self._put(x, self._same) for x in (mean, Y)]
            how = tuple(self._put(x, self._same) for x in (ridge, extra, free))
            sides = self._spread(shards, Z), self._spread(shards, scale)
            new, *sums = call(*entries, *sides, *whole, how)
            Z[:] = self._take(new)[shards.place]
            energy, pull, bend = (self._take(part).astype(float).sum(axis=0) for part in sums)
        return Pass(float(energy), pull, bend)

    def residual_matmul(self, lines, Z, Y, X, mean, seed) -> np.ndarray:
        with _exactly():
            shards, entries = self._of(lines)
            call = self._call(_residual_matmul, 1, 3, LINES, seed=seed, batch=shards.batch)
            k = X.shape[1]
            X = np.pad(X, ((0, 0), (0, -k % 8)))  # every new shape would be compiled
            whole = [self._put(x, self._same) for x in (mean, Y, X)]
            return self._take(call(*entries, self._spread(shards, Z), *whole))[shards.place, :k]

    def draw(self, lines, other, mean, precision, prior, pull, shift, noise):
        return self.cpu.draw(lines, other, mean, precision, prior, pull, shift, noise)

    def leverage(self, lines, mine, theirs, other, ridge, scale, asked) -> np.ndarray:
        return self.cpu.leverage(lines, mine, theirs, other, ridge, scale, asked)
