"""Ids spread over the processes: each numbers a range of them, and answers for it."""

from dataclasses import dataclass

import numpy as np

from ..data.observations import check_shape
from .group import Group

# Ids of each process that are looked at to find ranges with about equally many entries.
_SAMPLE = 4096
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Numbering:
    """The position of each id among all ids in increasing order, whatever the number of processes.

    Process p has the ids from ``splitters[p − 1]`` on, below ``splitters[p]``: here its ``own``, in
    order. Their positions begin at ``edges[p]``.
    """

    group: Group
    splitters: np.ndarray
    own: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, group: Group, ids: np.ndarray) -> "Numbering":
        """From the ids of the entries that each process has read (int64, repeated as they come)."""
        step = max(1, -(-len(ids) // _SAMPLE))
        some = np.sort(group.concatenate(ids[::step]))
        at = np.linspace(0, len(some), group.size + 1)[1:-1].astype(int)
        splitters = some[np.minimum(at, len(some) - 1)] if len(some) else np.zeros(0, np.int64)
        different = np.unique(ids)
        asked = group.exchange(_cut(different, splitters, group.size))
        own = np.unique(np.concatenate(asked))
        counts = group.stack(np.array(len(own)))
        return cls(group, splitters, own, np.concatenate([[0], np.cumsum(counts)]))

    @classmethod
    def applied(cls, group: Group, ids: np.ndarray) -> tuple["Numbering", np.ndarray]:
        """The numbering of ``ids``, and their positions (uint32)."""
        numbering = cls.of(group, ids)
        check_shape((max(numbering.size, 1), 1))
        return numbering, numbering.codes(ids).astype(np.uint32)

    @property
    def size(self) -> int:
        """The number of all ids."""
        return int(self.edges[-1])

    @property
    def mine(self) -> tuple[int, int]:
        """The positions of this process: from the first to before the second."""
        p = self.group.index
        return int(self.edges[p]), int(self.edges[p + 1])

    def owners(self, codes: np.ndarray) -> np.ndarray:
        """The process of each position."""
        return np.searchsorted(self.edges, codes, side="right") - 1

    def codes(self, ids: np.ndarray) -> np.ndarray:
        """The positions of ``ids``, −1 for those that were not there; asked of their processes."""
        different = np.unique(ids)
        asked = self.group.exchange(_cut(different, self.splitters, self.group.size))
        answers = self.group.exchange([self._positions(part) for part in asked])
        codes, out = np.concatenate(answers), np.empty(len(ids), np.int64)
        for lo in range(0, len(ids), _CHUNK):  # the places of all ids are never there at once
            part = slice(lo, lo + _CHUNK)
            out[part] = codes[np.searchsorted(different, ids[part])]
        return out

    def label(self, code: int) -> int:
        """The id at a position, from the process that has it."""
        first, end = self.mine
        here = first <= code < end
        found = self.group.stack(np.array([here, self.own[code - first] if here else 0]))
        return int(found[np.argmax(found[:, 0]), 1])

    def _positions(self, ids: np.ndarray) -> np.ndarray:
        if not len(self.own):
            return np.full(len(ids), -1)
        place = np.minimum(np.searchsorted(self.own, ids), len(self.own) - 1)
        return np.where(self.own[place] == ids, self.mine[0] + place, -1)


def _cut(ids: np.ndarray, splitters: np.ndarray, count: int) -> list[np.ndarray]:
    """Sorted ids by the process that they belong to."""
    if not len(splitters):
        return [ids, *[ids[:0]] * (count - 1)]
    return np.split(ids, np.searchsorted(ids, splitters))
