"""Files from the web: downloaded once into a cache, resumed, and checked by a checksum."""

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

from ..errors import DownloadError

_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte


def cache_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """``folder``, else ``$DEEPLINEAR_DATA``, else ``~/.cache/deeplinear`` (``$XDG_CACHE_HOME`` is
    respected); it is created.
    """
    path = cache_place() if folder is None else Path(folder).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"folder: '{path}' cannot be made ({error.strerror}); give another folder."
        ) from None
    return path


def cache_place() -> Path:
    """Where downloads are kept by default; it need not exist yet."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DEEPLINEAR_DATA") or Path(home) / "deeplinear").expanduser()


def fetch(url: str, path: Path, checksum: str | None) -> Path:
    """The file of ``url`` at ``path``: what is there already if its checksum is right, else a
    download.

    ``checksum`` is ``"md5:…"`` or ``"sha256:…"``; with None the SHA-256 of the first download is
    kept beside the file and every later use is checked against it. An interrupted download goes on
    where it stopped (HTTP range requests, tied to the same version of the file by its ETag or date,
    where the server gives one).
    """
    note = path.with_name(path.name + ".sha256")
    if path.exists():
        expected = checksum or (note.read_text().strip() if note.exists() else None)
        if expected is None or _digest(path, expected) == expected:
            return path
        raise DownloadError(
            f"'{path}' is damaged: its checksum is not {expected}; delete the file, and it will be "
            "downloaded again."
        )
    part = path.with_name(path.name + ".part")
    _download(url, part)
    found = _digest(part, checksum or "sha256:")
    if checksum is not None and found != checksum:
        part.unlink()
        _label(part).unlink(missing_ok=True)
        raise DownloadError(
            f"{url} gave a file with the checksum {found} where {checksum} was expected: it was "
            "deleted; try again, and if "
            "it persists the file on the server has changed."
        )
    if checksum is None:
        note.write_text(found + "\n")
    _label(part).unlink(missing_ok=True)
    os.replace(part, path)
    return path


def _label(part: Path) -> Path:
    """Where the version (ETag or date) of a half-downloaded file is noted."""
    return part.with_name(part.name + ".version")


def _download(url: str, part: Path) -> None:
    """Bytes of ``url`` into ``part``, appended to what an earlier attempt left."""
    label = _label(part)
    have = part.stat().st_size if part.exists() and label.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "deeplinear"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", label.read_text())
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            resumed = answer.status == 206
            if version and not version.startswith("W/"):
                label.write_text(version)
            else:
                label.unlink(missing_ok=True)
            length = answer.headers.get("Content-Length")
            expected = None if length is None else int(length) + (have if resumed else 0)
            with part.open("ab" if resumed else "wb") as file:
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # a stale part that is as long as the file or longer
            part.unlink()
            label.unlink(missing_ok=True)
            return _download(url, part)
        raise DownloadError(
            f"{url} answered {error.code} {error.reason}: try again later, or {_BY_HAND}."
        ) from None
    except (
        OSError,
        ValueError,
    ) as error:  # no network, no such host, time-out, broken connection, no such scheme
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"{url} cannot be reached ({reason}): are you offline? What has arrived is kept; call "
            f"again, or {_BY_HAND}."
        ) from None
    if expected is not None and part.stat().st_size < expected:
        raise DownloadError(
            f"{url} broke off after {part.stat().st_size:,} of {expected:,} bytes: call again, and "
            "it goes on from there."
        )


_BY_HAND = "put the file into the cache folder by hand"


def _digest(path: Path, like: str) -> str:
    """The checksum of a file, by the algorithm that ``like`` names, in the same form."""
    name = like.partition(":")[0]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(name, usedforsecurity=False))
    return f"{name}:{digest.hexdigest()}"
