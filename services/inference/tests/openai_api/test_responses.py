"""The Responses API by OpenAI's own client, from a model behind a provider, to records and back."""

import json
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseInputParam
from pydantic import BaseModel

from services.inference.tests.engines.openai_server import USAGE, chunk, streams
from services.inference.tests.fakes import helpdesk
from services.inference.tests.openai_api.responding import ASKED, TOOL, Responding, responding
from tidemill_core.application import Request
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.inference import Inference

CALM = streams(chunk("calm"), chunk(finish="stop"), USAGE)


class Report(BaseModel):
    place: str
    degrees: int


def said(api: Responding) -> list[tuple[str, str]]:
    return [(each["role"], each.get("content") or "") for each in api.asked]


def stored_of(response: Response) -> object:
    return (response.model_extra or {})["store"]


async def record(api: Responding, response: str) -> Inference:
    return next(each for each in api.harness.inferences.all() if f"resp_{each.id.replace('-', '')}" == response)


async def test_an_answer_is_created_and_shown_again_as_it_was() -> None:
    async with responding(CALM) as api:
        created = await api.openai.responses.create(
            model="helpdesk",
            input=ASKED,
            instructions="Be short.",
            metadata={"team": "sea"},
            temperature=0.5,
            top_p=0.9,
            max_output_tokens=50,
            user="ada",
        )
        shown = await api.openai.responses.retrieve(created.id)

    assert (created.object, created.status, created.model, created.output_text) == (
        "response",
        "completed",
        "helpdesk",
        "calm",
    )
    assert created.usage is not None
    assert (created.usage.input_tokens, created.usage.output_tokens, created.usage.total_tokens) == (12, 3, 15)
    assert (created.instructions, created.metadata, stored_of(created)) == ("Be short.", {"team": "sea"}, True)
    assert (created.temperature, created.top_p, created.max_output_tokens, created.user) == (0.5, 0.9, 50, "ada")
    assert (created.tools, created.tool_choice, created.previous_response_id) == ([], "auto", None)
    first, again = created.to_dict(), shown.to_dict()
    for each in (first, again):
        del each["tidemill"], each["completed_at"]
    assert again == first
    assert said(api)[-1] == ("user", ASKED)
    assert said(api)[0][0] == "system"
    assert "Be short." in said(api)[0][1]
    assert api.server.asked[0]["max_tokens"] == 50


async def test_a_loop_with_tools_goes_on_by_the_id_of_the_response_that_called_them() -> None:
    async with responding() as api:
        called = await api.openai.responses.create(
            model="helpdesk", input=ASKED, tools=[TOOL], parallel_tool_calls=True, tool_choice="required"
        )
        calls = [each for each in called.output if isinstance(each, ResponseFunctionToolCall)]
        results: ResponseInputParam = [
            {
                "type": "function_call_output",
                "call_id": each.call_id,
                "output": f"calm at {json.loads(each.arguments)['at']}",
            }
            for each in calls
        ]
        answer = await api.openai.responses.create(
            model="helpdesk", input=results, previous_response_id=called.id, tools=[TOOL]
        )
        stored = await record(api, answer.id)

    assert [(each.call_id, each.name, each.status) for each in calls] == [
        ("c1", "weather", "completed"),
        ("c2", "weather", "completed"),
    ]
    assert (called.output_text, called.status, called.tool_choice) == ("", "completed", "required")
    assert called.tools[0].to_dict()["name"] == "weather"
    assert (answer.output_text, answer.previous_response_id) == ("calm at sea and calm at land", called.id)
    assert [role for role, _ in said(api)][-4:] == ["user", "assistant", "tool", "tool"]
    assert [message.role.value for message in stored.messages] == ["tool", "tool"]  # each text is stored once
    assert stored.history is not None
    assert len(stored.history.turns) == 1


async def test_a_loop_with_tools_goes_on_with_the_items_themselves_and_nothing_stored() -> None:
    async with responding() as api:
        items: Any = [{"role": "user", "content": ASKED}]
        called = await api.openai.responses.create(model="helpdesk", input=items, tools=[TOOL], store=False)
        items += called.output  # as every example does
        for each in called.output:
            assert isinstance(each, ResponseFunctionToolCall)
            items.append({"type": "function_call_output", "call_id": each.call_id, "output": "calm"})
        answer = await api.openai.responses.create(model="helpdesk", input=items, tools=[TOOL], store=False)

    assert answer.output_text == "calm and calm"
    assert [role for role, _ in said(api)][-4:] == ["user", "assistant", "tool", "tool"]
    assert [each["id"] for each in api.asked[-3]["tool_calls"]] == ["c1", "c2"]


async def test_turns_before_the_previous_one_are_given_too_and_instructions_are_not() -> None:
    async with responding(CALM) as api:
        one = await api.openai.responses.create(model="helpdesk", input="one", instructions="Be short.")
        two = await api.openai.responses.create(model="helpdesk", input="two", previous_response_id=one.id)
        await api.openai.responses.create(
            model="helpdesk", input="three", previous_response_id=two.id, instructions="Be long."
        )
        third = said(api)
        await api.openai.responses.create(model="helpdesk", input="other", previous_response_id=one.id)

    assert [text for role, text in third if role != "system"] == ["one", "calm", "two", "calm", "three"]
    assert "Be long." in third[0][1]
    assert "Be short." not in third[0][1]
    assert [text for role, text in said(api) if role != "system"] == ["one", "calm", "other"]


async def test_a_json_schema_is_parsed_by_the_client() -> None:
    async with responding() as api:
        parsed = await api.openai.responses.parse(model="helpdesk", input=ASKED, text_format=Report)
        plain = await api.openai.responses.create(
            model="helpdesk", input=ASKED, text={"format": {"type": "json_object"}}
        )
        shown = await api.openai.responses.retrieve(parsed.id)

    assert parsed.output_parsed == Report(place="sea", degrees=4)
    assert plain.output_text == '{"place": "sea", "degrees": 4}'
    assert api.server.asked[0]["response_format"]["json_schema"]["name"] == "Report"
    assert shown.text is not None
    assert shown.text.format is not None
    assert shown.text.format.type == "json_schema"


async def test_an_answer_that_reached_its_limit_is_incomplete() -> None:
    async with responding(streams(chunk("cal"), chunk(finish="length"), USAGE)) as api:
        cut = await api.openai.responses.create(model="helpdesk", input=ASKED, max_output_tokens=16)

    assert (cut.status, cut.output_text) == ("incomplete", "cal")
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"


async def test_what_was_sent_is_listed_in_pages_newest_first() -> None:
    items: Any = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "two", "annotations": []}]},
        {"role": "user", "content": [{"type": "input_text", "text": "three"}]},
    ]
    async with responding(CALM) as api:
        made = await api.openai.responses.create(model="helpdesk", input=items, instructions="Be short.")
        listed = [each.to_dict() async for each in api.openai.responses.input_items.list(made.id, limit=2)]
        page = await api.openai.responses.input_items.list(made.id, limit=2, order="asc")
        with pytest.raises(openai.BadRequestError, match="after"):
            await api.openai.responses.input_items.list(made.id, after="msg_1")

    texts = [each["content"][0]["text"] for each in listed]  # type: ignore[index] # of JSON
    assert texts == ["three", "two", "one"]
    assert [each["role"] for each in listed] == ["user", "assistant", "user"]
    assert (len(page.data), page.has_more) == (2, True)


async def test_a_deleted_response_is_gone_with_its_text_and_its_counts_stay() -> None:
    async with responding(CALM) as api:
        one = await api.openai.responses.create(model="helpdesk", input="one")
        two = await api.openai.responses.create(model="helpdesk", input="two", previous_response_id=one.id)
        await api.openai.responses.delete(one.id)
        for gone in (api.openai.responses.retrieve(one.id), api.openai.responses.delete(one.id)):
            with pytest.raises(openai.NotFoundError):
                await gone
        with pytest.raises(openai.BadRequestError):
            await api.openai.responses.create(model="helpdesk", input="on", previous_response_id=one.id)
        on = await api.openai.responses.create(model="helpdesk", input="three", previous_response_id=two.id)
        stored = await record(api, one.id)

    assert (stored.messages, stored.output, stored.parameters) == ((), (), None)
    assert stored.usage is not None
    assert [text for role, text in said(api) if role != "system"] == ["two", "calm", "three"]
    assert (on.model_extra or {})["tidemill"]["warnings"] == ["history cut: 1 earlier turns are not given to the model"]
    assert [each.method.rpartition("/")[2] for each in api.audit.ended] == ["EraseInference"]


async def test_a_foreign_response_is_answered_as_one_that_is_not_there() -> None:
    async with responding(CALM) as api:
        mine = await api.of("user:ada").responses.create(model="helpdesk", input="one")
        unstored = await api.of("user:bob").responses.create(model="helpdesk", input="one", store=False)
        absent = f"resp_{'0' * 32}"
        of_bob, errors = api.of("user:bob").responses, list[tuple[int, str, str]]()
        for name in (mine.id, absent, unstored.id):
            for call in (
                lambda name=name: of_bob.retrieve(name),
                lambda name=name: of_bob.delete(name),
                lambda name=name: of_bob.input_items.list(name),
                lambda name=name: of_bob.create(model="helpdesk", input="on", previous_response_id=name),
            ):
                with pytest.raises(openai.APIStatusError) as refused:
                    await call()
                error = refused.value
                errors.append((error.status_code, str(error.code), error.message.replace(name, "ID")))
        for_ben = api.openai.responses.create(model="helpdesk", input="on", previous_response_id=mine.id, user="ben")
        with pytest.raises(openai.BadRequestError) as of_another_user:
            await for_ben
        for_ada = await api.openai.responses.create(model="helpdesk", input="on", previous_response_id=mine.id)

    assert errors[:4] == errors[4:8] == errors[8:]
    assert [status for status, *_ in errors[:4]] == [404, 404, 404, 400]
    assert (errors[3][1], of_another_user.value.code) == ("previous_response_not_found",) * 2
    assert (of_another_user.value.param, for_ada.user) == ("previous_response_id", "user:ada")


@pytest.mark.parametrize("mode", [RecordMode.METADATA, RecordMode.NONE])
async def test_what_a_deployment_does_not_record_is_no_stored_response_and_the_reply_says_so(mode: RecordMode) -> None:
    deployment = helpdesk(retrieval=None, record=mode)
    async with responding(CALM, deployment) as api:
        made = await api.openai.responses.create(model="helpdesk", input=ASKED)
        unstored = await api.openai.responses.create(model="helpdesk", input=ASKED, store=False)
        with pytest.raises(openai.NotFoundError):
            await api.openai.responses.retrieve(made.id)

    assert (stored_of(made), made.output_text, unstored.output_text) == (False, "calm", "calm")


async def test_without_store_no_text_is_recorded() -> None:
    async with responding(CALM) as api:
        made = await api.openai.responses.create(model="helpdesk", input=ASKED, store=False, instructions="Be short.")
        stored = await record(api, made.id)

    assert (stored_of(made), made.instructions) == (False, "Be short.")
    assert (stored.record, stored.messages, stored.output, stored.parameters) == (RecordMode.METADATA, (), (), None)


async def test_erasing_the_end_user_erases_the_response() -> None:
    async with responding(CALM) as api:
        made = await api.of("user:ada").responses.create(model="helpdesk", input=ASKED)
        stored = await record(api, made.id)
        await api.harness.inferences.update(
            "acme", stored.id, lambda each: each.erase(now=api.harness.clock.now()), request=Request.internal()
        )
        with pytest.raises(openai.NotFoundError):
            await api.of("user:ada").responses.retrieve(made.id)


async def test_the_same_request_again_is_given_the_same_response() -> None:
    async with responding(CALM) as api:
        headers = {"Idempotency-Key": "r1"}
        one = await api.openai.responses.create(model="helpdesk", input=ASKED, extra_headers=headers)
        two = await api.openai.responses.create(model="helpdesk", input=ASKED, extra_headers=headers)
        with pytest.raises(openai.BadRequestError):
            await api.openai.responses.create(model="helpdesk", input=ASKED, store=False, extra_headers=headers)

    assert (one.id, one.output_text) == (two.id, two.output_text)
    assert len(api.server.asked) == 1
