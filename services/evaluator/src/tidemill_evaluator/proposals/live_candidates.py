"""Makes candidates of live answers that people have corrected or reviewed."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import MAX_LABEL_LENGTH, MAX_LABELS
from tidemill_evaluator.proposals.domain.candidate import (
    Candidate,
    CandidateFlaw,
    ProposalLimits,
    ReferenceFrom,
    characters_of,
)
from tidemill_evaluator.proposals.domain.proposal import Coverage, LiveAnswers
from tidemill_evaluator.proposals.domain.quality import SliceCounts
from tidemill_evaluator.proposals.ports import LiveAnswer, LiveRecords, Reviewed, Reviews
from tidemill_evaluator.suites.domain.cases import OWN_LABELS, Case, check_cases
from tidemill_evaluator.suites.domain.limits import Limits

_READ_TOGETHER = 8


@dataclass(slots=True, kw_only=True)
class LiveSample:
    """Candidates of live answers, and the last answer of which one is made."""

    candidates: list[Candidate] = field(default_factory=list)
    read_to: str = ""
    taken: int = 0
    """Candidates that are no refused ones yet: only these have texts."""
    characters: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCandidates:
    """What was resolved in review counts more than a correction of the same answer.

    Read with the caller's own permissions: what the caller may not read is no candidate.
    """

    reviews: Reviews
    records: LiveRecords
    rules: ProposalLimits
    limits: Limits

    async def __call__(
        self, caller: Caller, live: LiveAnswers, coverage: Coverage | None, *, existing: Sequence[Case], after: str
    ) -> LiveSample:
        """Return those that are no cases of the suite yet, in the order of the sha256 of their ids from `after` on.

        Those that cannot be cases, and those of slices that have enough, are refused without a text and take no place.

        Raises:
            InvalidInput: the review queue or a field of it does not exist.
            DependencyUnavailable: feedback or inference is unavailable.

        """
        found = dict[str, tuple[Reviewed, ReferenceFrom]]()
        if live.corrections:
            corrected = await self.reviews.corrected(caller, live.deployment)
            found |= {each.inference: (each, ReferenceFrom.CORRECTION) for each in corrected}
        if live.queue:
            resolved = await self.reviews.resolved(caller, live)
            found |= {each.inference: (each, ReferenceFrom.REVIEW) for each in resolved}
        names = _from(found.keys() - {case.id for case in existing}, after)[: self.rules.read]
        counts = SliceCounts(existing, coverage)
        sample = LiveSample(read_to=after)
        places = live.max_cases or self.rules.candidates
        while names and sample.taken < places:
            some = min(_READ_TOGETHER, places - sample.taken)
            now, names = names[:some], names[some:]
            for candidate in await _all_of([self._candidate(caller, live, *found[each]) for each in now]):
                if not self._take(sample, candidate, counts):
                    return sample
        return sample

    def _take(self, sample: LiveSample, candidate: Candidate, counts: SliceCounts) -> bool:
        """Add a candidate; return False, and add nothing, where it is too long beside those that are there."""
        if why := counts.enough(candidate.case) if candidate.usable else "":
            candidate = without_texts(candidate, CandidateFlaw.COVERED, why)
        length = characters_of(candidate.case)
        if sample.characters + length > self.rules.characters:
            if sample.taken:
                return False
            why = f"has {length} characters; the limit of a proposal is {self.rules.characters}"
            candidate, length = without_texts(candidate, CandidateFlaw.FORM, why), 0
        if candidate.usable:
            counts.add(candidate.case)
        sample.taken += bool(candidate.case.question)
        sample.characters += length
        sample.candidates.append(candidate)
        sample.read_to = candidate.case.id
        return True

    async def _candidate(self, caller: Caller, live: LiveAnswers, said: Reviewed, source: ReferenceFrom) -> Candidate:
        record = await self.records.read(caller, said.inference)
        if isinstance(record, LiveAnswer) and record.deployment != live.deployment:
            record = "it is an answer of another deployment"
        if isinstance(record, str):
            case = Case(id=said.inference, question="", reference="")
            return Candidate(case=case, flaw=CandidateFlaw.UNUSABLE, why=record, reference_from=source)
        case = Case(
            id=said.inference,
            question=record.question,
            reference=record.answer if said.reference is None else said.reference,
            labels=_labels(record),
            context=record.context,
            end_user=record.end_user,
            corrected_by=said.by if said.by != record.end_user else "",
            rests_on=record.rests_on[: self.rules.documents],
        )
        candidate = Candidate(case=case, reference_from=source)
        if len(record.rests_on) > self.rules.documents:
            why = f"it rests on {len(record.rests_on)} documents; the limit is {self.rules.documents}"
            return without_texts(candidate, CandidateFlaw.FORM, why)
        try:
            await asyncio.to_thread(check_cases, [case], self.limits)
        except InvalidInput as error:
            return without_texts(candidate, CandidateFlaw.FORM, error.message.replace("suite.cases[0].", ""))
        if said.contradicted:
            return candidate.refused(CandidateFlaw.CONTRADICTS, "its corrections differ: have it reviewed")
        return candidate


def without_texts(candidate: Candidate, flaw: CandidateFlaw, why: str) -> Candidate:
    """Return it as refused, with its id and labels alone."""
    case = Case(id=candidate.case.id, question="", reference="", labels=candidate.case.labels)
    return replace(candidate, case=case, flaw=flaw, why=why)


def _labels(record: LiveAnswer) -> dict[str, str]:
    """Return the labels of the request that a case may have: those of the platform say what a case is."""
    fitting = {
        key: value
        for key, value in sorted(record.labels.items())
        if key and not key.startswith(OWN_LABELS) and max(len(key), len(value)) <= MAX_LABEL_LENGTH
    }
    return dict([*fitting.items()][:MAX_LABELS])


async def _all_of(work: Sequence) -> list[Candidate]:  # type: ignore[type-arg] # coroutines
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]


def _from(names: set[str], after: str) -> list[str]:
    """Return all in order, those behind one of them, or of others, first."""
    if not after:
        return sorted(names, key=_place)
    return sorted(names, key=lambda name: (_place(name) <= _place(after), _place(name)))


def _place(inference: str) -> bytes:
    return hashlib.sha256(inference.encode()).digest()
