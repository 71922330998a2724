"""Values of metrics that are about whole conversations."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.feedback.tests.builders import ADA, EVE, event, rating, request, write
from services.feedback.tests.harness import FeedbackHarness
from services.feedback.tests.metrics.builders import REOPENED, SOLVED, metric
from tidemill_core.application import PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_feedback.errors import ConversationUnknown
from tidemill_feedback.metrics.domain.metric import Level
from tidemill_feedback.reactions.domain.feedback import FeedbackState, FeedbackWasRecorded
from tidemill_feedback.reactions.domain.reaction import Reaction
from tidemill_feedback.reactions.events import InferenceCompleted, inferences
from tidemill_feedback.reactions.messages import feedback_message, feedback_payload
from tidemill_kit.events.subscriptions import EventContext
from tidemill_testkit.clocks import NOON

FLAG = Reaction(metric="solved", flag=True, conversation="c1")


def context() -> EventContext:
    of = "tidemill.inference.inference"
    return EventContext(
        id="e9",
        source="tidemill/inference",
        type=f"{of}.completed.v1",
        subject="i1",
        project="acme",
        time=NOON,
        seq=1,
        topic=f"{of}.v1",
        partition=0,
        offset=0,
        data=b"",
    )


async def talking(*, answered: bool = True) -> FeedbackHarness:
    harness = FeedbackHarness()
    await harness.declare.create(ADA, SOLVED, write())
    await harness.declare.create(ADA, REOPENED, write())
    harness.inferences.put("i1")
    if answered:
        harness.inferences.conversations["acme", "c1"] = "i1"
    return harness


async def test_a_value_of_a_conversation_counts_for_its_last_answer_and_stays_with_it() -> None:
    harness = await talking()
    first = await harness.give(FLAG)
    harness.inferences.put("i2", deployment="sales")
    harness.inferences.conversations["acme", "c1"] = "i2"
    harness.clock.advance(timedelta(seconds=1))

    later = await harness.give(replace(FLAG, flag=False))

    assert (later.id, later.conversation, later.inference, later.deployment) == (first.id, "c1", "i1", "helpdesk")
    assert (later.times, later.end_user, later.counts) == (2, "u1", True)
    shown = feedback_message(later)
    assert (shown.WhichOneof("target"), shown.conversation, shown.last_inference) == ("conversation", "c1", "i1")
    recorded = harness.feedback.published[-1]
    assert isinstance(recorded, FeedbackWasRecorded)
    _, payload = feedback_payload(later, recorded, 2)
    said = {field.name: value for field, value in payload.ListFields()}
    assert (said["conversation"], said["inference"], said["score"]) == ("c1", "i1", 0)


async def test_a_value_of_an_answer_is_other_feedback_and_names_no_conversation() -> None:
    harness = await talking()
    await harness.give(FLAG)

    given = await harness.give(Reaction(metric="reopened", flag=True, inference="i1"))

    shown = feedback_message(given)
    assert (shown.WhichOneof("target"), shown.inference, shown.last_inference) == ("inference", "i1", "")
    assert len(harness.feedback.all()) == 2


@pytest.mark.parametrize(
    ("reaction", "reported"),
    [
        (replace(FLAG, conversation="", inference="i1"), "target: name the conversation that the solved is about"),
        (replace(FLAG, inference="i1"), "target: name the conversation"),
        (Reaction(metric="reopened", flag=True, conversation="c1"), "target: name the inference by one of"),
        (rating(1, inference="", conversation="c1"), "target: name the inference by one of"),
        (Reaction(metric="reopened", flag=True, inference="conversation:c1"), "no id of an inference does"),
        (replace(FLAG, conversation="c" * 201), "conversation: has 201 characters; use at most 200"),
    ],
)
async def test_a_value_is_about_what_its_metric_is_about(reaction: Reaction, reported: str) -> None:
    harness = await talking()

    with pytest.raises(InvalidInput, match=reported):
        await harness.give(reaction)


async def test_a_conversation_that_is_unknown_or_another_projects_is_refused() -> None:
    harness = await talking(answered=False)
    await harness.declare.create(EVE, SOLVED, write())

    for caller in (ADA, EVE):
        with pytest.raises(ConversationUnknown, match="there is no conversation c1 with an answer"):
            await harness.give(FLAG, caller=caller)


async def test_a_signal_waits_for_the_first_answer_of_its_conversation_whose_event_finds_it() -> None:
    harness = await talking(answered=False)
    await harness.take(ADA, FLAG, request=request("e1"), event=event("e1"))
    [(_, waiting)] = harness.pending.stored.items()
    assert [each.inference for each in waiting] == ["conversation:c1"]
    harness.inferences.conversations["acme", "c1"] = "i1"
    [route] = inferences(harness.match, harness.expect).routes.values()

    await route.handle(context(), InferenceCompleted(inference="i1"))
    assert harness.pending.stored
    await route.handle(context(), InferenceCompleted(inference="i1", conversation="c1"))

    [given] = (await harness.read.list(ADA, PageRequest())).items
    assert (given.state, given.conversation, given.inference) == (FeedbackState.RECORDED, "c1", "i1")
    assert not harness.pending.stored


async def test_values_of_a_conversation_are_listed_by_it_also_while_they_wait() -> None:
    harness = await talking(answered=False)
    await harness.take(ADA, FLAG, request=request("e1"), event=event("e1"))

    [waiting] = (await harness.read.list(ADA, PageRequest(), conversation="c1")).items
    assert (waiting.state, waiting.conversation) == (FeedbackState.PENDING, "c1")
    assert not (await harness.read.list(ADA, PageRequest(), conversation="c2")).items

    harness.inferences.conversations["acme", "c1"] = "i1"
    await harness.match(ADA, "conversation:c1")
    await harness.give(Reaction(metric="reopened", flag=True, inference="i1"))
    [given] = (await harness.read.list(ADA, PageRequest(), conversation="c1")).items
    assert (given.state, given.conversation, given.metric) == (FeedbackState.RECORDED, "c1", "solved")


@pytest.mark.parametrize(
    ("asked", "reported"),
    [
        ({"inference": "conversation:c1"}, "inference: begins with 'conversation:'"),
        ({"conversation": "c1", "inference": "i1"}, "conversation: is set beside another target"),
        ({"conversation": "c1", "deployment": "helpdesk"}, "conversation: is set beside another target"),
    ],
)
async def test_a_list_is_of_one_target_under_its_own_name(asked: dict[str, str], reported: str) -> None:
    harness = await talking()

    with pytest.raises(InvalidInput, match=reported):
        await harness.read.list(ADA, PageRequest(), **asked)


async def test_what_never_finds_its_conversation_is_a_dead_letter() -> None:
    harness = await talking(answered=False)
    await harness.take(ADA, FLAG, request=request("e1"), event=event("e1"))
    harness.clock.advance(timedelta(hours=2))

    assert await harness.sweep() == 1
    assert [reason for _, reason in harness.dead_letters.letters] == ["CONVERSATION_NOT_FOUND"]


async def test_values_of_conversations_are_erased_with_who_asked() -> None:
    harness = await talking()
    given = await harness.give(replace(FLAG, end_user="u2"))

    await harness.erase(ADA, "u1", write())

    [tombstone] = harness.feedback.all()
    assert (tombstone.id, tombstone.deleted, tombstone.current) == (given.id, True, None)


async def test_the_level_of_a_metric_stays() -> None:
    harness = await talking()

    with pytest.raises(InvalidInput, match=r"metric\.level: is inference, and that of solved stays conversation"):
        await harness.declare.update(ADA, metric(SOLVED, level=Level.INFERENCE), {"level"}, write())
