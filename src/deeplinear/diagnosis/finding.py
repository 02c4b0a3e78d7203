"""What the doctor finds."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..extras import EXTRAS, needed_by

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``passed`` is None where there is nothing to judge.

    ``summary`` is one sentence, which says what to do where it failed; ``figures`` holds numbers
    and texts that JSON has.
    """

    section: str
    name: str
    passed: bool | None
    summary: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.passed is not False

    def __str__(self) -> str:
        mark = {True: "✓", False: "✗", None: "–"}[self.passed]
        return f"{mark} {self.name}: {self.summary}"


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """All findings of `doctor`: true where nothing failed; a line for each as text.

    Iteration gives the `Finding` objects, and an index by name one of them.
    """

    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(self.findings)

    @property
    def conclusion(self) -> str:
        """One sentence about all of it."""
        judged = [finding for finding in self.findings if finding.passed is not None]
        failed = sum(not finding for finding in judged)
        if failed:
            return f"{failed} of {len(judged)} checks failed: see what to do at each ✗."
        return f"All {len(judged)} checks passed."

    def __bool__(self) -> bool:
        return self.passed

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __getitem__(self, name: str) -> Finding:
        return {finding.name: finding for finding in self.findings}[name]

    def to_frame(self) -> "pd.DataFrame":
        """A frame of pandas, a line for each finding. **Raises** `InputError` without pandas."""
        with needed_by("frames"):
            import pandas
        names = ("section", "name", "passed", "summary")
        return pandas.DataFrame({name: [getattr(x, name) for x in self] for name in names})

    def __repr__(self) -> str:
        return f"Diagnosis({self.conclusion})"

    def __str__(self) -> str:
        lines = []
        for finding in self.findings:
            if f"{finding.section}:" not in lines:
                lines.append(f"{finding.section}:")
            lines.append(f"  {finding}")
        return "\n".join([*lines, self.conclusion])

    def as_dict(self) -> dict[str, Any]:
        """Everything as dictionaries and lists, for JSON."""
        return {"passed": self.passed, "findings": [asdict(finding) for finding in self.findings]}


def look(section: str, name: str, fix: str, look_at: Callable[[], Finding]) -> Finding:
    """The finding of ``look_at``; where that raises, a failed one with the reason and ``fix``, or
    one without a judgement where an optional package is not installed.
    """
    try:
        return look_at()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in EXTRAS:
            how = f"pip install 'deeplinear[{EXTRAS[package]}]'"
            return Finding(section, name, None, f"{package} is not installed; {how} for it.")
        return _failed(section, name, fix, error)
    except Exception as error:  # of any kind: this is what the doctor is for
        return _failed(section, name, fix, error)


def _failed(section: str, name: str, fix: str, error: Exception) -> Finding:
    reason = " ".join(str(error).split())[:200]
    text = f"it failed ({type(error).__name__}: {reason}); {fix}."
    return Finding(section, name, False, text)
