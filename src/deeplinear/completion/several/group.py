"""The processes of one run, and the few ways in which they talk: by JAX's distributed runtime.

Whatever travels goes as bytes, padded so that few shapes are compiled. Every method is called by
all processes, in the same order.
"""

import re
from collections.abc import Callable, Sequence
from functools import cached_property

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ...errors import InputError, LostProcessError

# Bytes that a process sends to another one at a time: what an exchange holds besides its content.
_PIECE = 1 << 22
# Seconds after which a process that is silent counts as lost.
_SILENCE = 30
# How errors of the runtime begin, which come as ValueErrors where an array is waited for.
_STATUS = re.compile(r"[A-Z_]+: ")


def join(coordinator: str, processes: int, index: int, *, silence: int = _SILENCE) -> None:
    """Join a run as process ``index`` of ``processes``; to be called before JAX computes anything.

    ``coordinator``: address and port of process 0, "10.0.0.1:1234". A process that says nothing for
    ``silence`` seconds counts as lost. It is `jax.distributed.initialize`, which may be called
    instead: on some clusters it needs no arguments.

    **Raises** `InputError` for numbers out of range.
    """
    if not 0 <= index < processes:
        raise InputError(f"index must lie between 0 and {processes - 1}, got {index}.")
    jax.distributed.initialize(
        coordinator, num_processes=processes, process_id=index, heartbeat_timeout_seconds=silence
    )


class Group:
    """All processes of the run; one, where none has joined.

    ``sent`` counts the bytes that this process has handed over to each of the others together.
    """

    def __init__(self) -> None:
        self.size, self.index = jax.process_count(), jax.process_index()
        self.sent = 0

    def stack(self, array: np.ndarray) -> np.ndarray:
        """(processes, …): the arrays of all processes, which have one shape and type."""
        array = np.asarray(array, order="C")  # numbers stay numbers
        if self.size == 1:
            return array[None]
        raw = self._gathered(np.frombuffer(array.tobytes(), np.uint8))
        return raw[:, : array.nbytes].copy().view(array.dtype).reshape(self.size, *array.shape)

    def total(self, numbers: np.ndarray | Sequence[float] | float) -> np.ndarray:
        """The sum over the processes, in their order, in float64."""
        return np.sum(self.stack(np.asarray(numbers, float)), axis=0)

    def concatenate(self, array: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """The arrays of all processes, of any lengths, one after the other.

        ``lengths`` (processes,), if they are known, save a message.
        """
        array = np.ascontiguousarray(array)
        if self.size == 1:
            return array
        if lengths is None:
            lengths = self.stack(np.array(len(array)))
        row = array.dtype.itemsize * int(np.prod(array.shape[1:]))
        raw = np.zeros(int(lengths.max()) * row, np.uint8)
        raw[: array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
        found = self._gathered(raw)
        parts = [part[: n * row] for part, n in zip(found, lengths, strict=True)]
        return np.concatenate(parts).view(array.dtype).reshape(-1, *array.shape[1:])

    def exchange(self, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What each process has for this one; ``parts``: vectors of one type for each of them."""
        if self.size == 1:
            return list(parts)
        kind = parts[0].dtype
        lengths = self.stack(np.array([len(part) for part in parts]))  # (from, to)
        step = max(1, _PIECE // kind.itemsize)
        rounds = -(-int(lengths.max()) // step)
        step = _rounded(min(step, int(lengths.max())))
        mine = [np.empty(int(n), kind) for n in lengths[:, self.index]]
        for lo in range(0, rounds * step, step):
            out = np.zeros((self.size, step), kind)
            for to, part in enumerate(parts):
                piece = part[lo : lo + step]
                out[to, : len(piece)] = piece
            found = self._swapped(out.view(np.uint8).ravel()).view(kind).reshape(self.size, step)
            for target, piece in zip(mine, found, strict=True):
                target[lo : lo + step] = piece[: max(len(target) - lo, 0)]
        return mine

    def _gathered(self, raw: np.ndarray) -> np.ndarray:
        padded = np.zeros(_rounded(len(raw)), np.uint8)
        padded[: len(raw)] = raw
        self.sent += len(padded) * (self.size - 1)
        return self._guarded(lambda: np.asarray(multihost_utils.process_allgather(padded)))

    def _swapped(self, raw: np.ndarray) -> np.ndarray:
        """Part p of every process, one after the other, in process p."""
        self.sent += len(raw) // self.size * (self.size - 1)

        def call() -> np.ndarray:
            given = jax.make_array_from_process_local_data(self._sharding, raw)
            return np.asarray(self._swap(given).addressable_shards[0].data)

        return self._guarded(call)

    @cached_property
    def _sharding(self) -> NamedSharding:
        first = {device.process_index: device for device in reversed(jax.devices())}
        mesh = Mesh(np.array([first[p] for p in range(self.size)]), ("processes",))
        return NamedSharding(mesh, PartitionSpec("processes"))

    @cached_property
    def _swap(self) -> Callable[[jax.Array], jax.Array]:
        spec = PartitionSpec("processes")
        return jax.jit(
            jax.shard_map(
                lambda x: jax.lax.all_to_all(x, "processes", 0, 0, tiled=True),
                mesh=self._sharding.mesh,
                in_specs=spec,
                out_specs=spec,
            )
        )

    def _guarded(self, call: Callable[[], np.ndarray]) -> np.ndarray:
        try:
            return call()
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            if not _STATUS.match(str(error)):
                raise
            reason = str(error).splitlines()[0][:120]
            raise LostProcessError(
                f"process {self.index} of {self.size}: another process has ended or cannot be "
                f"reached ({reason}): start all of them again; with a checkpoint they go on from "
                "there."
            ) from None


def _rounded(size: int) -> int:
    """``size`` or up to an eighth more, so that there are few of them."""
    unit = 1 << max(int(size).bit_length() - 4, 0)
    return max(-(-size // unit) * unit, 1)
