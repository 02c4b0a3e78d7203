"""Files from visitors: of limited size, one each, written into the visitor's own folder alone."""

import secrets
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath
from typing import ClassVar
from urllib.parse import urlsplit

from tornado.web import HTTPError, RequestHandler, stream_request_body

from ..errors import InputError
from .folders import VisitorFolder

MOST_BYTES = 20 * 2**20
_LONGEST_NAME = 100
ROUTE = r"/upload/([-_A-Za-z0-9]{32})"


def safe_name(name: str) -> str:
    """The last part of a file's name, in characters that mean nothing to a shell or a page.

    >>> safe_name("../../etc/<b>my table.csv")
    'b_my_table.csv'
    >>> safe_name("..")
    'table.csv'
    """
    last = PurePosixPath(PureWindowsPath(name).name).name[-_LONGEST_NAME:]
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "_" for c in last)
    kept = "_".join(part for part in kept.split("_") if part).lstrip(".-")
    return kept or "table.csv"


class Gate:
    """The way in for one visitor's files.

    ``take(name, problem)`` is called in the server's loop: with a sentence where the file was not
    taken, else "" and the file is ``folder.path / name``.
    """

    open: ClassVar[dict[str, "Gate"]] = {}

    def __init__(self, folder: VisitorFolder, take: Callable[[str, str], None]) -> None:
        self.key = secrets.token_urlsafe(24)
        self.folder, self.take = folder, take
        Gate.open[self.key] = self

    def close(self) -> None:
        """No more files."""
        Gate.open.pop(self.key, None)


@stream_request_body
class UploadHandler(RequestHandler):
    """``POST upload/KEY?name=NAME`` with the bytes of the file; KEY is the visitor's alone."""

    def prepare(self) -> None:
        gate = Gate.open.get(self.path_args[0])
        if self.request.method != "POST" or gate is None or not self._of_this_page():
            raise HTTPError(403)
        self._gate, self._name = gate, safe_name(self.get_query_argument("name", "table.csv"))
        self._size, self._problem = 0, ""
        # what is too much is read, and not kept: so that the browser hears of it
        self.request.connection.set_max_body_size(2**40)  # type: ignore[union-attr]
        try:
            folder = gate.folder.path / "upload"
            folder.mkdir(exist_ok=True)
            for old in folder.iterdir():
                old.unlink()
            self._file = (folder / self._name).open("wb")
        except InputError as error:
            self._problem = str(error)
            gate.take(self._name, self._problem)
            raise HTTPError(507) from None

    def _of_this_page(self) -> bool:
        """Browsers say which page sends: only our own may."""
        origin = self.request.headers.get("Origin")
        return origin is not None and urlsplit(origin).netloc == self.request.host

    def data_received(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size <= MOST_BYTES:
            self._file.write(chunk)
        elif not self._problem:
            self._file.truncate(0)
            self._problem = (
                f"{self._name} has more than {MOST_BYTES >> 20} MB, the most that this page takes: "
                "run deeplinear complete in a terminal instead."
            )
        if self._size > 20 * MOST_BYTES:
            raise HTTPError(413)

    def post(self, key: str) -> None:
        self._file.close()
        if not self._size:
            self._problem = f"{self._name} is empty: give a file with some cells."
        self._gate.take(self._name, self._problem)
        self.set_status(204)  # the page says what was wrong

    def on_connection_close(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None and not file.closed:
            file.truncate(0)
            file.close()


def field(gate: Gate, prefix: str = "") -> str:
    """The HTML of the field that sends a chosen file at once."""
    most = MOST_BYTES >> 20
    send = (
        f"fetch('{prefix}upload/{gate.key}?name='+encodeURIComponent(this.files[0].name),"
        "{method:'POST',body:this.files[0]}).catch(()=>0);this.value=''"
    )
    return (
        f"<label>Your file (CSV, Excel, Parquet, NPY, an image …; up to {most} MB)<br>"
        f'<input type="file" class="upload" onchange="if(this.files[0]){{{send}}}"></label>'
    )
