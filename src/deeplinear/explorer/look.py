"""The two themes: colours of pages and pictures, distinct for every kind of colour vision."""

import dataclasses

from ..colours import COLOURS


@dataclasses.dataclass(frozen=True)
class Look:
    """Colours of one theme: of the page, and of points, paths and bars (Okabe and Ito's)."""

    page: str
    card: str
    text: str
    faint: str
    grid: str
    accent: str
    points: str = COLOURS[1]
    bars: str = COLOURS[5]
    lines: tuple[str, str] = (COLOURS[5], COLOURS[4])


LOOKS = {
    "light": Look("#f5f6f8", "#ffffff", "#1b1f24", "#57606a", "#e4e4e4", "#00598c"),
    "dark": Look("#101418", "#1a2026", "#eceff2", "#a9b4bf", "#333c45", "#56B4E9"),
}
LOOKS["light"] = dataclasses.replace(
    LOOKS["light"], bars=COLOURS[0], lines=(COLOURS[0], COLOURS[1])
)


def scheme(look: Look) -> str:
    """What browsers call the theme."""
    return "dark" if look.page == LOOKS["dark"].page else "light"


def page_css(look: Look) -> str:
    """The page around the pictures."""
    return f"""
html, body {{ background: {look.page}; color: {look.text}; margin: 0; color-scheme: {
        scheme(look)
    }; font-family: system-ui, "DejaVu Sans", sans-serif; }}
body {{ min-height: 100vh; }}
"""


def widget_css(look: Look) -> str:
    """Inside widgets, which pages' style sheets do not reach."""
    return f"""
:host {{ color: {look.text}; font-size: 14px; color-scheme: {scheme(look)}; }}
select.bk-input {{ appearance: auto !important; background-image: none !important;
  padding-right: 4px !important; }}
label, .bk-input-group > label, .bk-slider-title, .noUi-target + div {{ color: {look.text}; }}
select.bk-input, input.bk-input {{ background-color: {look.card}; color: {look.text};
  border: 1px solid {look.faint}; }}
.bk-btn, .bk-btn-default {{ background: {look.card} !important; color: {look.text} !important;
  border: 1px solid {look.faint} !important; }}
.bk-spin-btn {{ --color: {look.text}; }}
.noUi-connect {{ background: {look.accent}; }}
.noUi-target {{ background: {look.grid}; border-color: {look.faint}; box-shadow: none; }}
.noUi-handle {{ border: 1px solid {look.text}; background: {look.card}; }}
:focus-visible, .noUi-handle:focus {{ outline: 3px solid {look.accent}; outline-offset: 1px; }}
.bk-tab, .bk-tab.bk-active {{ color: {look.text}; background: {look.card}; }}
a {{ color: {look.accent}; }}
p {{ margin: 4px 0; line-height: 1.45; }} h1 {{ font-size: 20px; margin: 4px 0; }}
h2 {{ font-size: 15px; margin: 6px 0 2px; }}
summary {{ cursor: pointer; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 3px 8px; text-align: right; border-bottom: 1px solid {look.grid};
  white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
table.pairs td {{ white-space: normal; }}
tr.best td {{ font-weight: 600; }} td.gone, .quiet {{ color: {look.faint}; font-style: italic; }}
pre {{ overflow-x: auto; padding: 8px; background: {look.page}; border: 1px solid {look.grid}; }}
.bar {{ height: 8px; border-radius: 4px; background: {look.grid}; }}
.bar div {{ height: 8px; border-radius: 4px; background: {look.accent}; }}
img.figure {{ max-width: 100%; background: #ffffff; }}
input.upload {{ max-width: 100%; color: {look.text}; font-size: 14px; }}
.bk-btn.bk-active {{ background: {look.accent} !important; color: {look.card} !important; }}
"""


def grid_css(columns: str, medium: str) -> str:
    """Columns that fold to fewer ones where the window is narrow, and to one on a phone."""
    return f"""
:host {{ display: grid; grid-template-columns: {columns}; gap: 12px; align-items: start;
  width: 100%; box-sizing: border-box; }}
@media (max-width: 1150px) {{ :host {{ grid-template-columns: {medium}; }} }}
@media (max-width: 720px) {{ :host {{ grid-template-columns: minmax(0, 1fr); }}
  .first-on-phones {{ order: -1; }} }}
"""
