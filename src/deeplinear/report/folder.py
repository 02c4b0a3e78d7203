"""The folder of a report: pictures, and the page that shows them, all of them or none.

The page has its pictures inside, so that it never shows those of another report, also where writing
is broken off; the files beside it are for other documents.
"""

import base64
import html
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..atomic import write_atomically
from ..interrupts import uninterrupted

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def png(figure: "Figure") -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def figure_tag(picture: bytes, caption: str) -> str:
    """A PNG picture inside the page, with its caption."""
    data, text = base64.b64encode(picture).decode(), html.escape(caption)
    source = f"data:image/png;base64,{data}"
    return f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def write_pages(folder: Path, page: str, pictures: Mapping[str, bytes]) -> tuple[Path, list[Path]]:
    """Write ``index.html`` and its pictures (name → bytes) into ``folder``, which is made.

    Returns the page and the pictures. The page comes last; where something cannot be written, what
    was not there before is removed again.
    """
    index = folder / "index.html"
    files = {folder / name: data for name, data in pictures.items()}
    files[index] = page.encode("utf-8")
    new = [path for path in files if not path.exists()]
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    with uninterrupted(index):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path, data in files.items():
                write_atomically(path, data)
        except OSError:
            for path in new:
                path.unlink(missing_ok=True)
            for place in made:
                if place.exists():
                    place.rmdir()
            raise
    return index, [folder / name for name in pictures]
