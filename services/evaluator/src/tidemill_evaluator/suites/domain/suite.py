"""A suite: curated cases, which only people change; feedback can propose some."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tidemill_core.aggregate import Aggregate, ObjectRef
from tidemill_core.errors import AlreadyExists, InvalidInput, Violation
from tidemill_core.resources import label_violations, slug_violations
from tidemill_evaluator.errors import SuiteNotFound
from tidemill_evaluator.suites.domain.cases import Case, CaseSet, check_cases, digest_of
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.shipped import ShippedCases

REMEMBERED = 50
"""Accepted proposals that a suite names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedProposal:
    """A proposal, the version that has its cases, and how many that took."""

    proposal: str
    number: int
    cases: int


@dataclass(slots=True, kw_only=True)
class Suite(Aggregate):
    """Changed cases create the next version, equal ones do not. Numbers are never reused."""

    number: int = 0
    """Number of the current version, from 1."""
    digest: str = ""
    """Digest of the current cases."""
    size: int = 0
    """Number of cases."""
    content: ObjectRef | None = None
    """Object of the current cases."""
    judged: int = 0
    """Number of cases that name a relevant document."""
    unanswerable: int = 0
    """Number of cases that no document answers."""
    without_reference: int = 0
    """Number of cases that are for searches only."""
    expecting: int = 0
    """Number of cases with an expectation."""
    unscored: int | None = None
    """Number of cases with neither reference, schema nor expectation; None in what was stored before there were any."""
    generated_by: str = ""
    """The deployment that generated its questions."""
    shipped: ShippedCases | None = None
    """What it took its cases from; None where they were sent."""
    proposed: int = 0
    """Number of cases that were taken from proposals."""
    accepted: tuple[AcceptedProposal, ...] = ()
    """The latest proposals that it took cases from."""

    def check(self, limits: Limits, cases: Sequence[Case] | None) -> None:
        """Validate all fields; None for unchanged cases.

        Raises:
            InvalidInput: naming every field that does.

        """
        if violations := [*self._violations()]:
            raise InvalidInput.of(*violations)
        if cases is not None:
            check_cases(cases, limits)

    def _violations(self) -> Iterator[Violation]:
        yield from slug_violations("suite.id", self.id)
        yield from label_violations("suite.labels", self.labels)
        if self.generated_by:
            yield from slug_violations("suite.generated_by", self.generated_by)

    def create(self, labels: dict[str, str], *, generated_by: str = "", shipped: ShippedCases | None = None) -> None:
        """Create the suite; a reused name continues its version numbers.

        Raises:
            AlreadyExists: it is there.

        """
        if self.number and not self.deleted:
            message = f"{self.id} already exists: choose another id"
            raise AlreadyExists(message, id=self.id)
        self.deleted, self.digest, self.labels, self.generated_by = False, "", labels, generated_by
        self.shipped = shipped

    def take(self, cases: Sequence[Case], content: ObjectRef | None) -> None:
        """Set the cases; different ones create the next version."""
        digest = digest_of(cases)
        if digest != self.digest:
            self.number, self.digest, self.size, self.content = self.number + 1, digest, len(cases), content
            self.judged = sum(bool(case.relevant) for case in cases)
            self.unanswerable = sum(case.unanswerable for case in cases)
            self.without_reference = sum(not case.reference.strip() for case in cases)
            self.expecting = sum(case.expect is not None for case in cases)
            self.unscored = sum(not case.comparable for case in cases)
            self.proposed = sum(bool(case.proposal) for case in cases)

    def grow(self, cases: Sequence[Case], content: ObjectRef | None, *, proposal: str, taken: int) -> None:
        """Take the cases of an accepted proposal beside its own, which are `cases` together."""
        self.take(cases, content)
        grown = AcceptedProposal(proposal=proposal, number=self.number, cases=taken)
        self.accepted = (*self.accepted, grown)[-REMEMBERED:]

    def accepted_of(self, proposal: str) -> AcceptedProposal | None:
        """Return what it took of a proposal; None where that is nothing."""
        return next((each for each in self.accepted if each.proposal == proposal), None)

    @property
    def incomparable(self) -> str:
        """Why answers to its cases cannot be compared; "" where they can."""
        if self.number and not self.size:
            return f"no case of suite {self.id} is left, as they were erased: add some, or use another suite"
        unscored = self.without_reference if self.unscored is None else self.unscored
        if not unscored:
            return ""
        return (
            f"{unscored} of {self.size} cases of suite {self.id} have neither a reference answer, a schema, tests nor "
            "an expectation: answers are compared with these; add them, or use another suite"
        )

    @property
    def case_set(self) -> CaseSet:
        """The current version as a set of cases."""
        if self.content is None:
            raise SuiteNotFound(self.id)
        return CaseSet(suite=self.id, number=self.number, size=self.size, content=self.content)


def exceeding(sizes: Iterable[int], limits: Limits, *, held_out: bool) -> str:
    """Return why suites of these sizes cannot be asked together, or not with held-out cases; "" where they can."""
    if sum(sizes) + held_out <= limits.evaluation_cases:
        return ""
    return f"the suites alone reach the limit of {limits.evaluation_cases} cases"


def unusable(suites: Sequence[Suite], limits: Limits, *, held_out: bool) -> str:
    """Return why no evaluation comes to a verdict on these suites; "" where they do."""
    why = next((suite.incomparable for suite in suites if suite.incomparable), "")
    return why or exceeding((suite.size for suite in suites), limits, held_out=held_out)
