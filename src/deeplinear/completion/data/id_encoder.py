"""Ids of files, which come piece by piece, numbered as if they had come at once."""

import re
from collections.abc import Collection, Sequence
from decimal import Decimal
from itertools import islice

import numpy as np

from .ids import Ids, objects

_PIECE = 1 << 16  # codes that are renumbered at a time


class IdEncoder:
    """Ids of a file, numbered piece by piece; `finish` renumbers them as if they had come at once.

    Text that is written as integers throughout (7 or 7.0, no leading zeros, no plus) becomes
    integers, unless ``as_text``. Blanks around an id do not count.

    >>> encoder = IdEncoder()
    >>> codes = np.concatenate([encoder.text_codes(["7", "5"]), encoder.text_codes(["7.0"])])
    >>> encoder.finish(codes).labels.tolist(), codes.tolist()
    ([5, 7], [1, 0, 1])
    """

    def __init__(self, *, as_text: bool = False) -> None:
        self._texts = _Numbering()
        self._integers = Ids.none()
        self._as_text = as_text

    def __len__(self) -> int:
        """How many different texts there are."""
        return len(self._texts)

    def newest(self, count: int) -> list[str]:
        """The last ``count`` texts that were new."""
        return list(islice(reversed(self._texts), count))[::-1]

    def text_codes(self, texts: Sequence[str]) -> np.ndarray:
        """The code of each text, uint32."""
        return np.fromiter(map(self._texts.__getitem__, texts), np.uint32, len(texts))

    def integer_codes(self, ids: np.ndarray) -> np.ndarray:
        """The code of each integer id, for columns of integers throughout."""
        self._integers, codes = self._integers.extended(ids, "ids")
        return codes

    def are_integers(self, but: Collection[str]) -> bool:
        """Whether all texts are integers, those apart that are in ``but`` in lower case."""
        others = [text.strip() for text in self._texts if text.strip().lower() not in but]
        return bool(others) and _integers(others) is not None

    def finish(self, codes: np.ndarray) -> Ids:
        """The ids; all ``codes`` handed out are renumbered in place to their positions."""
        labels, position = np.unique(self._integers.labels, return_inverse=True)
        if self._texts:
            texts = [text.strip() for text in self._texts]
            numbers = None if self._as_text else _integers(texts)
            if numbers is not None:
                labels, position = np.unique(numbers, return_inverse=True)
            else:
                index = _Numbering()
                position = np.fromiter(map(index.__getitem__, texts), np.int64, len(texts))
                labels = objects(list(index))
                if len(labels) == len(texts):
                    return Ids(labels, len(labels))
        position = position.astype(codes.dtype)
        for lo in range(0, len(codes), _PIECE):  # indexing makes a copy of 8 bytes per code
            codes[lo : lo + _PIECE] = position[codes[lo : lo + _PIECE]]
        return Ids(labels, len(labels))


class _Numbering(dict[str, int]):
    """Numbers texts 0, 1, … as they are first looked up."""

    def __missing__(self, text: str) -> int:
        self[text] = number = len(self)
        return number


_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))(?:\.0*)?|-?[1-9](?:\.\d+)?[eE]\+\d\d")


def integer_of(text: str) -> int | None:
    """The integer that a text means as programs write ids: 7, 7.0 or 1e+05; else None.

    Leading zeros and a plus are parts of names.

    >>> [integer_of(text) for text in ("7", "7.0", "1e+05", "007", "7.5")]
    [7, 7, 100000, None, None]
    """
    found = _WHOLE.fullmatch(text)
    if found is None or not text.isascii() or text == "-0":
        return None
    if found[1] is not None:
        return int(found[1])
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else None


def _integers(texts: Sequence[str]) -> np.ndarray | None:
    """The texts as int64, or None unless `integer_of` reads each of them."""
    numbers = []
    for text in texts:
        number = integer_of(text)
        if number is None or abs(number) >= 2**63:
            return None
        numbers.append(number)
    return np.array(numbers, np.int64)
