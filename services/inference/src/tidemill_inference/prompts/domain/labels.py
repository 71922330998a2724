"""Labels of a prompt's versions: how they moved, and which of them wait for approvals."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from tidemill_core.approvals import MAX_APPROVALS
from tidemill_core.errors import Violation
from tidemill_core.resources import slug_violations

MAX_PROTECTED = 20
MAX_MOVES = 200
"""That are kept: they are in one document with the versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMove:
    """A label came to point to another version; `previous` is 0 where it is new."""

    label: str
    version: int
    previous: int
    mover: str
    """The subject of the credential; "" where none proved it."""
    move_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelProtection:
    """Labels that point only to versions with so many approvals of people who did not make them."""

    labels: tuple[str, ...] = ()
    approvals: int = 1

    def violations(self, path: str) -> Iterator[Violation]:
        """Yield what is out of bounds."""
        if len(self.labels) > MAX_PROTECTED or len(set(self.labels)) < len(self.labels):
            yield Violation(f"{path}.labels", f"has {len(self.labels)}; use at most {MAX_PROTECTED}, each once")
        for number, each in enumerate(self.labels[:MAX_PROTECTED]):
            yield from slug_violations(f"{path}.labels[{number}]", each)
            if each.isdecimal():
                yield Violation(f"{path}.labels[{number}]", f"is {each!r}, which reads as a version number: use a word")
        if not 1 <= self.approvals <= MAX_APPROVALS:
            yield Violation(f"{path}.approvals", f"is {self.approvals}; use 0 (for 1) to {MAX_APPROVALS}")

    def lowers(self, before: "LabelProtection") -> bool:
        """Whether it protects a label less than before."""
        gone = set(before.labels) - set(self.labels)
        return bool(gone or (before.labels and self.approvals < before.approvals))


NO_PROTECTION = LabelProtection()
