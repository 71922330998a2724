"""Questions that compare prompts: a saved version, or one that is saved nowhere."""

from contextlib import nullcontext
from dataclasses import replace

import pytest

from services.inference.tests.fakes import ADA, AnsweringHarness, DirectTemplates, asking, helpdesk, question
from services.inference.tests.generation.test_show_prompt import Documents
from tidemill.inference.v1 import inference_service_pb2 as pb
from tidemill.inference.v1 import prompt_pb2
from tidemill_core.application import Caller, Request
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.generation.domain.errors import PromptNotRecorded, QuestionRefused, UnsavedPromptRefused
from tidemill_inference.generation.domain.question import Purpose
from tidemill_inference.generation.domain.speaker import compared_by
from tidemill_inference.generation.messages import question_of
from tidemill_inference.generation.show_prompt import ShowPrompt
from tidemill_inference.prompts.domain.errors import PromptRefused, PromptVersionNotFound
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_testkit.clocks import NOON

SHORT = PromptContent(system="Answer in one word.", user="{{ question }}!")


async def with_second_version() -> AnsweringHarness:
    harness = AnsweringHarness()

    def change(prompt: Prompt) -> None:
        prompt.write(SHORT, digest="d2", now=NOON)
        prompt.label("next", version=2, now=NOON)

    await harness.prompts.update(ADA.project, "answer", change, request=Request.internal())
    return harness


@pytest.mark.parametrize("named", ["answer@2", "answer@next"])
async def test_a_saved_version_is_rendered_with_all_else_as_live(named: str) -> None:
    harness = await with_second_version()
    live = (await harness.deployments.get(ADA.project, "helpdesk")).live

    asked = question("What?", purpose=Purpose.EVALUATION, prompt=named)
    answer = await harness.answer.whole(ADA, asked, request=asking("r"))

    assert answer.variant is not None
    assert (answer.variant.name, answer.variant.model, answer.variant.prompt) == ("candidate", "smollm2@1", "answer@2")
    assert answer.variant.configuration == live.with_answer(prompt="answer@2").digest
    assert [message.text for message in harness.engine.seen[0].messages] == ["Answer in one word.", "What?!"]


async def test_a_prompt_that_is_saved_nowhere_is_named_by_its_digest_alone() -> None:
    harness = AnsweringHarness()

    asked = question("What?", purpose=Purpose.EVALUATION, unsaved=SHORT)
    answer = await harness.answer.whole(ADA, asked, request=asking("r"))
    record = await harness.only_record()

    digest = (await DirectTemplates().check("", SHORT)).digest
    assert answer.variant is not None
    assert answer.variant.prompt == f"unsaved:{digest}"
    assert [message.text for message in harness.engine.seen[0].messages] == ["Answer in one word.", "What?!"]
    assert "one word" not in repr(replace(record, output=()))
    show = ShowPrompt(reading=harness.reading, prompts=harness.prompts, templates=DirectTemplates(), texts=Documents())
    with pytest.raises(PromptNotRecorded, match="by a prompt that was not saved"):
        await show(Caller(project=ADA.project, subject="tidemill", via="feedback"), answer.id)


async def test_a_version_that_is_not_there_and_a_template_that_fails_are_refused() -> None:
    harness = AnsweringHarness()

    with pytest.raises(PromptVersionNotFound, match="has no '9'"):
        await harness.answer.whole(ADA, question(purpose=Purpose.EVALUATION, prompt="answer@9"), request=asking("r1"))
    with pytest.raises(PromptRefused, match=r"content\.user"):
        await harness.answer.whole(
            ADA,
            question(purpose=Purpose.EVALUATION, unsaved=PromptContent(user="{% if %}")),
            request=asking("r2"),
        )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"prompt": "answer@2"}, "prompt: is for purposes SHADOW and EVALUATION only"),
        ({"prompt": "answer", "purpose": Purpose.EVALUATION}, "prompt: is 'answer'; send prompt@version"),
        ({"unsaved": SHORT, "purpose": Purpose.SHADOW}, "unsaved_prompt: is for purpose EVALUATION only"),
        ({"unsaved": SHORT, "prompt": "a@1", "purpose": Purpose.EVALUATION}, "unsaved_prompt: cannot go with prompt"),
    ],
)
async def test_what_only_comparisons_may_say_is_refused(changes: dict[str, object], text: str) -> None:
    with pytest.raises(QuestionRefused, match=text):
        await AnsweringHarness().answer.whole(ADA, question("What?", **changes), request=asking("r"))


async def test_who_manages_the_project_compares_by_any_sampling_and_brings_prompts() -> None:
    operator = Caller(project=ADA.project, subject="user:op", roles=frozenset({"operator"}))
    contributor = Caller(project=ADA.project, subject="user:ann", roles=frozenset({"contributor"}))
    cold = question(purpose=Purpose.EVALUATION, sampling=Sampling(temperature=0.1))
    harness = AnsweringHarness(deployment=helpdesk(sampling=Sampling(temperature=0.9)))

    answer = await harness.answer.whole(ADA, compared_by(operator, cold), request=asking("r1"))
    with pytest.raises(QuestionRefused, match="does not set allow_sampling_override"):
        await harness.answer.whole(ADA, compared_by(contributor, cold), request=asking("r2"))
    with pytest.raises(UnsavedPromptRefused, match="takes the role operator"):
        compared_by(contributor, question(purpose=Purpose.EVALUATION, unsaved=SHORT))

    assert answer.variant is not None
    assert harness.engine.seen[0].sampling.temperature == 0.1
    assert not compared_by(operator, question(sampling=Sampling(temperature=0.1))).free_sampling, (
        "live ones are as ever"
    )


@pytest.mark.parametrize(
    ("scope", "compares"),
    [
        ("tidemill.inference.v1.InferenceService/Generate", False),
        ("tidemill.inference.v1.PromptService/UpdatePrompt", True),
        ("tidemill.evaluator.v1.PromptTestService/StartPromptTest", True),
    ],
)
def test_a_key_of_an_operator_for_generate_alone_compares_nothing(scope: str, *, compares: bool) -> None:
    key = Caller(
        project=ADA.project, subject="service_account:app", roles=frozenset({"operator"}), scopes=frozenset({scope})
    )
    asked = question(purpose=Purpose.EVALUATION, unsaved=SHORT)

    assert compared_by(key, question(purpose=Purpose.EVALUATION)).free_sampling is compares
    assert compared_by(replace(key, via="evaluator"), asked).free_sampling
    with nullcontext() if compares else pytest.raises(UnsavedPromptRefused, match="the scope UpdatePrompt"):
        compared_by(key, asked)


def test_a_request_carries_both() -> None:
    content = prompt_pb2.PromptContent(system="Be brief.", user="{{ question }}", variables_schema="{}")

    asked = question_of(pb.GenerateRequest(deployment="helpdesk", prompt="answer@2", unsaved_prompt=content))
    without = question_of(pb.GenerateRequest(deployment="helpdesk"))

    assert (asked.prompt, asked.unsaved) == (
        "answer@2",
        PromptContent(system="Be brief.", user="{{ question }}", variables_schema="{}"),
    )
    assert (without.prompt, without.unsaved) == ("", None)
