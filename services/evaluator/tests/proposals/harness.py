"""Proposals on in-memory stores, beside suites."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from services.evaluator.tests.builders import ADA, write
from services.evaluator.tests.fakes import ProcessesHere
from services.evaluator.tests.harness import Evaluator
from tidemill_core.application import Caller
from tidemill_evaluator.errors import ProposalNotFound
from tidemill_evaluator.proposals.crud import ProposalCrud
from tidemill_evaluator.proposals.decide_proposal import AcceptProposal, RefuseProposal
from tidemill_evaluator.proposals.domain.candidate import Candidate, ProposalLimits
from tidemill_evaluator.proposals.domain.proposal import Coverage, LiveAnswers, Proposal
from tidemill_evaluator.proposals.live_candidates import LiveCandidates
from tidemill_evaluator.proposals.mongo import PROPOSALS
from tidemill_evaluator.proposals.ports import LiveAnswer, Reviewed
from tidemill_evaluator.proposals.propose_cases import ProposeCases
from tidemill_evaluator.proposals.selection import BoundedSelection
from tidemill_evaluator.proposals.shown import ShownCandidates
from tidemill_evaluator.suites.domain.cases import Case, Context, DocumentVersion
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.erasure import EraseCases
from tidemill_testkit.stores import InMemoryAggregates

MANUAL = DocumentVersion("manual", 3)


class Killed(BaseException):
    """Simulates a kill of the process."""


class InMemoryReviews:
    """Implements `ports.Reviews`."""

    def __init__(self) -> None:
        self.corrections: list[Reviewed] = []
        self.reviewed: list[Reviewed] = []
        self.away: Exception | None = None

    async def corrected(self, caller: Caller, deployment: str) -> Sequence[Reviewed]:
        assert caller.project
        assert deployment
        if self.away:
            raise self.away
        return self.corrections

    async def resolved(self, caller: Caller, live: LiveAnswers) -> Sequence[Reviewed]:
        assert caller.project
        assert live.queue
        return self.reviewed


class InMemoryLiveRecords:
    """Implements `ports.LiveRecords`."""

    def __init__(self) -> None:
        self.known: dict[str, LiveAnswer] = {}
        self.deployments = {"helpdesk"}

    async def deployment_exists(self, caller: Caller, deployment: str) -> bool:
        assert caller.project
        return deployment in self.deployments

    async def read(self, caller: Caller, inference: str) -> LiveAnswer | str:
        assert caller.project
        return self.known.get(inference, "it is gone")


class InMemoryProposedCases:
    """Implements `ports.ProposedCases`."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], list[Candidate]] = defaultdict(list)

    async def keep(self, project: str, proposal: str, candidates: Sequence[Candidate]) -> None:
        self.stored[project, proposal] = [replace(each, passage="") for each in candidates]

    async def read(self, project: str, proposal: str) -> Sequence[Candidate]:
        return list(self.stored[project, proposal])

    async def forget(self, project: str, proposal: str) -> None:
        self.stored.pop((project, proposal), None)


class Proposing:
    """The use cases on in-memory stores."""

    def __init__(self, *, limits: Limits | None = None, rules: ProposalLimits | None = None) -> None:
        limits, rules = limits or Limits(), rules or ProposalLimits()
        self.evaluator = Evaluator(limits=limits)
        clock = self.evaluator.clock
        self.suites, self.cases = self.evaluator.suites, self.evaluator.cases
        self.store = InMemoryAggregates[Proposal](codec=PROPOSALS, missing=ProposalNotFound, clock=clock)
        self.proposed = InMemoryProposedCases()
        self.reviews, self.records = InMemoryReviews(), InMemoryLiveRecords()
        self.processes = ProcessesHere()
        shown = ShownCandidates(proposed=self.proposed, restricted=self.evaluator.readers.restricted)
        self.propose = ProposeCases(
            proposals=self.store,
            proposed=self.proposed,
            suites=self.suites,
            cases=self.cases,
            live=LiveCandidates(reviews=self.reviews, records=self.records, rules=rules, limits=limits),
            select=BoundedSelection(self.processes, limits=limits, rules=rules),
            rules=rules,
            schemas=self.evaluator.suite_crud.schemas,
            shown=shown,
        )
        self.accept = AcceptProposal(
            proposals=self.store,
            proposed=self.proposed,
            suites=self.suites,
            cases=self.cases,
            limits=limits,
            clock=clock,
        )
        self.refuse = RefuseProposal(proposals=self.store, proposed=self.proposed, clock=clock)
        self.crud = ProposalCrud(proposals=self.store, proposed=self.proposed, shown=shown)
        self.erase = EraseCases(suites=self.suites, cases=self.cases, origins=self.evaluator.origins)

    async def sent(
        self, *cases: Case, suite: str = "truth", request_id: str = "", coverage: Coverage | None = None
    ) -> tuple[Proposal, Sequence[Candidate]]:
        """Propose cases as a client sends them."""
        return await self.of(
            [Candidate(case=case) for case in cases], suite=suite, request_id=request_id, coverage=coverage
        )

    async def of(
        self,
        candidates: Sequence[Candidate],
        *,
        suite: str = "truth",
        request_id: str = "",
        coverage: Coverage | None = None,
        validate_only: bool = False,
    ) -> tuple[Proposal, Sequence[Candidate]]:
        given = Proposal(id="", project="acme", suite=suite, coverage=coverage)
        return await self.propose(ADA, given, candidates, write(request_id, validate_only=validate_only))

    async def from_live(
        self, live: LiveAnswers | None = None, *, coverage: Coverage | None = None, request_id: str = ""
    ) -> tuple[Proposal, Sequence[Candidate]]:
        live = live or LiveAnswers(deployment="helpdesk", corrections=True)
        self.evaluator.clock.advance(timedelta(seconds=1))
        given = Proposal(id="", project="acme", suite="truth", live=live, coverage=coverage)
        return await self.propose(ADA, given, [], write(request_id))

    async def accepted(self, proposal: Proposal, *left_out: str, request_id: str = "") -> Proposal:
        return await self.accept(ADA, proposal.id, left_out=left_out, note="", write=write(request_id))

    async def suite(self, name: str = "truth") -> tuple[Suite, Sequence[Case]]:
        suite = await self.suites.get("acme", name)
        return suite, await self.cases.read("acme", suite.case_set)

    def corrected(self, name: str, question: str, reference: str, **fields: object) -> None:
        """Have an end user correct a live answer."""
        self.answered(name, question, **fields)
        self.reviews.corrections.append(Reviewed(inference=name, reference=reference, by="ada"))

    def answered(self, name: str, question: str, **fields: object) -> None:
        known = {
            "deployment": "helpdesk",
            "question": question,
            "answer": f"the answer to {name}",
            "context": Context(principals=("group:support",)),
            "end_user": "ada",
            "labels": {"topic": "vpn", "trace": name},
            "rests_on": (MANUAL,),
        }
        self.records.known[name] = LiveAnswer(**(known | fields))  # type: ignore[arg-type] # fields of an answer


def killed(after: Callable[..., object]) -> Callable[..., object]:
    """Return a method that does its work, and dies then."""

    async def dies(*arguments: object, **named: object) -> object:
        await after(*arguments, **named)  # type: ignore[misc] # a coroutine
        raise Killed

    return dies
