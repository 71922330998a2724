"""Cases that the evaluator ships, and which of them a suite takes."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tidemill_core.errors import InvalidInput, Violation
from tidemill_evaluator.suites.domain.cases import PAIR, Case

LANGUAGE = "language"
"""The label that names a shipped case's language."""
_QUOTED = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedCases:
    """Which cases a suite takes of a shipped one."""

    suite: str
    languages: tuple[str, ...] = ()
    max_cases: int = 0

    def of(self, shipped: "ShippedSuite") -> Sequence[Case]:
        """Return the cases, in the order in which they are shipped.

        Raises:
            InvalidInput: the suite has no case in one of the languages, or the number is negative.

        """
        if violations := [*self._violations(shipped)]:
            raise InvalidInput.of(*violations)
        spoken = [case for case in shipped.cases if not self.languages or case.labels[LANGUAGE] in self.languages]
        if not self.max_cases:
            return spoken
        groups = dict[str, list[str]]()
        for case in spoken:
            groups.setdefault(case.labels.get(PAIR, case.id), []).append(case.id)
        chosen = set[str]()
        for name in sorted(groups, key=_place):
            if len(chosen) + len(groups[name]) > self.max_cases:
                break
            chosen.update(groups[name])
        return [case for case in spoken if case.id in chosen]

    def _violations(self, shipped: "ShippedSuite") -> Iterator[Violation]:
        if len(self.languages) > len(shipped.languages):
            known = ", ".join(shipped.languages)
            text = f"has {len(self.languages)} entries: {shipped.id} is in {known}; send each once"
            yield Violation("suite.shipped.languages", text)
            return
        for number, language in enumerate(self.languages):
            if language not in shipped.languages:
                text = f"is {language[:_QUOTED]!r}: {shipped.id} is in {', '.join(shipped.languages)}"
                yield Violation(f"suite.shipped.languages[{number}]", text)
        if self.max_cases < 0 or self.max_cases == 1:
            yield Violation("suite.shipped.max_cases", f"is {self.max_cases}: send 2 or more, or 0 for all cases")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedSuite:
    """A suite that is part of a release; its cases change with releases only."""

    id: str
    description: str
    cases: tuple[Case, ...]
    languages: tuple[str, ...]
    digest: str


def _place(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
