"""Where a suite's cases come from is kept with them: who may see them, and what erases them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.evaluator.tests.builders import BUCKET, write
from services.evaluator.tests.proposals.harness import MANUAL, Proposing
from tidemill_core.application import Caller
from tidemill_core.errors import Conflict, NotFound
from tidemill_evaluator.proposals.domain.proposal import LiveAnswers, Proposal
from tidemill_evaluator.suites.domain.cases import Case, Context, Role, Turn
from tidemill_kit.erasure.steps import Scope, Target

CARL = Caller(project="acme", subject="carl")
OPERATOR = Caller(project="acme", subject="olga", roles=frozenset({"operator"}))


async def grown(**fields: object) -> Proposing:
    """Return a suite that took a live case of bob, which ada corrected, beside three that were sent."""
    proposing = Proposing()
    await proposing.evaluator.with_suite()
    proposing.corrected("i1", "How do I reset it?", "In the portal", **({"end_user": "bob"} | fields))
    proposal, _ = await proposing.from_live()
    await proposing.accepted(proposal)
    return proposing


@pytest.mark.parametrize("person", ["bob", "ada"])
async def test_an_erased_person_takes_the_cases_of_all_versions_along(person: str) -> None:
    proposing = await grown()
    before, known = await proposing.suite()
    await proposing.evaluator.suite_crud.update(OPERATOR, before, [*known, new()], frozenset({"cases"}), write())
    current, _ = await proposing.suite()

    erased = [await proposing.erase.of_user(Target(project="acme", scope=Scope.END_USER, subject=person))]
    while erased[-1]:
        erased.append(await proposing.erase.of_user(Target(project="acme", scope=Scope.END_USER, subject=person)))

    suite, left = await proposing.suite()
    assert sum(erased) == 2
    assert [each.id for each in left] == ["c1", "c2", "c3", "new"]
    assert (suite.number, suite.proposed) == (current.number + 1, 0)
    stored = b"".join(proposing.evaluator.objects.buckets[BUCKET].values())
    assert b"reset it" not in stored
    for version in (before, current):
        with pytest.raises(NotFound):
            await proposing.cases.read("acme", version.case_set)


async def test_an_erased_document_takes_the_cases_that_rest_on_it_along() -> None:
    proposing = await grown()

    assert await proposing.erase.of_document(Target(project="acme", scope=Scope.DOCUMENT, subject="other")) == 0
    assert await proposing.erase.of_document(Target(project="acme", scope=Scope.DOCUMENT, subject="manual")) == 1

    assert [each.id for each in (await proposing.suite())[1]] == ["c1", "c2", "c3"]


async def test_the_last_case_of_a_suite_is_erased_too() -> None:
    proposing = Proposing()
    proposing.corrected("i1", "How do I reset it?", "In the portal")
    proposal, _ = await proposing.from_live()
    await proposing.accepted(proposal)

    await proposing.erase.of_user(Target(project="acme", scope=Scope.END_USER, subject="ada"))

    suite, left = await proposing.suite()
    assert (suite.number, suite.size, list(left)) == (2, 0, [])
    assert suite.incomparable.startswith("no case of suite truth is left"), "no evaluation of it starts"


async def test_a_case_that_is_sent_again_keeps_where_it_comes_from() -> None:
    proposing = await grown()
    suite, known = await proposing.suite()
    sent = [replace(each, proposal="", end_user="", corrected_by="", rests_on=()) for each in known]
    changed = [*sent[:-1], replace(sent[-1], reference="In the new portal")]

    await proposing.evaluator.suite_crud.update(OPERATOR, suite, changed, frozenset({"cases"}), write())

    live = (await proposing.suite())[1][-1]
    assert (live.reference, live.end_user, live.corrected_by) == ("In the new portal", "bob", "ada")
    assert live.rests_on == (MANUAL,)


async def test_live_cases_are_shown_as_recorded_answers_are() -> None:
    turns = Context(earlier=(Turn(Role.USER, "I am on holiday"),))
    proposing = await grown(context=turns)
    get = proposing.evaluator.suite_crud.get

    by_operator, by_asker, by_other = [
        [case for case in (await get(caller, "truth"))[1] if case.proposal]
        for caller in (OPERATOR, replace(CARL, subject="bob"), CARL)
    ]
    proposing.evaluator.readers.secret.add(MANUAL)
    restricted = (await get(CARL, "truth"))[1]

    assert by_operator[0].context == by_asker[0].context == turns
    assert (by_other[0].question, by_other[0].context.earlier) == ("How do I reset it?", ())
    assert [case.id for case in restricted] == ["c1", "c2", "c3"]


def new() -> Case:
    return Case(id="new", question="what else is there?", reference="nothing")


async def test_a_file_that_is_applied_again_keeps_what_was_accepted_and_an_update_without_that_does_not() -> None:
    proposing = await grown()
    suite, known = await proposing.suite()
    crud, mask = proposing.evaluator.suite_crud, frozenset({"cases"})

    same = await crud.update(OPERATOR, suite, known[:3], mask, write(), keep_proposed=True)
    more = await crud.update(OPERATOR, suite, [*known[:3], new()], mask, write(), keep_proposed=True)
    kept = [each.id for each in (await proposing.suite())[1]]
    await crud.update(OPERATOR, suite, known[:3], mask, write())

    assert (same.number, more.number) == (suite.number, suite.number + 1)
    assert kept == ["c1", "c2", "c3", "new", "i1"]
    assert [each.id for each in (await proposing.suite())[1]] == ["c1", "c2", "c3"]


async def test_a_first_proposal_that_is_accepted_while_a_file_is_applied_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proposing = Proposing()
    await proposing.evaluator.with_suite()
    proposal, _ = await proposing.sent(new())
    suite, known = await proposing.suite()
    put = proposing.cases.put

    async def meanwhile(project: str, name: str, given: Sequence[Case]) -> object:
        content = await put(project, name, given)
        monkeypatch.setattr(proposing.cases, "put", put)
        await proposing.accepted(proposal)
        return content

    monkeypatch.setattr(proposing.cases, "put", meanwhile)
    crud, changed = proposing.evaluator.suite_crud, known[:2]

    with pytest.raises(Conflict, match="repeat the change"):
        await crud.update(OPERATOR, suite, changed, frozenset({"cases"}), write(), keep_proposed=True)
    await crud.update(OPERATOR, suite, changed, frozenset({"cases"}), write(), keep_proposed=True)

    assert [each.id for each in (await proposing.suite())[1]] == ["c1", "c2", "new"]


async def test_candidates_are_shown_as_the_cases_of_a_suite_are() -> None:
    turns = Context(earlier=(Turn(Role.USER, "I am on holiday"),))
    proposing = Proposing()
    proposing.corrected("i1", "How do I reset it?", "In the portal", end_user="bob", context=turns)
    proposing.corrected("i2", "Where is it?", "There", rests_on=())
    live = LiveAnswers(deployment="helpdesk", corrections=True)
    given = Proposal(id="", project="acme", suite="truth", live=live)
    made, _ = await proposing.propose(OPERATOR, given, [], write("r1"))

    by_operator, by_asker, by_other = [
        {each.case.id: each.case for each in (await proposing.crud.get(caller, made.id))[1]}
        for caller in (OPERATOR, replace(CARL, subject="bob"), CARL)
    ]
    proposing.evaluator.readers.secret.add(MANUAL)
    _, restricted = await proposing.crud.get(CARL, made.id)
    _, repeated = await proposing.propose(CARL, given, [], write("r1"))

    assert by_operator["i1"].context == by_asker["i1"].context == turns
    assert (by_other["i1"].question, by_other["i1"].context.earlier) == ("How do I reset it?", ())
    assert [each.case.id for each in restricted] == [each.case.id for each in repeated] == ["i2"]
