"""What is a date or a time in a text file."""

import re
from collections.abc import Sequence

_TIME = r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp][Mm])?"
_ZONE = r"( ?(Z|UTC|GMT|[+-]\d{2}:?\d{2}))?"
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATE = re.compile(
    rf"(\d{{4}}[-/.]\d{{1,2}}([-/.]\d{{1,2}})?|\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{2,4}}|"
    rf"\d{{4}}-?[QWqw]\d{{1,2}}|{_MONTH}[ -]\d{{2,4}}|\d{{1,2}}[ -]{_MONTH}[ -]\d{{2,4}}|"
    rf"{_MONTH} \d{{1,2}},? \d{{4}})([T ,]+{_TIME}{_ZONE})?|{_TIME}",
    re.IGNORECASE,
)


def are_dates(texts: Sequence[str]) -> bool:
    """Whether nearly all of ``texts`` are dates or times."""
    return sum(bool(_DATE.fullmatch(text.strip())) for text in texts) >= 0.9 * len(texts)
