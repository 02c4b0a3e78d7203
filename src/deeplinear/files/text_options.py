"""What the user says about a text file; None is: to be recognized."""

from dataclasses import dataclass

from .dialect import named_separator
from .markers import MISSING, Markers
from .numbers import PLAIN, NumberFormat
from .opening import check_encoding


@dataclass(frozen=True)
class TextOptions:
    """How a text file is read.

    ``missing`` holds markers beside the known ones, ``present`` known ones that are values here.
    ``notes``: numbers may be followed by a short note, such as 153 p. ``comment`` is what a comment
    line begins with ("" for no comments), ``skip_lines`` the number of lines before the table.
    """

    missing: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    header: bool | None = None
    labels: bool | None = None
    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    notes: bool = False
    encoding: str | None = None
    comment: str | None = None
    skip_lines: int = 0

    def __post_init__(self) -> None:
        if self.separator is not None:
            named_separator(self.separator)
        if self.encoding is not None:
            check_encoding(self.encoding)
        self.numbers  # noqa: B018  # refuses what is no format

    @property
    def numbers(self) -> NumberFormat | None:
        """The format of numbers, if any part of it was given."""
        if self.decimal is None and self.thousands is None:
            return None
        return NumberFormat(self.decimal or ".", self.thousands or "", self.notes)

    def markers(self, numbers: NumberFormat = PLAIN) -> Markers:
        """What marks missing cells."""
        known = MISSING - {text.strip().lower() for text in self.present}
        return Markers(self.missing, numbers, known)

    def given(self) -> list[str]:
        """The options that were set, as they are written on the command line."""
        return [
            "--" + name.replace("_", "-")
            for name, default in TextOptions.__dataclass_fields__.items()
            if getattr(self, name) != default.default
        ]
