"""A proposal: cases that a suite takes once an operator accepts them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import Violation
from tidemill_core.resources import MAX_LABEL_LENGTH, label_violations, slug_violations
from tidemill_evaluator.errors import ProposalDecided, ProposalInterrupted
from tidemill_evaluator.proposals.domain.candidate import ProposalLimits
from tidemill_evaluator.suites.domain.cases import Case

MAX_NOTE = 2000
_MAX_SLICE = 1_000_000


class ProposalState(Enum):
    """PREPARING until its candidates are stored; ACCEPTING until the suite has its cases."""

    PREPARING = "preparing"
    PROPOSED = "proposed"
    ACCEPTING = "accepting"
    ACCEPTED = "accepted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAnswers:
    """Which live answers are taken: corrected ones, and those that a review queue has resolved."""

    deployment: str
    corrections: bool = False
    queue: str = ""
    right_field: str = ""
    text_field: str = ""
    max_cases: int = 0

    def same_as(self, other: "LiveAnswers | None") -> bool:
        """Return whether both are about the same answers."""
        return other is not None and (self.deployment, self.corrections, self.queue) == (
            other.deployment,
            other.corrections,
            other.queue,
        )

    def violations(self, limits: ProposalLimits) -> Iterator[Violation]:
        """Yield what breaks its rule."""
        where = "proposal.live"
        yield from slug_violations(f"{where}.deployment", self.deployment)
        if self.queue:
            yield from slug_violations(f"{where}.queue", self.queue)
            if not (self.right_field or self.text_field):
                text = "needs right_field or text_field: they name what of it says the reference"
                yield Violation(f"{where}.queue", text)
        elif self.right_field or self.text_field:
            yield Violation(f"{where}.queue", "is empty, and a field of it is named: name the queue")
        elif not self.corrections:
            yield Violation(where, "names neither corrections nor a queue: nothing says what is right")
        if not 0 <= self.max_cases <= limits.candidates:
            text = f"is {self.max_cases}: send 1 to {limits.candidates}, or 0 for as many"
            yield Violation(f"{where}.max_cases", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Slices by a label take no more cases than they need."""

    label: str
    at_least: int

    def value_of(self, case: Case) -> str:
        """Return the slice of a case; "" without the label."""
        return case.labels.get(self.label, "")

    def violations(self) -> Iterator[Violation]:
        """Yield what breaks its rule."""
        if not 1 <= len(self.label) <= MAX_LABEL_LENGTH:
            text = f"has {len(self.label)} characters: send 1 to {MAX_LABEL_LENGTH}"
            yield Violation("proposal.coverage.label", text)
        if not 1 <= self.at_least <= _MAX_SLICE:
            yield Violation("proposal.coverage.at_least", f"is {self.at_least}: send 1 to {_MAX_SLICE}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceCoverage:
    """How many different questions a slice has, and would get."""

    value: str
    existing: int = 0
    proposed: int = 0


@dataclass(slots=True, kw_only=True)
class Proposal(Aggregate):
    """Its candidates are stored beside it, until it is decided. It emits no events."""

    suite: str
    live: LiveAnswers | None = None
    generated_by: str = ""
    coverage: Coverage | None = None
    state: ProposalState = ProposalState.PREPARING
    asked_by: str = ""
    """Digest of the request that made it."""
    read_to: str = ""
    """The live answer that was read last: the suite's next proposal of the same ones goes on behind it."""
    proposed_by: str = ""
    compared_version: int = 0
    case_count: int = 0
    refused_counts: Mapping[str, int] = field(default_factory=dict)
    slices: tuple[SliceCoverage, ...] = ()
    left_out: tuple[str, ...] = ()
    """Ids of proposed cases that the suite does not take."""
    decided_by: str = ""
    decide_time: datetime | None = None
    note: str = ""
    accepted_version: int = 0
    accepted_case_count: int = 0

    def violations(self, limits: ProposalLimits, *, candidates: int) -> Iterator[Violation]:
        """Yield every field that breaks its rule; `candidates` is how many the request has."""
        yield from slug_violations("proposal.suite", self.suite)
        yield from label_violations("proposal.labels", self.labels)
        if self.generated_by:
            yield from slug_violations("proposal.generated_by", self.generated_by)
        if self.coverage:
            yield from self.coverage.violations()
        if self.live:
            yield from self.live.violations(limits)
            if candidates:
                yield Violation("candidates", "are sent, and proposal.live names others: send one of both")
        elif not 1 <= candidates <= limits.candidates:
            text = f"has {candidates} entries: send 1 to {limits.candidates}, or proposal.live"
            yield Violation("candidates", text)

    def propose(
        self,
        *,
        cases: int,
        refused: Mapping[str, int],
        slices: Sequence[SliceCoverage],
        compared_version: int,
        read_to: str,
    ) -> None:
        """Record that the candidates are stored; no effect on a proposal that has them."""
        if self.state is ProposalState.PREPARING:
            self.state, self.case_count, self.refused_counts = ProposalState.PROPOSED, cases, refused
            self.slices, self.compared_version, self.read_to = tuple(slices), compared_version, read_to

    def begin_accepting(self, *, left_out: Sequence[str], by: str, note: str, now: datetime) -> None:
        """Decide that the suite takes its cases; one that is being accepted keeps its first decision.

        Raises:
            ProposalDecided: it is accepted or refused.
            ProposalInterrupted: its request was, or it is being accepted without other cases or with another note.

        """
        if self.state is ProposalState.ACCEPTING:
            if (left_out and set(left_out) != set(self.left_out)) or (note and note != self.note):
                without = f" without {len(self.left_out)} of its cases" if self.left_out else ""
                then = (
                    f"it is accepted already{without}: accept it with no case left out and no note, which finishes it"
                )
                raise ProposalInterrupted(self.id, then=then)
            return
        self._decide(ProposalState.ACCEPTING, by=by, note=note, now=now)
        self.left_out = tuple(left_out)

    def accept(self, *, version: int, cases: int) -> None:
        """Record the version of the suite that has its cases."""
        if self.state is ProposalState.ACCEPTING:
            self.state, self.accepted_version, self.accepted_case_count = ProposalState.ACCEPTED, version, cases

    def reopen(self) -> None:
        """Take the decision back, because the suite cannot take the cases."""
        if self.state is ProposalState.ACCEPTING:
            self.state, self.decided_by, self.decide_time, self.note = ProposalState.PROPOSED, "", None, ""
            self.left_out = ()

    def refuse(self, *, by: str, note: str, now: datetime) -> None:
        """Decide that the suite takes none of its cases.

        Raises:
            ProposalDecided: it is accepted or refused.
            ProposalInterrupted: its request was, or it is being accepted.

        """
        self._decide(ProposalState.REFUSED, by=by, note=note, now=now)

    def refuse_interrupted(self) -> None:
        """Refuse what an acceptance that was interrupted does not allow.

        Raises:
            ProposalInterrupted: it is being accepted.

        """
        if self.state is ProposalState.ACCEPTING:
            raise ProposalInterrupted(self.id, then="accept it again first")

    @property
    def decided(self) -> bool:
        """Whether it needs its candidates no more."""
        return self.state in {ProposalState.ACCEPTED, ProposalState.REFUSED}

    def _decide(self, state: ProposalState, *, by: str, note: str, now: datetime) -> None:
        self.refuse_interrupted()
        if self.state is ProposalState.PREPARING:
            raise ProposalInterrupted(self.id, then="send that request again, or delete it and make another one")
        if self.state is not ProposalState.PROPOSED:
            raise ProposalDecided(self.id, state=self.state.value)
        self.state, self.decided_by, self.note, self.decide_time = state, by, note, now


def violations_of_note(note: str) -> Iterator[Violation]:
    """Yield what is wrong with the words of a decision."""
    if len(note) > MAX_NOTE:
        yield Violation("note", f"has {len(note)} characters; the limit is {MAX_NOTE}")
