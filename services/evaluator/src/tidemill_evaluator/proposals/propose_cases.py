"""Use case: propose cases for a suite."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, PageRequest, Request, derived_id
from tidemill_core.errors import AlreadyExists, InvalidInput, NotFound, RequestIdReused, named
from tidemill_core.resources import Write, refuse, repeated
from tidemill_evaluator.proposals.domain.candidate import Candidate, CandidateFlaw, ProposalLimits, characters_of
from tidemill_evaluator.proposals.domain.proposal import Proposal, ProposalState
from tidemill_evaluator.proposals.domain.quality import Selected, counted
from tidemill_evaluator.proposals.live_candidates import LiveCandidates, LiveSample
from tidemill_evaluator.proposals.ports import Proposals, ProposedCases, Select
from tidemill_evaluator.proposals.shown import ShownCandidates
from tidemill_evaluator.suites.case_schemas import wrong_schemas
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.ports import Cases, Schemas, Suites

_LATEST = 100
"""Proposals of the suite among which the one is found that a new one of live answers goes on behind."""
_CHECKS = 5
"""So often schemas are checked: each time without those that were wrong before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeCases:
    """The id derives from the request id. Its candidates are named by the proposal before they are stored.

    So a request that was interrupted goes on when it is sent again, and nothing is stored that no erasure finds.
    """

    proposals: Proposals
    proposed: ProposedCases
    suites: Suites
    cases: Cases
    live: LiveCandidates
    select: Select
    rules: ProposalLimits
    schemas: Schemas
    shown: ShownCandidates

    async def __call__(
        self, caller: Caller, given: Proposal, candidates: Sequence[Candidate], write: Write
    ) -> tuple[Proposal, Sequence[Candidate]]:
        """Return the proposal with the candidates that the caller may read, those that are refused with the reason.

        Raises:
            InvalidInput: naming every field that breaks its rule; the suite has a shipped one's cases; there is no
                candidate.
            RateLimited: too much work of the project waits already.
            DependencyUnavailable: feedback or inference, which have live answers, or ingest, which knows the readers
                of documents, is unavailable.

        """
        refuse(given.violations(self.rules, candidates=len(candidates)))
        await asyncio.to_thread(self._check_size, candidates)
        proposal_id = derived_id(caller.project, "CreateSuiteProposal", write.request.id)
        if not write.validate_only:
            stored = await repeated(self.proposals, caller.project, proposal_id, write.request)
            if stored is not None and stored.state is not ProposalState.PREPARING:
                return stored, await self.shown(caller, stored)
        existing, version = await self._existing(caller, given.suite)
        live = await self._live(caller, given, existing)
        candidates = await self._with_schemas(caller, live.candidates if live else candidates)
        found = await self.select(caller, candidates, existing, given.coverage)
        outcome = _Outcome(found=found, version=version, read_to=live.read_to if live else "")
        fresh = replace(
            given,
            id=proposal_id,
            project=caller.project,
            asked_by=write.request.digest,
            proposed_by=caller.proven_subject,
            pending=[],
        )
        if write.validate_only:
            outcome.propose(fresh)
            return fresh, found.candidates
        stored = await self._store(fresh, outcome, write.request)
        return stored, await self.shown(caller, stored)

    async def _store(self, fresh: Proposal, outcome: "_Outcome", request: Request) -> Proposal:
        project, proposal_id = fresh.project, fresh.id
        stored = await self._add(fresh, request)
        if stored.state is ProposalState.PREPARING:
            await self.proposed.keep(project, proposal_id, outcome.found.candidates)
            stored = await self.proposals.update(project, proposal_id, outcome.propose, request=Request.internal())
        return stored

    async def _add(self, fresh: Proposal, request: Request) -> Proposal:
        try:
            return await self.proposals.add(fresh, request=request)
        except AlreadyExists:  # the aggregate's request log has expired
            stored = await self.proposals.get(fresh.project, fresh.id)
            if stored.asked_by != request.digest:
                raise RequestIdReused(request.id) from None
            return stored

    async def _existing(self, caller: Caller, suite_id: str) -> tuple[Sequence[Case], int]:
        try:
            suite = await self.suites.get(caller.project, suite_id)
        except NotFound:
            return [], 0
        if suite.shipped:
            text = f"takes its cases from {suite.shipped.suite}, which a release replaces: name a suite of your own"
            raise InvalidInput.at(field="proposal.suite", text=text)
        return await self.cases.read(caller.project, suite.case_set), suite.number

    async def _live(self, caller: Caller, given: Proposal, existing: Sequence[Case]) -> LiveSample | None:
        """Return what follows what the suite's latest proposal of the same answers has read."""
        if given.live is None:
            return None
        page = PageRequest(size=_LATEST, newest_first=True, where={"suite": given.suite})
        latest = (await self.proposals.list(caller.project, page=page)).items
        after = next((each.read_to for each in latest if each.read_to and given.live.same_as(each.live)), "")
        sample = await self.live(caller, given.live, given.coverage, existing=existing, after=after)
        if not sample.candidates:
            deployment = given.live.deployment
            if not await self.live.records.deployment_exists(caller, deployment):
                text = (
                    f"is {named(deployment)}, which the project does not have: `tidemill deployments list` shows them"
                )
                raise InvalidInput.at(field="proposal.live.deployment", text=text)
            text = (
                f"has no answer of deployment {named(deployment)} that was corrected or reviewed and is no case of the "
                "suite yet: have answers reviewed"
            )
            raise InvalidInput.at(field="proposal.live", text=text)
        return sample

    async def _with_schemas(self, caller: Caller, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """Refuse those whose schema is none: what is behind one that ends its check is checked without that one."""
        found = dict(enumerate(candidates))
        for _ in range(_CHECKS):
            places = [place for place, each in found.items() if each.flaw is None and each.case.schema is not None]
            wrong = await wrong_schemas(self.schemas, caller, [found[place].case for place in places])
            if not wrong:
                return list(found.values())
            for place, why in wrong.items():
                found[places[place]] = found[places[place]].refused(CandidateFlaw.FORM, f"schema: {why}")
        text = "have too many schemas that cannot be checked: send them without these"
        raise InvalidInput.at(field="candidates", text=text)

    def _check_size(self, candidates: Sequence[Candidate]) -> None:
        length = sum(characters_of(each.case) + len(each.why) for each in candidates)
        if length > self.rules.characters:
            text = f"have {length} characters together; the limit is {self.rules.characters}: send them in parts"
            raise InvalidInput.at(field="candidates", text=text)
        seen = set[str]()
        for number, each in enumerate(candidates):
            if not each.case.id or each.case.id in seen:
                text = "is empty or a duplicate: candidates are known by their ids"
                raise InvalidInput.at(field=f"candidates[{number}].case.id", text=text)
            seen.add(each.case.id)
            if len(each.case.rests_on) > self.rules.documents:
                text = f"has {len(each.case.rests_on)} entries; the limit is {self.rules.documents}"
                raise InvalidInput.at(field=f"candidates[{number}].case.rests_on", text=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What was found, of which version of the suite, and which live answer was read last."""

    found: Selected
    version: int
    read_to: str

    def propose(self, proposal: Proposal) -> None:
        candidates = self.found.candidates
        proposal.propose(
            cases=sum(each.usable for each in candidates),
            refused=counted(candidates),
            slices=self.found.slices,
            compared_version=self.version,
            read_to=self.read_to,
        )
