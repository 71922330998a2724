"""A suite: trusted cases that no feedback ever touches."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_evaluator.domain.cases import Case, CaseSet, check_cases, digest_of
from tidemill_evaluator.domain.errors import SuiteNotFound
from tidemill_evaluator.domain.limits import Limits
from tidemill_evaluator.domain.names import slug_violation
from tidemill_kit.core.aggregate import Aggregate, ObjectRef
from tidemill_kit.core.errors import AlreadyExists, InvalidInput


@dataclass(slots=True, kw_only=True)
class Suite(Aggregate):
    """Changed cases make the next version, the same cases none. Numbers are never given out twice."""

    number: int = 0
    """Of the current version, from 1."""
    digest: str = ""
    """Of the current cases."""
    size: int = 0
    """How many cases."""
    content: ObjectRef | None = None
    """Where the current cases lie."""

    def check(self, limits: Limits, cases: Sequence[Case] | None) -> None:
        """Refuse what breaks a rule; None are cases that stay as they are.

        Raises:
            InvalidInput: naming every field that does.

        """
        if violations := [*slug_violation(self.id, "suite.id"), *limits.of_labels(self.labels, "suite.labels")]:
            raise InvalidInput.of(*violations)
        if cases is not None:
            check_cases(cases, limits)

    def create(self, labels: dict[str, str]) -> None:
        """Begin the suite, or take the name of a deleted one up again, counting on.

        Raises:
            AlreadyExists: it is there.

        """
        if self.number and not self.deleted:
            message = f"{self.id} exists already: choose another id"
            raise AlreadyExists(message, id=self.id)
        self.deleted, self.digest, self.labels = False, "", labels

    def take(self, cases: Sequence[Case], content: ObjectRef | None) -> None:
        """Make these the cases, as the next version where they are others."""
        digest = digest_of(cases)
        if digest != self.digest:
            self.number, self.digest, self.size, self.content = self.number + 1, digest, len(cases), content

    @property
    def case_set(self) -> CaseSet:
        """The current version, to ask."""
        if self.content is None:
            raise SuiteNotFound(self.id)
        return CaseSet(suite=self.id, number=self.number, size=self.size, content=self.content)
