"""A running computation on disk: everything the next sweep depends on, written whole or not at all.

A computation that has several stages (a choice, then the fit of all entries) has one file for all
of them.
"""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from ...atomic import write_atomically
from ...errors import InputError
from ..data.observations import Observations
from ..file_format import Arrays, Meta, named, pack, take_group, unpack, unreadable
from ..schema import TEXT, Field, check_nothing_left, take, take_part

T = TypeVar("T")
PathLike = str | os.PathLike[str]
# Writing may take this part of the time.
SHARE = 0.05
_KIND = "Checkpoint"
_FIX = "remove it to start over, or name another file"


def fingerprint(observations: Observations, options: dict[str, Any], *arrays: ArrayLike) -> str:
    """A hash of the entries, and of the options and other ``arrays`` that the result depends on."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (
        *observations.marks,
        np.array(observations.shape),
        *(np.asarray(x) for x in arrays),
    ):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(memoryview(np.ascontiguousarray(array)).cast("B"))
    digest.update(repr(sorted(options.items())).encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Place:
    """Where a stage is kept: the file, its name there, and those of the stages before it.

    Where several processes run the same computation, one of them ``writes``.
    """

    path: PathLike
    stage: str = "fit"
    before: tuple[str, ...] = ()
    writes: bool = True

    @classmethod
    def of(cls, file: "PathLike | Place", stage: str, before: tuple[str, ...] = ()) -> "Place":
        """The place of a ``stage`` in a ``file``, or in that of another place."""
        if isinstance(file, Place):
            return replace(file, stage=stage, before=before)
        return cls(file, stage, before)

    def then(self, stage: str) -> "Place":
        """The place of the next stage."""
        return replace(self, stage=stage, before=(*self.before, self.stage))


class Checkpoint:
    """One stage in the file of a computation: `save` writes now and then, `load` reads.

    The format is that of `file_format`. ``mark`` says which computation it is (`fingerprint`).
    """

    def __init__(self, place: PathLike | Place, mark: str) -> None:
        self.place = place if isinstance(place, Place) else Place(place)
        self.path, self.mark = Path(self.place.path), mark
        self._others: tuple[Meta, Arrays] = {}, {}  # what the file holds of other stages
        self._next = 0.0

    def load(self, read: Callable[[Meta, Arrays], T]) -> T | None:
        """What ``read`` makes of (numbers, arrays) that were saved; None where nothing was.

        `InputError` if the file belongs to another computation or is damaged.
        """
        if not self.path.exists():
            return None
        how: dict[str, Any] = {"name": "checkpoint", "fix": _FIX}
        stages, arrays = unpack(self.path, _KIND, **how)
        with unreadable(self.path, **how):
            own, group = stages.pop(self.place.stage, None), take_group(arrays, self._prefix)
            others = {key: a for key, a in arrays.items() if key.partition("/")[0] in stages}
            check_nothing_left({key: a for key, a in arrays.items() if key not in others})
            self._others = stages, others
            if own is None and stages.keys() <= set(self.place.before):
                check_nothing_left(group)
                return None
            mine = take_part({"its stage": own}, "its stage") if own is not None else {}
            if not mine or take({"mark": Field(TEXT)}, mine)["mark"] != self.mark:
                raise InputError(
                    f"checkpoint: '{self.path}' belongs to other data or other options; {_FIX}."
                )
            content = take_part(mine, "content")
            check_nothing_left(mine)
            found = read(content, group)
            check_nothing_left(content, group)
            return found

    def save(self, meta: Meta, arrays: Arrays, *, now: bool = False) -> None:
        """Write, unless the last time was very recent; or ``now``.

        Writing takes at most the part `SHARE` of the time.
        """
        begin = time.monotonic()
        if not self.place.writes or (begin < self._next and not now):
            return
        mine = {"mark": self.mark, "content": meta}
        stages = self._others[0] | {self.place.stage: mine}
        data = pack(_KIND, stages, self._others[1] | named(arrays, self._prefix))
        try:
            write_atomically(self.path, data)
        except OSError as error:
            raise InputError(
                f"checkpoint: '{self.path}' cannot be written ({error.strerror}); make room, or "
                "name another file."
            ) from None
        end = time.monotonic()
        self._next = end + (end - begin) / SHARE

    @property
    def _prefix(self) -> str:
        return f"{self.place.stage}/"
