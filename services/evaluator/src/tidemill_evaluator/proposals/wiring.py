"""Wires proposals: their store, RPCs, and what erases them."""

from tidemill_core.application import SystemClock
from tidemill_evaluator.errors import ProposalNotFound
from tidemill_evaluator.proposals.crud import ProposalCrud
from tidemill_evaluator.proposals.decide_proposal import AcceptProposal, RefuseProposal
from tidemill_evaluator.proposals.feedback import FeedbackReviews, UnknownReviews
from tidemill_evaluator.proposals.grpc import GrpcSuiteProposalService
from tidemill_evaluator.proposals.inference import InferenceLiveRecords
from tidemill_evaluator.proposals.live_candidates import LiveCandidates
from tidemill_evaluator.proposals.mongo import PROPOSAL_LISTS, PROPOSALS, MongoProposedCases
from tidemill_evaluator.proposals.ports import OfSuites, Proposals, Reviews
from tidemill_evaluator.proposals.propose_cases import ProposeCases
from tidemill_evaluator.proposals.selection import BoundedSelection
from tidemill_evaluator.proposals.shown import ShownCandidates
from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_evaluator.suites.ports import Processes
from tidemill_kit.service.backend import Backend


def wire_proposals(
    settings: EvaluatorSettings, backend: Backend, known: OfSuites, processes: Processes
) -> GrpcSuiteProposalService:
    """Return the RPCs."""
    suites, cases = known.suites, known.cases
    proposals: Proposals = backend.aggregates(
        "suite_proposals",
        PROPOSALS,
        missing=ProposalNotFound,
        lists=PROPOSAL_LISTS,
        quota=settings.quota("suite_proposals"),
    )
    proposed = backend.indexed(MongoProposedCases(backend.database["proposed_cases"]))
    inference = backend.channel("inference", settings.inference_address, timeout_s=settings.call_timeout_s)
    limits, rules, clock = settings.limits, settings.proposal_limits, SystemClock()
    live = LiveCandidates(
        reviews=_reviews(settings, backend), records=InferenceLiveRecords(inference), rules=rules, limits=limits
    )
    shown = ShownCandidates(proposed=proposed, restricted=known.restricted)
    return GrpcSuiteProposalService(
        proposals=ProposalCrud(proposals=proposals, proposed=proposed, shown=shown),
        propose=ProposeCases(
            proposals=proposals,
            proposed=proposed,
            suites=suites,
            cases=cases,
            live=live,
            select=BoundedSelection(processes, limits=limits, rules=rules),
            rules=rules,
            schemas=known.schemas,
            shown=shown,
        ),
        accept=AcceptProposal(
            proposals=proposals, proposed=proposed, suites=suites, cases=cases, limits=limits, clock=clock
        ),
        refuse=RefuseProposal(proposals=proposals, proposed=proposed, clock=clock),
    )


def _reviews(settings: EvaluatorSettings, backend: Backend) -> Reviews:
    if not settings.feedback_address:
        return UnknownReviews()
    return FeedbackReviews(backend.channel("feedback", settings.feedback_address, timeout_s=settings.call_timeout_s))
