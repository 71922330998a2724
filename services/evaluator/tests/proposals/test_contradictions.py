"""Which candidates contradict what a suite has."""

from dataclasses import replace

from services.evaluator.tests.builders import cases
from services.evaluator.tests.proposals.harness import Proposing
from tidemill_core.application import Request
from tidemill_evaluator.suites.domain.cases import Case, Context, Role, Turn
from tidemill_evaluator.suites.domain.suite import Suite


async def test_other_readers_and_system_turns_make_no_contradiction_and_an_old_suite_with_one_takes_proposals() -> None:
    proposing = Proposing()
    first = cases(1)[0]
    await proposing.evaluator.with_suite()
    german = Context(earlier=(Turn(Role.SYSTEM, "Answer in German."),))
    fresh = [
        Case(id="staff", question=first.question, reference="ask ada", context=Context(principals=("staff",))),
        Case(id="german", question=first.question, reference="auf Deutsch", context=german),
    ]
    suite, known = await proposing.suite()
    against = replace(known[0], id="old", reference="something else")  # taken before such cases were refused
    content = await proposing.cases.put(suite.project, suite.id, [*known, against])

    def grow(stored: Suite) -> None:
        stored.take([*known, against], content)

    await proposing.suites.update(suite.project, suite.id, grow, request=Request.internal())
    proposal, candidates = await proposing.sent(*fresh)
    await proposing.accepted(proposal)

    assert {each.case.id: each.flaw for each in candidates} == {"staff": None, "german": None}
    _, grown = await proposing.suite()
    assert {each.id for each in grown} >= {"old", "staff", "german"}
