"""Jester: continuous ratings of jokes."""

import os

from .cache import cache_folder, fetch_archive
from .movielens import read_member
from .ratings import Ratings

URL = "https://eigentaste.berkeley.edu/dataset/archive/jester_dataset_2.zip"


def fetch_jester(
    *, folder: str | os.PathLike[str] | None = None, url: str = URL, checksum: str | None = None
) -> Ratings:
    """Jester's second data set: 1.7 million ratings, real numbers in [−10, 10], of 150 jokes by 59
    thousand readers.

    Downloaded to a cache on first use. Its makers publish no checksum: unless you give one
    (``"sha256:…"``), the first download is checked by the sums within the archive, its own is kept,
    and every later use is checked against it.

    Parameters
    ----------
    folder : path, optional
        The cache; default ``$DEEPLINEAR_DATA``, else ``~/.cache/deeplinear``.
    url, checksum : str
        For mirrors.

    Returns
    -------
    Ratings
        Integer reader and joke ids, and ratings.

    Raises
    ------
    DownloadError
        Offline, a broken connection, a wrong checksum, a damaged archive.

    Source: Goldberg, Roeder, Gupta, Perkins, Eigentaste, Information Retrieval 4(2), 2001. Free for
    research with this citation; nothing of the data is part of this package.

    >>> ratings = fetch_jester()  # doctest: +SKIP
    >>> model = dl.DeepMatrixCompletion().fit(ratings.triples)  # doctest: +SKIP
    """
    archive = fetch_archive(url, cache_folder(folder) / "jester_dataset_2.zip", checksum)
    return Ratings("Jester 2", *read_member(archive, "jester_ratings.dat", "\t"))
