"""MovieLens: five-star ratings of films, 100 thousand to 32 million."""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DownloadError, InputError
from .cache import cache_folder, fetch_archive
from .ratings import Ratings

HOST = "https://files.grouplens.org/datasets/movielens"


@dataclass(frozen=True)
class _Release:
    archive: str
    checksum: str
    member: str
    separator: str
    header: bool


RELEASES = {
    "100k": _Release(
        "ml-100k.zip", "md5:0e33842e24a9c977be4e0107933c0723", "ml-100k/u.data", "\t", False
    ),
    "1m": _Release(
        "ml-1m.zip", "md5:c4d9eecfca2ab87c1945afe126590906", "ml-1m/ratings.dat", "::", False
    ),
    "10m": _Release(
        "ml-10m.zip", "md5:ce571fd55effeba0271552578f2648bd", "ml-10M100K/ratings.dat", "::", False
    ),
    "25m": _Release(
        "ml-25m.zip", "md5:6b51fb2759a8657d3bfcbfc42b592ada", "ml-25m/ratings.csv", ",", True
    ),
    "32m": _Release(
        "ml-32m.zip", "md5:d472be332d4daa821edc399621853b57", "ml-32m/ratings.csv", ",", True
    ),
}


def fetch_movielens(
    size: str = "100k",
    *,
    folder: str | os.PathLike[str] | None = None,
    host: str = HOST,
    checksum: str | None = None,
) -> Ratings:
    """MovieLens ratings, downloaded on first use and checked against the published MD5.

    Parameters
    ----------
    size : "100k", "1m", "10m", "25m" or "32m"
        The release (5 MB to 240 MB).
    folder : path, optional
        The cache; default ``$DEEPLINEAR_DATA``, else ``~/.cache/deeplinear``.
    host : str
        Where the archives lie, for mirrors.
    checksum : str, optional
        ``"md5:…"`` or ``"sha256:…"`` in place of the published one.

    Returns
    -------
    Ratings
        Integer user and film ids, and ratings of 1 … 5 or 0.5 … 5 stars. Time stamps are not kept.

    Raises
    ------
    DownloadError
        Offline, a broken connection, a wrong checksum, a damaged archive.

    Source: Harper, Konstan, The MovieLens Datasets, ACM TiiS 5(4), 2015, doi:10.1145/2827872. Their
    licence asks users to acknowledge the data and not to redistribute them: nothing of them is part
    of this package.

    >>> train, test = fetch_movielens("100k").split(0.1)  # doctest: +SKIP
    >>> model = dl.DeepMatrixCompletion().fit(train.triples)  # doctest: +SKIP
    """
    if size not in RELEASES:
        raise InputError(f"size must be one of {', '.join(RELEASES)}, got {size!r}.")
    release = RELEASES[size]
    archive = fetch_archive(
        f"{host.rstrip('/')}/{release.archive}",
        cache_folder(folder) / release.archive,
        checksum or release.checksum,
    )
    users, items, values = read_member(
        archive, release.member, release.separator, skip=int(release.header)
    )
    return Ratings(f"MovieLens {size}", users, items, values)


def read_member(
    archive: Path, member: str, separator: str, *, skip: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first three columns (integer, integer, number) of a text file in a zip archive.

    **Raises** `DownloadError` for an archive that holds anything else.
    """
    try:
        with zipfile.ZipFile(archive) as outer, outer.open(member) as file:
            for _ in range(skip):
                file.readline()
            blocks = [np.zeros((0, 3))]
            while lines := file.readlines(1 << 24):
                blocks.append(_three_columns(lines, separator.encode()))
        table = np.concatenate(blocks)
    except Exception as error:  # zipfile and what it decompresses with raise many sorts
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DownloadError(
            f"'{archive}' is not the expected archive ({reason}); delete it and call again."
        ) from None
    return table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2].copy()


def _three_columns(lines: list[bytes], separator: bytes) -> np.ndarray:
    text = b"".join(lines).replace(separator, b" ")
    width = len(lines[0].replace(separator, b" ").split())
    cells = np.array(text.split(), dtype=np.float64)
    if width < 3 or cells.size != width * sum(not line.isspace() for line in lines):
        raise ValueError("lines of different lengths")
    table = cells.reshape(-1, width)[:, :3]
    if not np.isfinite(table).all() or (table[:, :2] != np.floor(table[:, :2])).any():
        raise ValueError("an id that is no integer, or a rating that is no number")
    return table
