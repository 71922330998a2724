"""Mapping of proposals to their messages."""

from collections.abc import Sequence

from tidemill.evaluator.v1 import suite_proposal_pb2 as pb
from tidemill_evaluator.proposals.domain.candidate import Candidate, ReferenceFrom
from tidemill_evaluator.proposals.domain.proposal import Proposal
from tidemill_evaluator.suites.domain.cases import DocumentVersion
from tidemill_evaluator.suites.messages import case_message, case_of, origin_of
from tidemill_kit.mapping import from_message, to_message

_SERVERS = frozenset(
    {
        *("state", "proposed_by", "compared_version", "case_count", "refused_counts", "slices", "candidates"),
        *("decided_by", "decide_time", "note", "accepted_version", "accepted_case_count", "left_out"),
    }
)


def proposal_of(message: pb.SuiteProposal, project: str) -> Proposal:
    """Return the proposal of a request, without what the evaluator says of it.

    Raises:
        InvalidInput: a value is none of those that there are.

    """
    given = Proposal(id="", project=project, suite="")
    ours = {name: getattr(given, name) for name in (_SERVERS - {"candidates"}) | {"asked_by", "read_to"}}
    return from_message(Proposal, message, prefix="proposal", ignore=_SERVERS, project=project, **ours)


def candidates_of(messages: Sequence[pb.ProposedCase]) -> list[Candidate]:
    """Return the candidates of a request; what they were generated from goes with them.

    Raises:
        InvalidInput: a turn has a role or a part that is not supported, or variables contain NaN.

    """
    found = list[Candidate]()
    for number, message in enumerate(messages):
        where = f"candidates[{number}]"
        rests_on = tuple(DocumentVersion(each.document, each.version) for each in message.case.rests_on)
        case = case_of(message.case, f"{where}.case", rests_on=rests_on)
        given = {"case": case, "reference_from": ReferenceFrom.GIVEN}
        found.append(from_message(Candidate, message, prefix=where, ignore={"case", "reference_from"}, **given))
    return found


def stored_candidate(message: pb.ProposedCase) -> Candidate:
    """Return a candidate as it was stored."""
    case = case_of(message.case, "candidate.case", **origin_of(message.case))
    source = ReferenceFrom(message.reference_from)
    return from_message(Candidate, message, ignore={"case", "reference_from"}, case=case, reference_from=source)


def candidate_message(candidate: Candidate) -> pb.ProposedCase:
    """Return the message of a candidate, which is its stored form too, without its passage."""
    return to_message(
        pb.ProposedCase,
        candidate,
        case=case_message(candidate.case),
        passage="",
        reference_from=candidate.reference_from.value,
    )


def proposal_message(proposal: Proposal, candidates: Sequence[Candidate] = ()) -> pb.SuiteProposal:
    """Return the message of a proposal."""
    return to_message(pb.SuiteProposal, proposal, candidates=[*map(candidate_message, candidates)])
