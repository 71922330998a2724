"""What is proposed of candidates, and why others are refused."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, cases, request, write
from services.evaluator.tests.proposals.harness import MANUAL, Proposing
from tidemill_core.errors import InvalidInput, RateLimited, RequestIdReused
from tidemill_evaluator.proposals.domain.candidate import Candidate, CandidateFlaw, ProposalLimits, ReferenceFrom
from tidemill_evaluator.proposals.domain.proposal import Coverage, LiveAnswers, ProposalState, SliceCoverage
from tidemill_evaluator.proposals.ports import Reviewed
from tidemill_evaluator.suites.domain.cases import VARIANT_OF, Case, Context, DocumentVersion, Role, Turn
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.shipped import ShippedCases
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_kit.workers.bounded_processes import WorkEndedError

VPN = Case(id="vpn", question="How do I reset the VPN password of my laptop?", reference="In the portal")


def flaws(candidates: Sequence[Candidate]) -> dict[str, CandidateFlaw | None]:
    return {each.case.id: each.flaw for each in candidates}


async def test_new_cases_are_proposed_and_a_suite_that_there_is_not_needs_none() -> None:
    proposing = Proposing()

    proposal, candidates = await proposing.sent(VPN)

    assert (proposal.state, proposal.case_count, proposal.compared_version) == (ProposalState.PROPOSED, 1, 0)
    assert flaws(candidates) == {"vpn": None}
    assert await proposing.suites.get_many("acme", ["truth"]) == {}, "it is not there before a proposal is accepted"


async def test_candidates_are_refused_for_what_the_suite_has_already() -> None:
    proposing = Proposing()
    await proposing.evaluator.with_suite()
    first = cases(1)[0]
    long = "how can the one who lost the old phone get a new number for it today"
    existing = Case(id="long", question=long, reference="ask")
    suite, known = await proposing.suite()
    await proposing.evaluator.suite_crud.update(ADA, suite, [*known, existing], frozenset({"cases"}), write())

    _, candidates = await proposing.sent(
        Case(id="c2", question="another one?", reference="x"),
        Case(id="again", question="What is 1", reference=first.reference),
        Case(id="against", question=first.question, reference="it is number 7"),
        Case(id="near", question=f"{long} please", reference="ask"),
        Case(id="number", question=f"{long} 5", reference="ask"),
        Case(id="after", question=first.question, reference="x", context=Context(earlier=(Turn(Role.USER, "hi"),))),
        VPN,
    )

    assert flaws(candidates) == {
        "number": None,
        "after": None,
        "vpn": None,
        "c2": CandidateFlaw.REPEATED,
        "again": CandidateFlaw.REPEATED,
        "against": CandidateFlaw.CONTRADICTS,
        "near": CandidateFlaw.NEAR_DUPLICATE,
    }


async def test_of_candidates_that_repeat_one_another_the_first_is_proposed_and_of_contradicting_ones_none() -> None:
    proposing = Proposing()

    proposal, candidates = await proposing.sent(
        VPN,
        Case(id="again", question=VPN.question.upper(), reference=VPN.reference),
        Case(id="yes", question="Is it open?", reference="yes"),
        Case(id="no", question="is it open", reference="no"),
    )

    assert flaws(candidates) == {
        "vpn": None,
        "again": CandidateFlaw.REPEATED,
        "yes": CandidateFlaw.CONTRADICTS,
        "no": CandidateFlaw.CONTRADICTS,
    }
    assert proposal.refused_counts == {"CONTRADICTS": 2, "REPEATED": 1}


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (Case(id="x", question="a" * 100, reference="b"), "question: has 100 characters; the limit is 50"),
        (Case(id="x", question="?!", reference="b"), "question: has no word"),
        (Case(id="x", question="what?", reference=""), "reference: is empty"),
    ],
)
async def test_a_candidate_that_is_no_case_is_refused_by_its_form(case: Case, why: str) -> None:
    proposing = Proposing(limits=Limits(question_length=50))

    _, (candidate,) = await proposing.sent(case)

    assert (candidate.flaw, why in candidate.why) == (CandidateFlaw.FORM, True), candidate.why


async def test_candidates_whose_schema_is_none_are_refused_and_the_suite_can_be_changed_with_the_others() -> None:
    proposing = Proposing()
    nonsense = Case(id="x", question="As JSON?", reference="", schema={"type": "nonsense", "$ref": "#"})
    good = replace(nonsense, id="good", question="As an object?", schema={"type": "object"})

    proposal, candidates = await proposing.sent(nonsense, good)
    await proposing.accepted(proposal)
    suite, known = await proposing.suite()
    await proposing.evaluator.suite_crud.update(ADA, suite, known, frozenset({"cases"}), write())

    assert flaws(candidates) == {"good": None, "x": CandidateFlaw.FORM}
    assert candidates[-1].why.startswith("schema: is no JSON Schema"), candidates[-1].why


async def test_a_reference_that_is_not_in_its_passage_or_a_question_that_is_copied_from_it_is_refused() -> None:
    passage = "The portal resets a password within one hour after the second factor was checked by the help desk team."
    given = [
        Candidate(case=Case(id="in", question="how long does it take?", reference="within one hour"), passage=passage),
        Candidate(case=Case(id="out", question="who pays?", reference="the company of course"), passage=passage),
        Candidate(case=Case(id="copied", question=passage, reference="one hour"), passage=passage),
        Candidate(case=Case(id="said", question="why?", reference="x"), flaw=CandidateFlaw.UNSUPPORTED, why="no"),
    ]

    proposing = Proposing()
    proposal, candidates = await proposing.of(given)

    assert flaws(candidates) == {
        "in": None,
        "out": CandidateFlaw.UNSUPPORTED,
        "copied": CandidateFlaw.COPIED,
        "said": CandidateFlaw.UNSUPPORTED,
    }
    stored = await proposing.proposed.read("acme", proposal.id)
    assert {each.passage for each in stored} == {""}, "passages are not stored"


async def test_slices_that_have_enough_take_no_more() -> None:
    proposing = Proposing()
    topics = ["vpn", "vpn", "mail", "mail", "mail"]
    given = [
        Case(id=f"n{number}", question=f"question about {topic} {number}?", reference="x", labels={"topic": topic})
        for number, topic in enumerate(topics)
    ]
    first, _ = await proposing.sent(*given[:2])
    await proposing.accepted(first)

    proposal, candidates = await proposing.sent(
        *given[2:],
        Case(id="more", question="vpn again?", reference="x", labels={"topic": "vpn"}),
        coverage=Coverage(label="topic", at_least=2),
    )

    assert flaws(candidates) == {"n2": None, "n3": None, "n4": CandidateFlaw.COVERED, "more": CandidateFlaw.COVERED}
    assert proposal.slices == (
        SliceCoverage(value="mail", existing=0, proposed=2),
        SliceCoverage(value="vpn", existing=2, proposed=0),
    )


async def test_corrected_live_answers_are_candidates_with_the_correction_as_reference() -> None:
    proposing = Proposing()
    proposing.corrected("i1", "How do I reset it?", "In the portal")
    proposing.corrected("i2", "Who may?", "Admins", end_user="bob")
    proposing.corrected("i3", "Where?", "Here", deployment="other")
    proposing.reviews.corrections.append(Reviewed(inference="gone", reference="x"))

    proposal, candidates = await proposing.from_live(coverage=Coverage(label="topic", at_least=9))

    known = {each.case.id: each for each in candidates}
    case = known["i1"].case
    assert (case.question, case.reference) == ("How do I reset it?", "In the portal")
    assert case.labels == {"topic": "vpn", "trace": "i1"}, "those of the request"
    assert (case.end_user, case.corrected_by, case.rests_on) == ("ada", "", (MANUAL,))
    assert case.context.principals == ("group:support",)
    assert (known["i2"].case.end_user, known["i2"].case.corrected_by) == ("bob", "ada")
    assert {known[name].flaw for name in ("i3", "gone")} == {CandidateFlaw.UNUSABLE}
    assert (proposal.case_count, proposal.refused_counts) == (2, {"UNUSABLE": 2})


async def test_a_review_counts_more_than_a_correction_and_differing_corrections_need_one() -> None:
    proposing = Proposing()
    proposing.corrected("i1", "How?", "as a user says")
    proposing.answered("i2", "Why?")
    proposing.answered("i3", "When?")
    proposing.reviews.corrections.append(Reviewed(inference="i3", reference="now", contradicted=True))
    proposing.reviews.reviewed = [Reviewed(inference="i1", reference="as a reviewer says"), Reviewed(inference="i2")]

    _, candidates = await proposing.from_live(
        LiveAnswers(deployment="helpdesk", corrections=True, queue="answers", right_field="right")
    )

    known = {each.case.id: each for each in candidates}
    assert known["i1"].case.reference == "as a reviewer says"
    assert (known["i2"].case.reference, known["i2"].reference_from) == ("the answer to i2", ReferenceFrom.REVIEW)
    assert known["i3"].flaw is CandidateFlaw.CONTRADICTS


async def test_a_proposal_of_live_answers_goes_on_behind_the_one_before_and_begins_again_at_the_end() -> None:
    proposing = Proposing()
    for number in range(10):
        proposing.corrected(f"i{number}", f"question about thing {number}?", f"answer {number}")
    live = LiveAnswers(deployment="helpdesk", corrections=True, max_cases=4)

    made = [await proposing.from_live(live, request_id=f"r{number}") for number in range(4)]
    again = await proposing.from_live(live, request_id="r0")

    names = [[each.case.id for each in candidates] for _, candidates in made]
    assert [len(each) for each in names] == [4, 4, 4, 4]
    assert len({*names[0], *names[1], *names[2]}) == 10, "no answer is twice before all were once"
    assert names[2][2:] == names[0][:2]
    assert [each.case.id for each in again[1]] == names[0], "a repeated request is one proposal"


async def test_answers_that_cannot_be_cases_and_those_of_full_slices_take_no_place_of_others() -> None:
    proposing = Proposing()
    for number in range(60):
        topic = "rare" if number % 10 == 0 else "vpn"
        words = f"question{number} about{number} {topic}{number}?"
        deployment = "other" if number % 3 == 1 else "helpdesk"
        proposing.corrected(f"i{number}", words, "x", labels={"topic": topic}, deployment=deployment)
    live = LiveAnswers(deployment="helpdesk", corrections=True, max_cases=10)

    proposal, candidates = await proposing.from_live(live, coverage=Coverage(label="topic", at_least=5))

    assert {each.value: each.proposed for each in proposal.slices} == {"rare": 4, "vpn": 5}
    refused = [each for each in candidates if each.flaw]
    assert proposal.refused_counts == {"COVERED": 31, "UNUSABLE": 20}
    assert not any(each.case.question or each.case.reference for each in refused), "they have no text"


async def test_no_more_live_answers_are_read_than_a_proposal_may_and_the_next_one_goes_on() -> None:
    proposing = Proposing(rules=ProposalLimits(read=10))
    for number in range(25):
        deployment = "helpdesk" if number == 7 else "other"
        proposing.corrected(f"i{number}", f"question about thing {number}?", "x", deployment=deployment)

    made = [(await proposing.from_live(request_id=f"r{number}"))[0] for number in range(3)]

    assert sum(each.case_count for each in made) == 1
    assert [sum(each.refused_counts.values()) + each.case_count for each in made] == [10, 10, 10]


async def test_no_more_live_answers_are_taken_than_fit_a_proposal() -> None:
    proposing = Proposing(rules=ProposalLimits(characters=140))
    for number in range(5):
        proposing.corrected(f"i{number}", f"what is the {number} about?", "a" * 10)
    proposing.corrected("long", "what of the report?", "x", context=Context(variables={"report": "x" * 200}))

    made = [await proposing.from_live(request_id=f"r{number}") for number in range(6)]

    assert all(1 <= proposal.case_count <= 2 for proposal, _ in made)
    found = {each.case.id: each for _, candidates in made for each in candidates}
    assert len(found) == 6
    assert (found["long"].flaw, found["long"].case.context) == (CandidateFlaw.FORM, Context())


async def test_a_live_answer_that_is_too_long_for_a_case_is_refused_without_its_texts() -> None:
    proposing = Proposing(limits=Limits(context_length=100))
    proposing.corrected("long", "what of the report?", "x", context=Context(variables={"report": "x" * 200}))

    _, (candidate,) = await proposing.from_live()

    assert (candidate.flaw, candidate.case.question, candidate.case.context) == (CandidateFlaw.FORM, "", Context())
    assert "the limit is 100" in candidate.why


async def test_variants_of_a_case_fill_no_slice() -> None:
    proposing = Proposing()
    labels = {"topic": "vpn"}
    one = Case(id="one", question="How is it reset?", reference="x", labels=labels)
    questions = ["Resetting, how?", "What does a reset take?", "Which way to start over?"]
    variants = [
        Case(id=f"v{number}", question=text, reference="x", labels={**labels, VARIANT_OF: "one"})
        for number, text in enumerate(questions)
    ]
    other = Case(id="other", question="Who pays for new phones?", reference="y", labels=labels)

    proposal, candidates = await proposing.sent(one, *variants, other, coverage=Coverage(label="topic", at_least=2))

    assert set(flaws(candidates).values()) == {None}
    assert proposal.slices == (SliceCoverage(value="vpn", existing=0, proposed=2),)


async def test_a_repeated_request_proposes_once_and_another_body_is_refused() -> None:
    proposing = Proposing()

    first, _ = await proposing.sent(VPN, request_id="r1")
    again, candidates = await proposing.sent(VPN, request_id="r1")

    assert (first, len(candidates), len(proposing.store.all())) == (again, 1, 1)
    other = replace(write("r1"), request=replace(request("r1"), digest="of another body"))
    with pytest.raises(RequestIdReused):
        await proposing.propose(ADA, again, [Candidate(case=VPN)], other)


async def test_validating_shows_the_candidates_and_stores_nothing() -> None:
    proposing = Proposing()

    proposal, candidates = await proposing.of([Candidate(case=VPN)], validate_only=True)

    assert (proposal.state, proposal.case_count, len(candidates)) == (ProposalState.PROPOSED, 1, 1)
    assert (proposing.store.all(), dict(proposing.proposed.stored)) == ([], {})


@pytest.mark.parametrize(
    ("live", "field"),
    [
        (LiveAnswers(deployment="helpdesk"), "proposal.live"),
        (LiveAnswers(deployment="No!", corrections=True), "proposal.live.deployment"),
        (LiveAnswers(deployment="helpdesk", queue="answers"), "proposal.live.queue"),
        (LiveAnswers(deployment="helpdesk", text_field="better"), "proposal.live.queue"),
        (LiveAnswers(deployment="helpdesk", corrections=True, max_cases=-1), "proposal.live.max_cases"),
        (LiveAnswers(deployment="helpdesk", corrections=True), "proposal.live"),  # there is none
    ],
)
async def test_live_answers_that_nothing_says_what_is_right_of_are_refused(live: LiveAnswers, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await Proposing().from_live(live)

    assert [each.field for each in refused.value.violations] == [field]


async def test_that_a_deployment_has_no_reviewed_answer_is_said_with_its_name() -> None:
    with pytest.raises(InvalidInput, match=r"no answer of deployment helpdesk .* have answers reviewed"):
        await Proposing().from_live()


async def test_a_deployment_that_there_is_not_is_refused_by_its_field_unless_answers_of_it_are_left() -> None:
    proposing = Proposing()
    with pytest.raises(InvalidInput, match=r"is nope, which the project does not have") as refused:
        await proposing.from_live(LiveAnswers(deployment="nope", corrections=True))

    assert [each.field for each in refused.value.violations] == ["proposal.live.deployment"]
    proposing.records.deployments.clear()
    proposing.corrected("i1", "How do I reset the VPN?", "By the portal.")
    made, _ = await proposing.from_live()
    assert made.case_count == 1


async def test_what_cannot_be_proposed_is_refused_by_its_field() -> None:
    proposing = Proposing(rules=ProposalLimits(candidates=2, characters=40, documents=1))
    given = [Case(id=f"n{number}", question="what?", reference="x") for number in range(3)]

    for candidates, field in (
        ([], "candidates"),
        (given, "candidates"),
        ([given[0], given[0]], "candidates[1].case.id"),
        ([Case(id="x", question="what" * 20, reference="x")], "candidates"),
        ([replace(given[0], context=Context(variables={"report": "x" * 40}))], "candidates"),
        (
            [replace(given[0], rests_on=(MANUAL, DocumentVersion("d", 2)))],
            "candidates[0].case.rests_on",
        ),
    ):
        with pytest.raises(InvalidInput) as refused:
            await proposing.sent(*candidates)
        assert [each.field for each in refused.value.violations] == [field]


async def test_a_suite_that_takes_its_cases_from_a_release_takes_no_proposals() -> None:
    proposing = Proposing()
    await proposing.evaluator.with_suite()

    def ship(suite: Suite) -> None:
        suite.shipped = ShippedCases(suite="forgetting")

    await proposing.suites.update("acme", "truth", ship, request=request())

    with pytest.raises(InvalidInput, match="a release replaces"):
        await proposing.sent(VPN)


async def test_a_comparison_that_takes_too_long_is_refused_and_stores_nothing() -> None:
    proposing = Proposing()
    proposing.processes.ends = [WorkEndedError(cause="cpu", why="took too long")]

    with pytest.raises(InvalidInput, match="send fewer or shorter ones"):
        await proposing.sent(VPN)

    assert proposing.store.all() == []


async def test_nothing_is_stored_where_feedback_is_unavailable() -> None:
    proposing = Proposing()
    proposing.reviews.away = RateLimited("later", retry_after_s=1.0)

    with pytest.raises(RateLimited):
        await proposing.from_live()

    assert proposing.store.all() == []
