"""A proposal is accepted or refused once, and the suite takes its cases once."""

import asyncio

import pytest

from services.evaluator.tests.builders import ADA, cases, write
from services.evaluator.tests.proposals.harness import Killed, Proposing, killed
from tidemill_core.application import Caller
from tidemill_core.errors import Conflict, InvalidInput
from tidemill_evaluator.errors import NothingProposed, ProposalDecided, ProposalInterrupted, ProposalNotFound
from tidemill_evaluator.proposals.domain.proposal import Proposal, ProposalState
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.domain.limits import Limits

VPN = Case(id="vpn", question="How do I reset the VPN password?", reference="In the portal")
MAIL = Case(id="mail", question="Where is the mail archive?", reference="On the server")
MIA = Caller(project="acme", subject="user:mia", credential="k1")


async def test_accepted_cases_are_the_next_version_of_the_suite_and_name_their_proposal() -> None:
    proposing = Proposing()
    await proposing.evaluator.with_suite()
    proposal, _ = await proposing.sent(VPN, MAIL)

    accepted = await proposing.accept(MIA, proposal.id, left_out=["mail"], note="it is asked often", write=write())

    suite, known = await proposing.suite()
    assert (suite.number, suite.size, suite.proposed) == (2, 4, 1)
    assert [each.id for each in known] == ["c1", "c2", "c3", "vpn"]
    assert (known[-1].question, known[-1].proposal) == (VPN.question, proposal.id)
    assert (accepted.state, accepted.accepted_version, accepted.accepted_case_count) == (ProposalState.ACCEPTED, 2, 1)
    assert (accepted.decided_by, accepted.note) == ("user:mia", "it is asked often")
    assert accepted.decide_time == proposing.evaluator.clock.now()
    assert list((await proposing.crud.get(ADA, proposal.id))[1]) == [], "its candidates are forgotten"
    assert len(await proposing.cases.read("acme", (await proposing.evaluator.with_suite("other")).case_set)) == 3


async def test_the_first_proposal_of_a_suite_creates_it() -> None:
    proposing = Proposing()
    proposal, _ = await proposing.sent(VPN, suite="grown")

    accepted = await proposing.accepted(proposal)

    suite, known = await proposing.suite("grown")
    assert (suite.number, accepted.accepted_version, [each.id for each in known]) == (1, 1, ["vpn"])


async def test_a_refused_proposal_leaves_the_suite_as_it_is() -> None:
    proposing = Proposing()
    await proposing.evaluator.with_suite()
    proposal, _ = await proposing.sent(VPN)

    refused = await proposing.refuse(MIA, proposal.id, note="not ours", write=write())

    assert (refused.state, refused.decided_by, refused.note) == (ProposalState.REFUSED, "user:mia", "not ours")
    assert (await proposing.suite())[0].number == 1
    assert list((await proposing.crud.get(ADA, proposal.id))[1]) == []
    with pytest.raises(ProposalDecided):
        await proposing.accepted(proposal)


async def test_what_the_suite_has_by_now_is_not_taken_again() -> None:
    proposing = Proposing()
    one, _ = await proposing.sent(VPN, MAIL, request_id="r1")
    other, _ = await proposing.sent(Case(id="x", question=VPN.question, reference="elsewhere"), request_id="r2")
    await proposing.accepted(one)

    accepted = await proposing.accepted(other)

    assert (accepted.accepted_version, accepted.accepted_case_count) == (1, 0)
    assert [each.id for each in (await proposing.suite())[1]] == ["vpn", "mail"]


@pytest.mark.parametrize("place", range(4))
async def test_a_process_that_is_killed_anywhere_while_a_proposal_is_accepted_is_followed_by_one_version(
    place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposing = Proposing()
    await proposing.evaluator.with_suite()
    proposal, _ = await proposing.sent(VPN)
    stores = [
        (proposing.store, "update"),
        (proposing.cases, "put"),
        (proposing.suites, "upsert"),
        (proposing.proposed, "forget"),
    ]
    with monkeypatch.context() as dying:
        store, method = stores[place]
        dying.setattr(store, method, killed(getattr(store, method)))
        with pytest.raises(Killed):
            await proposing.accepted(proposal, request_id="r1")

    again = await proposing.accepted(proposal, request_id="r1")
    once_more = await proposing.accepted(proposal, request_id="r1")

    suite, known = await proposing.suite()
    assert (suite.number, [each.id for each in known]) == (2, ["c1", "c2", "c3", "vpn"])
    assert (again.state, again.accepted_version, again.accepted_case_count) == (ProposalState.ACCEPTED, 2, 1)
    assert once_more == again
    assert await proposing.proposed.read("acme", proposal.id) == []


@pytest.mark.parametrize("place", range(3))
async def test_a_process_that_is_killed_anywhere_while_cases_are_proposed_is_followed_by_one_proposal(
    place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposing = Proposing()
    stores = [(proposing.store, "add"), (proposing.proposed, "keep"), (proposing.store, "update")]
    with monkeypatch.context() as dying:
        store, method = stores[place]
        dying.setattr(store, method, killed(getattr(store, method)))
        with pytest.raises((Killed, ProposalNotFound)):
            await proposing.sent(VPN, MAIL, request_id="r1")

    proposal, candidates = await proposing.sent(VPN, MAIL, request_id="r1")

    assert (proposal.state, proposal.case_count, len(candidates)) == (ProposalState.PROPOSED, 2, 2)
    assert len(proposing.store.all()) == len(proposing.proposed.stored) == 1


async def test_a_proposal_whose_acceptance_was_interrupted_is_neither_refused_nor_deleted_and_is_finished_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proposing = Proposing()
    proposal, _ = await proposing.sent(VPN, MAIL)
    with monkeypatch.context() as dying:
        dying.setattr(proposing.cases, "put", killed(proposing.cases.put))
        with pytest.raises(Killed):
            await proposing.accepted(proposal, "mail")

    with pytest.raises(ProposalInterrupted, match="accept it again first"):
        await proposing.refuse(ADA, proposal.id, note="", write=write())
    with pytest.raises(ProposalInterrupted):
        await proposing.crud.delete(ADA, proposal.id, write())
    with pytest.raises(ProposalInterrupted, match="accepted already without 1 of its cases"):
        await proposing.accept(MIA, proposal.id, left_out=["vpn"], note="", write=write())
    with pytest.raises(ProposalInterrupted):
        await proposing.accept(MIA, proposal.id, left_out=[], note="all of it", write=write())
    assert (await proposing.crud.get(ADA, proposal.id))[0].left_out == ("mail",)
    accepted = await proposing.accept(MIA, proposal.id, left_out=[], note="", write=write())

    assert (accepted.state, accepted.decided_by) == (ProposalState.ACCEPTED, ADA.proven_subject)
    assert [each.id for each in (await proposing.suite())[1]] == ["vpn"], "the first decision counts"


async def test_of_two_who_accept_at_the_same_moment_both_see_one_version() -> None:
    proposing = Proposing()
    await proposing.evaluator.with_suite()
    proposal, _ = await proposing.sent(VPN)

    both = await asyncio.gather(
        *(proposing.accepted(proposal, request_id=f"r{each}") for each in range(2)), return_exceptions=True
    )

    assert (await proposing.suite())[0].number == 2
    assert {each.accepted_version if isinstance(each, Proposal) else type(each) for each in both} <= {
        2,
        ProposalDecided,
    }


async def test_a_suite_that_changes_while_it_takes_a_proposal_keeps_both(monkeypatch: pytest.MonkeyPatch) -> None:
    proposing = Proposing()
    await proposing.evaluator.with_suite()
    proposal, _ = await proposing.sent(VPN)
    put, changed = proposing.cases.put, list[str]()

    async def put_late(project: str, suite: str, given: list[Case]) -> object:
        content = await put(project, suite, given)
        if not changed:
            changed.append(suite)
            now = (await proposing.suite())[0]
            await proposing.evaluator.suite_crud.update(ADA, now, cases(5), frozenset({"cases"}), write())
        return content

    monkeypatch.setattr(proposing.cases, "put", put_late)

    accepted = await proposing.accepted(proposal)

    suite, known = await proposing.suite()
    assert [each.id for each in known] == ["c1", "c2", "c3", "c4", "c5", "vpn"]
    assert suite.number == accepted.accepted_version == 3


async def test_a_proposal_that_makes_a_suite_too_large_stays_proposed() -> None:
    proposing = Proposing(limits=Limits(cases=4))
    await proposing.evaluator.with_suite()
    proposal, _ = await proposing.sent(VPN, MAIL)

    with pytest.raises(InvalidInput, match="send 1 to 4"):
        await proposing.accepted(proposal)

    assert (await proposing.crud.get(ADA, proposal.id))[0].state is ProposalState.PROPOSED
    assert (await proposing.accepted(proposal, "mail")).accepted_version == 2


async def test_an_acceptance_that_was_answered_with_an_error_is_no_success_when_it_is_sent_again() -> None:
    proposing = Proposing(limits=Limits(cases=4))
    suite = await proposing.evaluator.with_suite()
    await proposing.evaluator.with_suite("room")
    proposal, _ = await proposing.sent(VPN)
    put = proposing.cases.put

    async def meanwhile(project: str, name: str, given: list[Case]) -> object:
        proposing.cases.put = put  # type: ignore[method-assign]
        await proposing.evaluator.suite_crud.update(ADA, suite, cases(4), frozenset({"cases"}), write())
        return await put(project, name, given)

    proposing.cases.put = meanwhile  # type: ignore[method-assign, assignment]
    with pytest.raises(InvalidInput, match="send 1 to 4"):
        await proposing.accepted(proposal, request_id="r1")
    await proposing.evaluator.suite_crud.update(ADA, suite, cases(3), frozenset({"cases"}), write())

    with pytest.raises(Conflict, match="is proposed: the suite could not take it: accept it anew"):
        await proposing.accepted(proposal, request_id="r1")
    assert (await proposing.accepted(proposal, request_id="r2")).state is ProposalState.ACCEPTED


@pytest.mark.parametrize("decision", ["accept", "refuse"])
async def test_candidates_whose_forgetting_was_interrupted_are_shown_no_more_and_forgotten_by_the_next_decision(
    decision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposing = Proposing()
    proposal, _ = await proposing.sent(VPN)

    async def dies(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(proposing.proposed, "forget", dies)
        deciding = (
            proposing.accepted(proposal)
            if decision == "accept"
            else proposing.refuse(ADA, proposal.id, note="", write=write())
        )
        with pytest.raises(Killed):
            await deciding
    shown = (await proposing.crud.get(ADA, proposal.id))[1]

    with pytest.raises(ProposalDecided):
        await proposing.accepted(proposal)
    assert list(shown) == await proposing.proposed.read("acme", proposal.id) == []


async def test_bad_decisions_are_refused() -> None:
    proposing = Proposing()
    proposal, _ = await proposing.sent(VPN)

    with pytest.raises(InvalidInput, match="is not proposed"):
        await proposing.accepted(proposal, "unknown")
    with pytest.raises(NothingProposed):
        await proposing.accepted(proposal, "vpn")
    with pytest.raises(InvalidInput, match="the limit is 2000"):
        await proposing.refuse(ADA, proposal.id, note="x" * 2001, write=write())
    with pytest.raises(Conflict):
        await proposing.accept(ADA, proposal.id, left_out=[], note="", write=write(etag="77"))
    preview = await proposing.accept(ADA, proposal.id, left_out=[], note="", write=write(validate_only=True))
    assert preview.state is ProposalState.ACCEPTING
    assert (await proposing.crud.get(ADA, proposal.id))[0].state is ProposalState.PROPOSED


async def test_a_deleted_proposal_takes_its_candidates_with_it() -> None:
    proposing = Proposing()
    proposal, _ = await proposing.sent(VPN)

    await proposing.crud.delete(ADA, proposal.id, write())

    assert dict(proposing.proposed.stored) == {}
    with pytest.raises(ProposalNotFound):
        await proposing.crud.get(ADA, proposal.id)
