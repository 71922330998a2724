"""Credentials say whose a reaction is, and whether it counts."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.feedback.tests.builders import ADA, correction, event, rating, request, write
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.application import Caller, PageRequest
from tidemill_core.rights import ACT_FOR_USERS, REVIEW_FEEDBACK, SpeaksForAnother
from tidemill_feedback.reactions.domain.reaction import Reaction

ASKER = Caller(project="acme", subject="user:ada", roles=frozenset({"contributor"}), credential="jti-1")
OTHER = replace(ASKER, subject="user:mallory", credential="jti-2")
REVIEWER = replace(OTHER, subject="user:rita", permissions=frozenset({REVIEW_FEEDBACK}))
BACKEND = replace(OTHER, subject="service_account:shop", permissions=frozenset({ACT_FOR_USERS}))
OPERATOR = replace(OTHER, subject="user:olivia", roles=frozenset({"operator"}))


@pytest.fixture
def harness() -> FeedbackHarness:
    made = FeedbackHarness(trusted=("reviewer",))
    made.inferences.put("i1", end_user="user:ada")
    return made


@pytest.mark.parametrize(
    ("caller", "said", "author", "counts"),
    [
        (ASKER, {}, ("user:ada", "user"), True),
        (ASKER, {"end_user": "user:ada", "rater": "user"}, ("user:ada", "user"), True),
        (OTHER, {}, ("user:mallory", "user"), False),
        (REVIEWER, {}, ("user:rita", "reviewer"), True),
        (REVIEWER, {"rater": "judge"}, ("user:rita", "judge"), True),
        (BACKEND, {}, ("user:ada", "user"), True),
        (BACKEND, {"end_user": "user:ada"}, ("user:ada", "user"), True),
        (BACKEND, {"end_user": "customer-7"}, ("customer-7", "user"), False),
        (OPERATOR, {"rater": "reviewer"}, ("user:ada", "reviewer"), True),
    ],
)
async def test_a_correction_counts_from_the_asker_or_a_reviewer(
    harness: FeedbackHarness, caller: Caller, said: dict[str, str], author: tuple[str, str], *, counts: bool
) -> None:
    given = await harness.give(correction("It walks.", **said), caller=caller)

    assert ((given.end_user, given.rater), given.counts, given.teaches) == (author, counts, counts)


@pytest.mark.parametrize(
    ("caller", "reaction", "field"),
    [
        (OTHER, correction("Evil", end_user="user:ada"), "end_user"),
        (OTHER, correction("Evil", end_user="victim-0"), "end_user"),
        (OTHER, correction("Evil", rater="reviewer"), "rater"),
        (OTHER, rating(0, rater="judge"), "rater"),
        (BACKEND, correction("Evil", rater="reviewer"), "rater"),
        (REVIEWER, correction("Evil", end_user="user:ada"), "end_user"),
        (replace(OPERATOR, scopes=frozenset({"x"})), correction("Evil", rater="reviewer"), "rater"),
    ],
)
async def test_another_s_name_is_refused_by_its_field(
    harness: FeedbackHarness, caller: Caller, reaction: Reaction, field: str
) -> None:
    with pytest.raises(SpeaksForAnother) as refused:
        await harness.give(reaction, caller=caller)

    assert (refused.value.metadata["field"], refused.value.message.partition(":")[0]) == (field, field)
    assert harness.feedback.published == []


async def test_many_names_of_one_key_are_one_rating(harness: FeedbackHarness) -> None:
    for name in ("", "user:mallory", "", "user:mallory"):
        await harness.give(rating(0, end_user=name), caller=OTHER)

    [given] = (await harness.feedback.list("acme", page=PageRequest())).items
    assert (given.times, given.counts) == (4, False)


@pytest.mark.parametrize(("caller", "may"), [(ASKER, True), (OTHER, False), (REVIEWER, False), (BACKEND, True)])
async def test_a_reaction_is_taken_back_by_those_who_may_give_it(
    harness: FeedbackHarness, caller: Caller, *, may: bool
) -> None:
    given = await harness.give(rating(1), caller=ASKER)

    if may:
        assert (await harness.read.withdraw(caller, given.id, write())).current is None
    else:
        with pytest.raises(SpeaksForAnother):
            await harness.read.withdraw(caller, given.id, write())
        assert (await harness.feedback.get("acme", given.id)).current is not None


async def test_a_reaction_that_waited_was_not_observed_later_than_it_came() -> None:
    harness = FeedbackHarness()
    arrived = harness.clock.now()
    ahead = rating(1, observe_time=arrived + timedelta(minutes=4))
    await harness.take(ADA, ahead, request=request("e1"), event=event("e1", at=arrived))
    harness.clock.advance(timedelta(minutes=10))
    harness.inferences.put("i1")
    await harness.match(ADA, "i1")

    [given] = (await harness.feedback.list("acme", page=PageRequest())).items
    assert given.current
    assert given.current.observe_time == arrived
