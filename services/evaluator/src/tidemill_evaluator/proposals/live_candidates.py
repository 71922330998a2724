"""Makes candidates of live answers that people have corrected or reviewed."""

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_evaluator.proposals.domain.candidate import (
    Candidate,
    CandidateFlaw,
    ProposalLimits,
    ReferenceFrom,
    characters_of,
    first_within,
)
from tidemill_evaluator.proposals.domain.proposal import Coverage, LiveAnswers
from tidemill_evaluator.proposals.ports import LiveAnswer, LiveRecords, Reviewed, Reviews
from tidemill_evaluator.suites.domain.cases import Case

_READ_TOGETHER = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCandidates:
    """What was resolved in review counts more than a correction of the same answer.

    Read with the caller's own permissions: what the caller may not read is no candidate.
    """

    reviews: Reviews
    records: LiveRecords
    limits: ProposalLimits

    async def __call__(
        self, caller: Caller, live: LiveAnswers, coverage: Coverage | None, *, known: Collection[str]
    ) -> list[Candidate]:
        """Return a sample of those that are no cases of the suite yet, as the ids `known` say: the same each time.

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
        sample = sorted(found.keys() - set(known), key=_place)[: live.max_cases or self.limits.candidates]
        places = asyncio.Semaphore(_READ_TOGETHER)

        async def read(inference: str) -> Candidate:
            async with places:
                return await self._candidate(caller, live, coverage, *found[inference])

        return self._within(await _all_of([read(each) for each in sample]))

    async def _candidate(
        self, caller: Caller, live: LiveAnswers, coverage: Coverage | None, said: Reviewed, source: ReferenceFrom
    ) -> Candidate:
        record = await self.records.read(caller, said.inference)
        if isinstance(record, LiveAnswer) and record.deployment != live.deployment:
            record = "it is an answer of another deployment"
        if isinstance(record, str):
            case = Case(id=said.inference, question="", reference="")
            return Candidate(case=case, flaw=CandidateFlaw.UNUSABLE, why=record, reference_from=source)
        label = coverage.label if coverage else ""
        case = Case(
            id=said.inference,
            question=record.question,
            reference=record.answer if said.reference is None else said.reference,
            labels={label: record.labels[label]} if label in record.labels else {},
            context=record.context,
            end_user=record.end_user,
            corrected_by=said.by if said.by != record.end_user else "",
            rests_on=record.rests_on,
        )
        candidate = Candidate(case=case, reference_from=source)
        if said.contradicted:
            return candidate.refused(CandidateFlaw.CONTRADICTS, "its corrections differ: have it reviewed")
        return candidate

    def _within(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the first ones that fit a proposal together."""
        lengths = {each.case.id: characters_of(each.case) for each in candidates}
        kept = first_within(lengths, self.limits.characters)
        return [each for each in candidates if each.case.id in kept]


async def _all_of(work: Sequence) -> list[Candidate]:  # type: ignore[type-arg] # coroutines
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]


def _place(inference: str) -> bytes:
    return hashlib.sha256(inference.encode()).digest()
