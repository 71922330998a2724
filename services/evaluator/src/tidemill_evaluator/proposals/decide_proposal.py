"""Use cases: accept a proposal, or refuse it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import Conflict, InvalidInput, PreconditionFailed
from tidemill_core.resources import Write, refuse
from tidemill_evaluator.errors import PASSING, NothingProposed, ProposalDecided
from tidemill_evaluator.proposals.domain.proposal import Proposal, ProposalState, violations_of_note
from tidemill_evaluator.proposals.domain.quality import not_there
from tidemill_evaluator.proposals.ports import Proposals, ProposedCases
from tidemill_evaluator.suites.domain.cases import Case, check_cases
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.suite import AcceptedProposal, Suite
from tidemill_evaluator.suites.ports import Cases, Suites

_ATTEMPTS: Final = 5


class _SuiteChanged(Conflict):
    """The suite has another version than the one that the cases were added to."""

    reason = "SUITE_CHANGED"


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptProposal:
    """First the decision is saved, then the suite takes the cases, then the proposal has its version.

    Interrupted anywhere, it goes on when it is accepted again: a suite names the proposals that it took, so that it
    takes each once. The candidates are forgotten at the end: the suite has what was accepted.
    """

    proposals: Proposals
    proposed: ProposedCases
    suites: Suites
    cases: Cases
    limits: Limits
    clock: Clock

    async def __call__(
        self, caller: Caller, proposal_id: str, *, left_out: Sequence[str], note: str, write: Write
    ) -> Proposal:
        """Return the accepted proposal with the version of the suite that has its cases.

        Raises:
            InvalidInput: a field breaks its rule, `left_out` has what is not proposed, or the suite would be too large.
            ProposalNotFound: there is none.
            ProposalDecided: it is accepted or refused already.
            NothingProposed: no case of it is left.
            ProposalInterrupted: another acceptance of it was, which leaves out others or has another note.
            Conflict: it changed since the etag, the suite changed too often meanwhile, or this request was answered
                with an error before, which took its decision back.

        """
        refuse(violations_of_note(note))
        stored = await self.proposals.get(caller.project, proposal_id)
        if stored.state is ProposalState.PROPOSED:
            await self._check(stored, left_out)

        now = self.clock.now()

        def decide(proposal: Proposal) -> None:
            proposal.begin_accepting(left_out=left_out, by=caller.proven_subject, note=note, now=now)

        decided = await _decide(self, caller.project, proposal_id, decide, write)
        if write.validate_only:
            return decided
        if decided.state is ProposalState.ACCEPTING:
            decided = await self._take(decided)
        if decided.state is not ProposalState.ACCEPTED:  # as this request, or one at the same time, has opened it again
            message = f"proposal {proposal_id} is {decided.state.value}: the suite could not take it: accept it anew"
            raise Conflict(message)
        await self.proposed.forget(caller.project, proposal_id)
        return decided

    async def _check(self, proposal: Proposal, left_out: Sequence[str]) -> None:
        chosen = await self._chosen(proposal, ())
        unknown = set(left_out) - {case.id for case in chosen}
        if unknown:
            text = f"has {min(unknown)[:80]!r}, which is not proposed: name ids of proposed cases"
            raise InvalidInput.at(field="left_out", text=text)
        if len(set(left_out)) == len(chosen):
            raise NothingProposed(proposal.id)
        suite = (await self.suites.get_many(proposal.project, [proposal.suite])).get(proposal.suite)
        await self._grown(suite, [case for case in chosen if case.id not in set(left_out)])

    async def _take(self, proposal: Proposal) -> Proposal:
        """Have the suite take the cases, and record its version; what it cannot take opens the proposal again."""
        try:
            taken = await self._in_suite(proposal)
        except PASSING:
            raise
        except (InvalidInput, PreconditionFailed):
            await self.proposals.update(proposal.project, proposal.id, Proposal.reopen, request=Request.internal())
            raise

        def accept(proposal: Proposal) -> None:
            proposal.accept(version=taken.number, cases=taken.cases)

        return await self.proposals.update(proposal.project, proposal.id, accept, request=Request.internal())

    async def _in_suite(self, proposal: Proposal) -> AcceptedProposal:
        for _ in range(_ATTEMPTS):
            suite = (await self.suites.get_many(proposal.project, [proposal.suite])).get(proposal.suite)
            if suite is not None and (taken := suite.accepted_of(proposal.id)):
                return taken
            chosen = await self._chosen(proposal, proposal.left_out)
            grown, fresh = await self._grown(suite, chosen)
            if not fresh and suite is not None:  # it has all of them by now
                return AcceptedProposal(proposal=proposal.id, number=suite.number, cases=0)
            try:
                return await self._grow(proposal, suite, grown, fresh)
            except _SuiteChanged:
                continue
        message = f"suite {proposal.suite} changed {_ATTEMPTS} times meanwhile: accept the proposal again"
        raise Conflict(message)

    async def _grow(
        self, proposal: Proposal, known: Suite | None, grown: Sequence[Case], fresh: Sequence[Case]
    ) -> AcceptedProposal:
        content = await self.cases.put(proposal.project, proposal.suite, grown)
        number = known.number if known else None

        def change(suite: Suite) -> None:
            if suite.accepted_of(proposal.id):
                return
            there = bool(suite.number) and not suite.deleted
            if there != (number is not None) or (there and suite.number != number):
                message = f"suite {suite.id} has another version"
                raise _SuiteChanged(message)
            if not there:
                suite.create({})
            suite.grow(grown, content, proposal=proposal.id, taken=len(fresh))

        new = Suite(id=proposal.suite, project=proposal.project)
        saved = await self.suites.upsert(new, change, request=Request.internal())
        taken = saved.accepted_of(proposal.id)
        assert taken is not None  # noqa: S101 - the change has recorded it
        return taken

    async def _chosen(self, proposal: Proposal, left_out: Sequence[str]) -> list[Case]:
        candidates = await self.proposed.read(proposal.project, proposal.id)
        proposed = [each.case for each in candidates if each.flaw is None and each.case.id not in set(left_out)]
        if not proposed:
            raise NothingProposed(proposal.id)
        return [replace(case, proposal=proposal.id) for case in proposed]

    async def _grown(self, suite: Suite | None, chosen: Sequence[Case]) -> tuple[list[Case], list[Case]]:
        """Return the suite's cases with the chosen ones that it does not have, and these alone."""
        if suite is not None and suite.shipped:
            text = f"takes its cases from {suite.shipped.suite}, which a release replaces: refuse the proposal"
            raise InvalidInput.at(field="suite", text=text)
        current = await self.cases.read(suite.project, suite.case_set) if suite is not None else []
        return await asyncio.to_thread(_together, current, chosen, self.limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseProposal:
    """The candidates are forgotten; their number and the reasons of refused ones stay."""

    proposals: Proposals
    proposed: ProposedCases
    clock: Clock

    async def __call__(self, caller: Caller, proposal_id: str, *, note: str, write: Write) -> Proposal:
        """Return the refused proposal.

        Raises:
            InvalidInput: the note is too long.
            ProposalNotFound: there is none.
            ProposalDecided: it is accepted or refused already.
            Conflict: it changed since the etag.

        """
        refuse(violations_of_note(note))
        now = self.clock.now()

        def decide(proposal: Proposal) -> None:
            proposal.refuse(by=caller.proven_subject, note=note, now=now)

        decided = await _decide(self, caller.project, proposal_id, decide, write)
        if not write.validate_only:
            await self.proposed.forget(caller.project, proposal_id)
        return decided


def _together(current: Sequence[Case], chosen: Sequence[Case], limits: Limits) -> tuple[list[Case], list[Case]]:
    fresh = not_there(chosen, current)
    grown = [*current, *fresh]
    check_cases(grown, limits, stored=len(current))
    return grown, fresh


async def _decide(
    stores: AcceptProposal | RefuseProposal,
    project: str,
    proposal_id: str,
    decide: Callable[[Proposal], None],
    write: Write,
) -> Proposal:
    """Save a decision; of one that is decided already forget the candidates, which may have been interrupted."""
    try:
        return await resources.update(stores.proposals, project, proposal_id, decide, write)
    except ProposalDecided:
        if not write.validate_only:
            await stores.proposed.forget(project, proposal_id)
        raise
