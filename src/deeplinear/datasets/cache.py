"""Files from the web: downloaded once into a cache, resumed, and checked by a checksum.

Our own, since the package for this (pooch) does not resume a download.
"""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from ..atomic import write_atomically
from ..errors import DownloadError, InputError

_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte
_BY_HAND = "put the file into the cache folder by hand"
_AGAIN = "delete the file, and it will be downloaded again"
# What comes of no network, no such host or scheme, a time-out, a broken or strange answer.
_UNREACHED = (OSError, ValueError, http.client.HTTPException)
_DIGITS = {"md5": 32, "sha256": 64}


def cache_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """``folder``, else ``$DEEPLINEAR_DATA``, else ``~/.cache/deeplinear`` (``$XDG_CACHE_HOME`` is
    respected); it is created.
    """
    try:
        path = cache_place() if folder is None else Path(folder).expanduser()
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, ValueError) as error:  # also no home, or a name with a NUL
        raise DownloadError(
            f"folder: '{folder or 'the default'}' cannot be made ({_reason(error)}); give another "
            "folder."
        ) from None
    return path


def cache_place() -> Path:
    """Where downloads are kept by default; it need not exist yet."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DEEPLINEAR_DATA") or Path(home) / "deeplinear").expanduser()


def fetch_archive(url: str, path: Path, checksum: str | None) -> Path:
    """The zip archive of ``url`` at ``path``: what is there already if its checksum is right, else
    a download.

    ``checksum`` is ``"md5:…"`` or ``"sha256:…"``; with None the archive is checked by the sums of
    its members, then the SHA-256 of the first download is kept beside the file, and every later use
    is checked against it. An interrupted download goes on where it stopped (HTTP range requests,
    tied to the same version of the file by its ETag or date, where the server gives one).

    **Raises** `DownloadError`, and `InputError` for a checksum of another form.
    """
    if checksum is not None and not _is_checksum(checksum):
        raise InputError(f'checksum must be "md5:…" or "sha256:…" in hex digits, got {checksum!r}.')
    try:
        return _fetched(url, path, checksum)
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(
            f"folder: '{path.parent}' cannot hold {url} ({_reason(error)}); make room, or give "
            "another folder."
        ) from None


def _fetched(url: str, path: Path, checksum: str | None) -> Path:
    note = path.with_name(path.name + ".sha256")
    if path.exists():
        expected = checksum or _noted(note)
        if expected is None:
            _check_archive(path, f"'{path}' is not the expected archive", _AGAIN)
        elif _digest(path, expected) != expected:
            raise DownloadError(f"'{path}' is damaged: its checksum is not {expected}; {_AGAIN}.")
        return path
    part = path.with_name(path.name + ".part")
    _download(url, part)
    try:
        found = _digest(part, checksum or "sha256:")
        if checksum is None:
            # nothing else would tell a body that was cut short from a whole one
            _check_archive(
                part, f"{url} gave not the expected archive", "it was deleted; try again"
            )
            write_atomically(note, f"{found}\n".encode())
        elif found != checksum:
            raise DownloadError(
                f"{url} gave a file with the checksum {found} where {checksum} was expected: it "
                "was deleted; try again, and if it persists the file on the server has changed."
            )
    except DownloadError:
        part.unlink()
        _label(part).unlink(missing_ok=True)
        raise
    _label(part).unlink(missing_ok=True)
    os.replace(part, path)
    return path


def _check_archive(path: Path, what: str, fix: str) -> None:
    """`DownloadError` unless every member of a zip archive agrees with its check sum."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # zipfile and what it decompresses with raise many sorts
        raise DownloadError(f"{what} ({_reason(error)}); {fix}.") from None
    if damaged is not None:
        raise DownloadError(f"{what} (its member '{damaged}' is damaged); {fix}.")


def _label(part: Path) -> Path:
    """Where the version (ETag or date) of a half-downloaded file is noted."""
    return part.with_name(part.name + ".version")


def _version(label: Path) -> str | None:
    """What is noted there, if it is what a server says."""
    text = label.read_bytes().decode("latin-1") if label.exists() else ""
    return text if re.fullmatch(r"[ -~]+", text) else None


def _download(url: str, part: Path) -> None:
    """Bytes of ``url`` into ``part``, appended to what an earlier attempt left."""
    label = _label(part)
    version = _version(label)
    have = part.stat().st_size if part.exists() and version else 0
    headers = {"User-Agent": "deeplinear"}
    if have and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    try:
        request = urllib.request.Request(url, headers=headers)
        expected = _copy(request, part, label, have)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # a stale part that is as long as the file or longer
            part.unlink()
            label.unlink(missing_ok=True)
            return _download(url, part)
        raise DownloadError(
            f"{url} answered {error.code} {_line(error.reason)}: try again later, or {_BY_HAND}."
        ) from None
    except _LocalError as error:
        raise error.cause from None
    except _UNREACHED as error:
        raise DownloadError(
            f"{url} cannot be reached ({_reason(error)}): are you offline? What has arrived is "
            f"kept; call again, or {_BY_HAND}."
        ) from None
    size = part.stat().st_size
    if expected is not None and size != expected:
        raise DownloadError(
            f"{url} broke off after {size:,} of {expected:,} bytes: call again, and it goes on "
            "from there."
        )
    return None


class _LocalError(Exception):
    """The part cannot be written: nothing that the network could mend."""

    def __init__(self, cause: OSError) -> None:
        self.cause = cause


def _copy(request: urllib.request.Request, part: Path, label: Path, have: int) -> int | None:
    """Append the answer to ``part``, or begin it anew; how long it is to be, if the server says."""
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        begin = have if answer.status == 206 else 0
        if begin and not _goes_on(answer.headers.get("Content-Range"), have):
            raise ValueError("it answers with another part than was asked for")
        length = answer.headers.get("Content-Length")
        expected = None if length is None else int(length) + begin
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        try:
            if version and not version.startswith("W/"):
                write_atomically(label, version.encode())
            else:
                label.unlink(missing_ok=True)
            file = part.open("ab" if begin else "wb")
        except OSError as error:
            raise _LocalError(error) from None
        with file:
            while chunk := answer.read(_CHUNK):
                try:
                    file.write(chunk)
                    file.flush()
                except OSError as error:
                    raise _LocalError(error) from None
    return expected


def _goes_on(content_range: str | None, have: int) -> bool:
    """Whether a partial answer begins at byte ``have``."""
    return bool(re.match(rf"bytes {have}-", content_range or ""))


def _is_checksum(text: str) -> bool:
    name, _, digits = text.partition(":")
    return len(digits) == _DIGITS.get(name, -1) and not set(digits) - set("0123456789abcdef")


def _noted(note: Path) -> str | None:
    """The checksum that was kept of the first download; `DownloadError` where it is damaged."""
    if not note.exists():
        return None
    text = note.read_bytes().decode(errors="replace").strip()
    if not _is_checksum(text):
        raise DownloadError(
            f"'{note}' is damaged: it holds no checksum; delete it and the file beside it, which "
            "will be downloaded again."
        )
    return text


def _digest(path: Path, like: str) -> str:
    """The checksum of a file, by the algorithm that ``like`` names, in the same form."""
    name = like.partition(":")[0]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(name, usedforsecurity=False))
    return f"{name}:{digest.hexdigest()}"


def _reason(error: BaseException) -> str:
    """In a few words of one line, why something failed."""
    words = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return _line(words) or type(error).__name__


def _line(words: object) -> str:
    return " ".join(str(words).split())[:160]
