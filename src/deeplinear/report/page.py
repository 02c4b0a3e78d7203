"""A page of HTML that stands alone: its style, light and dark, its tables, and the whole."""

import html
from collections.abc import Sequence

from ..labels import printable

CSS = """
:root { color-scheme: light dark; --text: #1d2733; --quiet: #5a6875; --page: #fff;
  --around: #f4f6f8; --line: #d9e0e6; --marked: #eef5fb; --code: #f0f2f4; --failed: #fdf0e7; }
@media (prefers-color-scheme: dark) { :root { --text: #e3e8ec; --quiet: #a3afba; --page: #161c22;
  --around: #0e1216; --line: #38434d; --marked: #1c3142; --code: #242d35; --failed: #45291a; } }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
  color: var(--text); background: var(--around); margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 32px clamp(16px, 4vw, 40px) 64px;
  background: var(--page); overflow-wrap: anywhere; }
h1 { font-size: 30px; margin: 0 0 4px; }
h2 { font-size: 23px; margin: 48px 0 8px; border-top: 1px solid var(--line); padding-top: 28px; }
h3 { font-size: 17px; margin: 28px 0 6px; }
p, li { max-width: 78ch; } .quiet { color: var(--quiet); }
.lead { background: var(--marked); border-left: 4px solid #0072b2; padding: 10px 16px;
  max-width: none; }
.scroll { overflow-x: auto; margin: 14px 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th { text-align: right; font-weight: 600; border-bottom: 2px solid var(--text); padding: 5px 10px;
  vertical-align: bottom; overflow-wrap: normal; }
td { text-align: right; border-bottom: 1px solid var(--line); padding: 5px 10px; }
th:first-child, td:first-child { text-align: left; }
td { white-space: nowrap; }
tr.best td { background: var(--marked); font-weight: 600; }
figure { margin: 18px 0 26px; }
figure img { max-width: 100%; height: auto; display: block; background: #fff; }
figcaption { color: var(--quiet); font-size: 14.5px; max-width: 110ch; margin-top: 6px; }
code { background: var(--code); padding: 1px 5px; border-radius: 3px; font-size: 14.5px; }
"""


_MARK = ' class="best"'


def table(head: Sequence[str], rows: Sequence[tuple[Sequence[str], bool]], name: str) -> str:
    """A table, whose ``rows`` are (cells, whether it is marked), that scrolls where it is too wide.

    ``head`` and cells are HTML; ``name`` says what it is to those who do not see it.

    >>> table(["", "error"], [(["depth 3", "0.1"], True)], "errors")[-72:]
    '<tr class="best"><td>depth 3</td><td>0.1</td></tr></tbody></table></div>'
    """
    header = "".join(f"<th>{cell}</th>" for cell in head)
    lines = [
        f"<tr{_MARK * marked}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        for cells, marked in rows
    ]
    return scrolled(
        f"<table><thead><tr>{header}</tr></thead><tbody>{''.join(lines)}</tbody></table>", name
    )


def scrolled(what: str, name: str) -> str:
    """HTML that may be wider than the page, in a region that scrolls, also by keys."""
    return f'<div class="scroll" role="region" aria-label="{name}" tabindex="0">{what}</div>'


def document(title: str, subtitle: str, sections: Sequence[str], more_css: str = "") -> str:
    """A whole page of HTML; ``subtitle`` and ``sections`` are HTML, ``title`` is text."""
    title = html.escape(printable(title))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{CSS}{more_css}</style></head>
<body><main>
<h1>{title}</h1>
<p class="quiet">{subtitle}</p>
{"".join(sections)}
</main></body></html>
"""


def report_page(title: str, command: str, sections: Sequence[str], theory: str) -> str:
    """The page of a report: what ``command`` made, and how to read it."""
    from .. import __version__

    subtitle = f"deeplinear {__version__} · made by <code>{html.escape(printable(command))}</code>"
    return document(title, subtitle, [*sections, "\n<h2>How to read this</h2>\n", theory])
