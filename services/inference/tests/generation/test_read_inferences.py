"""Recorded answers that rest on documents with readers are for these, for who asked, and for who acts for users."""

from dataclasses import replace

import pytest

from services.inference.tests.fakes import AnsweringHarness, asking, question
from services.inference.tests.generation.test_show_prompt import Documents, shows, spans
from tidemill_core.application import Caller, PageRequest
from tidemill_core.rights import ACT_FOR_USERS
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.generation.domain.errors import AnswerRestricted
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.speaker import spoken_by

BOB = Caller(project="acme", subject="user:bob", roles=frozenset({"viewer"}), credential="jti-1")
ANN = replace(BOB, subject="user:ann", groups=frozenset({"hr"}))
RUTH = replace(BOB, subject="user:ruth", groups=frozenset({"hr", "staff"}))
SHOP = replace(BOB, subject="service_account:shop", permissions=frozenset({ACT_FOR_USERS}))
OPERATOR = replace(BOB, subject="user:olivia", roles=frozenset({"operator"}))
FEEDBACK = replace(BOB, via="feedback")
BACKGROUND = Caller.of_service("acme", "inference")
PASSAGES = spans("os.walk walks.", document="salaries")
TURNS = (
    Message.of(Role.USER, "Hello"),
    Message.of(Role.ASSISTANT, "Hello, what is it?"),
    Message.of(Role.USER, "What does os.walk do?"),
)


async def answered(harness: AnsweringHarness, request: str = "r", **changes: object) -> Inference:
    """Have Ann ask, whose groups may read the document that the answer rests on."""
    asked = spoken_by(ANN, question(**{"labels": {"page": "pay"}, **changes}))  # type: ignore[arg-type]
    return await harness.answer.whole(ANN, asked, request=asking(request))


def restricting() -> AnsweringHarness:
    harness = AnsweringHarness(passages=PASSAGES)
    harness.readers.readers["salaries"] = {"group:hr"}
    return harness


@pytest.mark.parametrize("caller", [ANN, RUTH, SHOP, OPERATOR, FEEDBACK, BACKGROUND])
async def test_who_asked_or_may_read_the_documents_or_acts_for_users_sees_all_of_it(caller: Caller) -> None:
    harness = restricting()
    answer = await answered(harness)

    shown = await harness.reading.get(caller, answer.id)

    assert shown == await harness.stored(answer)
    assert not shown.restricted
    assert shown.messages
    assert shown.output
    assert shown.passages


async def test_others_see_that_there_was_an_answer_and_nothing_of_it() -> None:
    harness = restricting()
    answer = await answered(harness)

    shown = await harness.reading.get(BOB, answer.id)
    (listed,) = (await harness.reading.list(BOB, page=PageRequest())).items

    assert shown == listed
    assert shown.restricted
    assert (shown.messages, shown.output, shown.passages, shown.principals) == ((), (), (), ())
    assert (shown.variables, shown.labels, shown.warnings) == ({}, {}, ())
    assert (shown.id, shown.state, shown.end_user) == (answer.id, answer.state, "user:ann")
    assert not (await harness.stored(answer)).restricted


async def test_a_record_that_keeps_no_text_shows_its_sources_to_readers_only() -> None:
    harness = restricting()
    stored = await answered(harness, record=RecordMode.METADATA)

    assert (await harness.reading.get(BOB, stored.id)).passages == ()
    assert (await harness.reading.get(RUTH, stored.id)).passages


async def test_the_readers_that_count_are_those_of_now() -> None:
    harness = restricting()
    answer = await answered(harness)

    del harness.readers.readers["salaries"]
    assert (await harness.reading.get(BOB, answer.id)).output
    harness.readers.readers["salaries"] = {"user:olivia"}
    assert not (await harness.reading.get(RUTH, answer.id)).output


async def test_messages_before_the_question_are_for_who_asked_and_who_acts_for_users() -> None:
    harness = AnsweringHarness(passages=PASSAGES)
    answer = await answered(harness, messages=TURNS)

    others = await harness.reading.get(RUTH, answer.id)

    assert others.restricted
    assert (others.messages, others.output) == (TURNS[-1:], answer.output)
    assert (await harness.reading.get(ANN, answer.id)).messages == TURNS
    assert (await harness.reading.get(OPERATOR, answer.id)).messages == TURNS


async def test_a_page_is_checked_by_one_question_and_not_at_all_for_who_acts_for_users() -> None:
    harness = restricting()
    for number in range(3):
        await answered(harness, f"r{number}")

    page = await harness.reading.list(BOB, page=PageRequest(size=2))
    assert [each.restricted for each in page.items] == [True, True]
    assert page.next_token
    assert harness.readers.asked == 1
    await harness.reading.list(OPERATOR, page=PageRequest())
    await harness.reading.list(ANN, page=PageRequest())
    assert harness.readers.asked == 1


async def test_the_prompt_of_a_restricted_answer_is_refused_also_to_who_may_call_for_prompts() -> None:
    harness = restricting()
    answer = await answered(harness)
    show = shows(harness, Documents(PASSAGES))

    with pytest.raises(AnswerRestricted):
        await show(BOB, answer.id)
    assert (await show(RUTH, answer.id)).question == "What does os.walk do?"
