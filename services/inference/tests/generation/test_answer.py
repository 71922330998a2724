"""Answers by request id: what is shared, stored, refused and limited."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.fakes import ADA, AnsweringHarness, ScriptedEngine, all_steps, asking, helpdesk, question
from tidemill_core.errors import Blame, DeadlineExceeded, DependencyUnavailable, InvalidInput
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.content import Citation, Message, Role
from tidemill_inference.generation.domain.errors import QuestionRefused
from tidemill_inference.generation.domain.inference import (
    DocumentUse,
    Inference,
    InferenceHasFailed,
    InferenceWasCancelled,
    InferenceWasCompleted,
    State,
)
from tidemill_inference.generation.ports import Delta, Finished, Started, Step
from tidemill_inference.generation.shared import Generation, SharedGenerations
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_kit.workers.fair_queue import QueueFull
from tidemill_testkit.polling import eventually, run_ready_tasks

DOWN = DependencyUnavailable("it is down", dependency="it", blame=Blame.VARIANT)


async def test_an_answer_cites_its_passages_and_its_record_keeps_them_by_span() -> None:
    harness = AnsweringHarness()

    answer = await harness.answer.whole(ADA, question(end_user="u1"), request=asking("r1"))

    assert answer.state is State.COMPLETED
    (message,) = answer.output
    assert message.parts[0].citations == (Citation(start=0, end=31, passage="1"),)
    assert answer.citation_valid == 1.0
    assert [passage.text for passage in answer.passages] == [passage.text for passage in harness.rag.passages]
    stored = await harness.stored(answer)
    assert [(each.document, each.version, each.start, each.end, each.text) for each in stored.passages] == [
        ("d1", 3, 0, 40, ""),
        ("d2", 1, 5, 30, ""),
    ]
    assert stored.output == answer.output
    assert stored.variant == answer.variant
    assert stored.variant is not None
    assert (stored.variant.index, stored.variant.engine) == (4, "scripted 1")


async def test_the_event_of_an_answer_reports_documents_and_no_text() -> None:
    harness = AnsweringHarness()

    await harness.answer.whole(ADA, question(), request=asking("r1"))

    (event,) = harness.inferences.published
    assert isinstance(event, InferenceWasCompleted)
    assert event.documents == (
        DocumentUse(document="d1", version=3, cited=True),
        DocumentUse(document="d2", version=1, cited=False),
    )
    assert event.citations == 1


async def test_a_stream_starts_with_the_inference_and_ends_with_all_of_it() -> None:
    harness = AnsweringHarness()

    steps = await all_steps(harness.answer(ADA, question(), request=asking("r1")))

    assert isinstance(steps[0], Started)
    assert steps[0].inference.state is State.RESERVED
    assert steps[0].inference.variant is not None
    assert isinstance(steps[-1], Finished)
    text = "".join(step.text for step in steps if isinstance(step, Delta))
    assert text == steps[-1].inference.output[0].text == "os.walk walks a directory tree."
    assert steps[0].inference.id == steps[-1].inference.id


async def test_the_same_request_again_returns_what_was_stored_and_runs_nothing() -> None:
    harness = AnsweringHarness()
    first = await harness.answer.whole(ADA, question(), request=asking("r1"))

    again = await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert (again.id, again.output) == (first.id, first.output)
    assert harness.engine.runs == 1
    assert len(harness.inferences.published) == 1


async def test_the_same_request_id_with_another_body_is_refused_while_running_and_after() -> None:
    harness = AnsweringHarness()
    harness.engine.gate.clear()
    running = asyncio.create_task(harness.answer.whole(ADA, question(), request=asking("r1", "one")))
    await eventually(lambda: harness.engine.runs == 1)

    with pytest.raises(InvalidInput, match="another body"):
        await harness.answer.whole(ADA, question("other"), request=asking("r1", "two"))
    harness.engine.gate.set()
    await running
    with pytest.raises(InvalidInput, match="another body"):
        await harness.answer.whole(ADA, question("other"), request=asking("r1", "two"))


async def test_concurrent_equal_requests_share_one_generation_and_a_late_one_receives_it_from_the_beginning() -> None:
    harness = AnsweringHarness(ScriptedEngine(free_words=2))
    harness.engine.gate.clear()
    early = harness.answer(ADA, question(), request=asking("r1"))
    assert isinstance(await anext(early), Started)
    first = await anext(early)

    late = harness.answer(ADA, question(), request=asking("r1"))
    assert isinstance(await anext(late), Started)
    second = await anext(late)
    harness.engine.gate.set()
    rest = await asyncio.gather(all_steps(early), all_steps(late))

    assert isinstance(first, Delta)
    assert isinstance(second, Delta)
    assert second.text.startswith(first.text)
    for received, steps in zip((first.text, second.text), rest, strict=True):
        assert isinstance(steps[-1], Finished)
        reported = received + "".join(step.text for step in steps if isinstance(step, Delta))
        assert reported == steps[-1].inference.output[0].text
    assert harness.engine.runs == 1


async def test_a_listener_who_does_not_read_delays_no_other() -> None:
    harness = AnsweringHarness()
    idle = harness.answer(ADA, question(), request=asking("r1"))
    await anext(idle)

    answer = await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert answer.state is State.COMPLETED
    missed = await all_steps(idle)
    assert [type(step) for step in missed] == [Delta, Finished]


async def test_the_work_stops_when_the_last_listener_leaves_and_a_retry_starts_again() -> None:
    harness = AnsweringHarness(ScriptedEngine(free_words=1))
    harness.engine.gate.clear()
    listeners = [harness.answer(ADA, question(), request=asking("r1")) for _ in range(2)]
    for each in listeners:
        await anext(each)

    await listeners[0].aclose()
    assert harness.engine.stops == 0
    await listeners[1].aclose()

    assert harness.engine.stops == 1
    record = await harness.only_record()
    assert (record.state, record.finish_reason) == (State.CANCELLED, "cancelled")
    assert [type(event) for event in harness.inferences.published] == [InferenceWasCancelled]
    harness.engine.gate.set()
    again = await harness.answer.whole(ADA, question(), request=asking("r1"))
    assert (again.id, again.state) == (record.id, State.COMPLETED)


async def test_a_failed_inference_says_why_and_the_same_request_tries_again() -> None:
    harness = AnsweringHarness(ScriptedEngine(fails_before=DOWN))

    with pytest.raises(DependencyUnavailable):
        await harness.answer.whole(ADA, question(), request=asking("r1"))
    record = await harness.only_record()
    assert (record.state, record.failure) == (State.FAILED, "DEPENDENCY_UNAVAILABLE")
    harness.engine.fails_before = None
    again = await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert (again.id, again.state, again.failure) == (record.id, State.COMPLETED, "")
    assert [type(event) for event in harness.inferences.published] == [InferenceHasFailed, InferenceWasCompleted]


async def test_an_engine_that_says_nothing_is_named_as_unavailable_at_the_deadline() -> None:
    harness = AnsweringHarness(deployment=helpdesk(deadline=timedelta(seconds=1)))
    harness.engine.gate.clear()

    with pytest.raises(DependencyUnavailable, match="model smollm2@1 did not answer in time"):
        await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert harness.engine.stops == 1


async def test_an_answer_that_takes_too_long_ends_at_the_deadline() -> None:
    harness = AnsweringHarness(ScriptedEngine(free_words=2), deployment=helpdesk(deadline=timedelta(seconds=1)))
    harness.engine.gate.clear()
    steps = harness.answer(ADA, question(), request=asking("r1"))
    async with aclosing(steps):
        assert isinstance(await anext(steps), Started)
        assert isinstance(await anext(steps), Delta)
        with pytest.raises(DeadlineExceeded):
            await all_steps(steps)

    assert (await harness.only_record()).failure == "DEADLINE_EXCEEDED"


async def test_a_caller_with_less_time_than_the_deployment_receives_who_did_not_answer() -> None:
    harness = AnsweringHarness()
    harness.engine.gate.clear()

    with pytest.raises(DependencyUnavailable, match="model smollm2@1"):
        await harness.answer.whole(ADA, question(), request=asking("r1"), until=time.monotonic() + 1)

    assert (await harness.only_record()).state is State.CANCELLED


@pytest.mark.parametrize(
    ("mode", "keeps_text", "keeps_passages"),
    [(RecordMode.FULL, True, True), (RecordMode.METADATA, False, True), (RecordMode.NONE, False, False)],
)
async def test_a_record_keeps_what_its_mode_says_and_the_caller_receives_everything(
    mode: RecordMode, *, keeps_text: bool, keeps_passages: bool
) -> None:
    harness = AnsweringHarness()
    asked = question(record=mode, labels={"product": "vpn"}, end_user="u1")

    answer = await harness.answer.whole(ADA, asked, request=asking("r1"))
    again = await harness.answer.whole(ADA, asked, request=asking("r1"))

    assert answer.output
    assert answer.usage
    assert answer.labels == {"product": "vpn"}
    record = await harness.stored(answer)
    assert (bool(record.output), bool(record.messages)) == (keeps_text, keeps_text)
    assert (bool(record.passages), bool(record.usage), bool(record.labels), bool(record.end_user)) == (
        (keeps_passages,) * 4
    )
    assert (again.id, again.state) == (answer.id, State.COMPLETED)
    assert bool(again.warnings) is not keeps_text
    assert harness.engine.runs == 1


async def test_a_caller_may_lower_the_record_mode_and_not_raise_it() -> None:
    harness = AnsweringHarness(deployment=helpdesk(record=RecordMode.METADATA))

    with pytest.raises(QuestionRefused, match="may only be lowered"):
        await harness.answer.whole(ADA, question(record=RecordMode.FULL), request=asking("r1"))


async def test_sampling_is_overridden_only_where_the_deployment_allows_it() -> None:
    hot = question(sampling=Sampling(temperature=1.0))
    with pytest.raises(QuestionRefused, match="allow_sampling_override"):
        await AnsweringHarness().answer.whole(ADA, hot, request=asking("r1"))
    same = AnsweringHarness(deployment=helpdesk(sampling=Sampling(temperature=1.0)))
    await same.answer.whole(ADA, hot, request=asking("r1"))
    assert same.engine.seen[0].sampling == Sampling(temperature=1.0)
    harness = AnsweringHarness(
        deployment=helpdesk(allow_sampling_override=True, sampling=Sampling(max_output_tokens=5))
    )

    await harness.answer.whole(ADA, hot, request=asking("r1"))

    assert harness.engine.seen[0].sampling == Sampling(temperature=1.0, max_output_tokens=5)


async def test_an_unknown_deployment_is_refused_with_those_that_exist() -> None:
    with pytest.raises(DeploymentNotFound, match="there are helpdesk"):
        await AnsweringHarness().answer.whole(ADA, question(deployment="absent"), request=asking("r1"))
    with pytest.raises(DeploymentNotFound, match="it has none: check the project's name"):
        await AnsweringHarness().answer.whole(replace(ADA, project="acne"), question(), request=asking("r1"))


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ((), "is empty"),
        ((Message.of(Role.ASSISTANT, "hi"),), "has to be the user's"),
        ((Message.of(Role.USER, "  "),), "is blank"),
        ((Message(role=Role.USER, parts=()),), "at least one text part"),
    ],
)
async def test_what_is_no_question_is_refused_and_leaves_no_record(messages: tuple[Message, ...], why: str) -> None:
    harness = AnsweringHarness()

    with pytest.raises(QuestionRefused, match=why):
        await harness.answer.whole(ADA, question(messages=messages), request=asking("r1"))

    assert not harness.inferences.published


async def test_variables_are_checked_before_anything_is_stored() -> None:
    content = PromptContent(
        user="{{ tone }}: {{ question }}",
        variables_schema='{"properties": {"tone": {"enum": ["kind"]}}, "required": ["tone"]}',
    )
    harness = AnsweringHarness(prompt=content)

    with pytest.raises(InvalidInput, match="variables"):
        await harness.answer.whole(ADA, question(variables={"tone": "rude"}), request=asking("r1"))
    await harness.answer.whole(ADA, question(variables={"tone": "kind"}), request=asking("r2"))

    assert harness.engine.seen[0].messages[0].text == "kind: What does os.walk do?"
    assert len(harness.inferences.published) == 1


async def test_more_answers_than_the_process_takes_wait_for_their_turn() -> None:
    harness = AnsweringHarness(ScriptedEngine(free_words=1))
    harness.engine.gate.clear()
    replica = harness.replica(at_most=1)
    first = replica(ADA, question(), request=asking("r1"))
    await anext(first)

    second = asyncio.create_task(replica.whole(ADA, question(), request=asking("r2")))
    await run_ready_tasks()
    assert not second.done()
    await first.aclose()
    harness.engine.gate.set()

    assert (await second).output


async def test_a_caller_whose_time_ends_in_the_queue_is_refused_and_leaves_no_record() -> None:
    harness = AnsweringHarness(ScriptedEngine(free_words=1))
    harness.engine.gate.clear()
    replica = harness.replica(at_most=1)
    first = replica(ADA, question(), request=asking("r1"))
    await anext(first)

    with pytest.raises(QueueFull, match="until the time was over"):
        await replica.whole(ADA, question(), request=asking("r2"), until=time.monotonic() + 0.01)

    assert len(harness.inferences.all()) == 1
    await first.aclose()


def test_the_name_of_an_end_user_is_what_people_read() -> None:
    asked = replace(question(), end_user="ada\x1b[31m\u200b \u202elovelace")

    assert asked.end_user == "ada[31m lovelace"


async def test_the_answers_of_one_project_end_and_those_of_others_go_on() -> None:
    generations, gate = SharedGenerations(at_most=10), asyncio.Event()
    inference = await AnsweringHarness().answer.whole(ADA, question(), request=asking("r1"))

    async def work(generation: Generation) -> Inference:
        generation.start(inference)
        await gate.wait()
        generation.end(inference)
        return inference

    def ask(project: str, name: str) -> AsyncGenerator[Step, None]:
        return generations.listen((project, name), digest="d", request_id="r", until=None, work=work)

    first, second, other = ask("acme", "1"), ask("acme", "2"), ask("globex", "1")
    for each in (first, second, other):
        await anext(each)
    assert generations.projects == {"acme", "globex"}
    assert await generations.stop("acme") == 2
    assert generations.projects == {"globex"}
    assert await generations.stop("acme") == 0
    with pytest.raises(asyncio.CancelledError):
        await anext(first)
    gate.set()
    assert isinstance([step async for step in other][-1], Finished)
    await second.aclose()
