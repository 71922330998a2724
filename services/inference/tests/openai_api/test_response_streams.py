"""The events of a streamed response, as OpenAI's own client reads them."""

import json
from collections.abc import AsyncIterable, Sequence
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseFunctionToolCall, ResponseReasoningItem

from services.inference.tests.engines.openai_server import USAGE, breaks_off, chunk, says, streams
from services.inference.tests.openai_api.apis import PASSAGE, ScriptedAnswers, events_of, open_api
from services.inference.tests.openai_api.responding import ASKED, TOOL, responding
from tidemill_core.errors import Internal

ASKING = {"role": "user", "content": ASKED}
CALM = streams(chunk("ca"), chunk("lm"), chunk(finish="stop"), USAGE)


async def events(stream: AsyncIterable[Any]) -> list[Any]:
    return [each async for each in stream]


def kinds(found: Sequence[Any]) -> list[str]:
    return [each.type.removeprefix("response.") for each in found]


async def test_text_comes_in_typed_and_numbered_events_of_one_item() -> None:
    async with responding(CALM) as api:
        stream = await api.openai.responses.create(model="helpdesk", input=ASKED, stream=True)
        found = await events(stream)
        shown = await api.openai.responses.retrieve(found[-1].response.id)

    names = kinds(found)
    assert names[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert set(names[4:-4]) == {"output_text.delta"}
    assert names[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert [each.sequence_number for each in found] == list(range(len(found)))
    assert "".join(each.delta for each in found if each.type == "response.output_text.delta") == "calm"
    created, last = found[0].response, found[-1].response
    assert (created.status, created.output, created.usage) == ("in_progress", [], None)
    assert set(created.model_extra["tidemill"]) == {"inference", "variant", "conversation", "feedback_token"}
    assert (last.status, last.output_text, last.usage.total_tokens) == ("completed", "calm", 15)
    assert last.output == shown.output
    assert {each.item_id for each in found if hasattr(each, "item_id")} == {last.output[0].id}


async def test_calls_are_streamed_by_the_helper_of_the_client() -> None:
    async with responding() as api:
        async with api.openai.responses.stream(model="helpdesk", input=ASKED, tools=[TOOL]) as stream:
            found = await events(stream)
            final = await stream.get_final_response()
        shown = await api.openai.responses.retrieve(final.id)

    calls = [each for each in final.output if isinstance(each, ResponseFunctionToolCall)]
    assert [(each.call_id, each.arguments) for each in calls] == [("c1", '{"at": "sea"}'), ("c2", '{"at": "land"}')]
    done = [each for each in found if each.type == "response.function_call_arguments.done"]
    assert [(each.output_index, each.arguments) for each in done] == [(0, '{"at": "sea"}'), (1, '{"at": "land"}')]
    assert [each.id for each in calls] == [each.id for each in shown.output]


async def test_what_a_model_thinks_is_an_item_of_its_own_before_what_it_says() -> None:
    thinks = chunk() | {"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": None}]}
    async with responding(streams(thinks, chunk("calm"), chunk(finish="stop"), USAGE)) as api:
        stream = await api.openai.responses.create(model="helpdesk", input=ASKED, stream=True)
        found = await events(stream)
        items: Any = [
            {"role": "user", "content": ASKED},
            *found[-1].response.output,
            {"role": "user", "content": "so?"},
        ]
        await api.openai.responses.create(model="helpdesk", input=items)

    last = found[-1].response
    assert [each.type for each in last.output] == ["reasoning", "message"]
    assert isinstance(last.output[0], ResponseReasoningItem)
    assert last.output[0].content
    assert last.output[0].content[0].text == "hm"
    assert [each.delta for each in found if each.type == "response.reasoning_text.delta"] == ["hm"]
    assert [each["content"] for each in api.asked if each["role"] != "system"] == [ASKED, "calm", "so?"]


async def test_citations_are_annotations_of_the_text() -> None:
    async with open_api(ScriptedAnswers()) as api:
        stream = await api.openai.responses.create(model="helpdesk", input=ASKED, stream=True)
        found = await events(stream)
        whole = await api.openai.responses.create(model="helpdesk", input=ASKED)

    (added,) = [each for each in found if each.type == "response.output_text.annotation.added"]
    (annotation,) = whole.output[0].to_dict()["content"][0]["annotations"]  # type: ignore[index] # of JSON
    assert annotation == {
        "type": "file_citation",
        "file_id": PASSAGE.document,
        "filename": PASSAGE.key,
        "index": 0,
        "start_index": 0,
        "end_index": 12,
    }
    assert added.annotation.to_dict() == annotation
    basis = (whole.model_extra or {})["tidemill"]
    assert (basis["warnings"], basis["citation_valid"]) == (["fallback used"], 1.0)
    assert whole.id == f"resp_{basis['inference'].replace('-', '')}"


async def test_log_probabilities_are_of_the_text_where_they_are_included() -> None:
    token = {"token": "calm", "logprob": -0.25, "bytes": list(b"calm"), "top_logprobs": []}
    event = chunk("calm")
    event["choices"][0]["logprobs"] = {"content": [token]}
    async with responding(streams(event, chunk(finish="stop"), USAGE)) as api:
        given: Any = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
        stream = await api.openai.responses.create(model="helpdesk", input=ASKED, stream=True, **given)
        found = await events(stream)

    (delta,) = [each for each in found if each.type == "response.output_text.delta"]
    assert (delta.logprobs[0].token, delta.logprobs[0].logprob) == ("calm", -0.25)
    assert found[-1].response.output[0].content[0].logprobs[0].bytes == list(b"calm")
    assert (api.server.asked[0]["logprobs"], api.server.asked[0]["top_logprobs"]) == (True, 2)


async def test_an_answer_cut_short_ends_with_its_own_event() -> None:
    async with responding(streams(chunk("ca"), chunk(finish="length"), USAGE)) as api:
        found = await events(await api.openai.responses.create(model="helpdesk", input=ASKED, stream=True))

    assert (kinds(found)[-1], found[-1].response.incomplete_details.reason) == ("incomplete", "max_output_tokens")


async def test_an_error_before_the_first_event_has_an_http_status() -> None:
    async with responding(says(500, "no")) as api:
        with pytest.raises(openai.APIStatusError) as refused:
            await api.openai.responses.create(model="helpdesk", input=ASKED, stream=True)

    assert refused.value.status_code >= 500


async def test_a_stream_that_breaks_ends_with_the_error_and_the_failed_response() -> None:
    answers = ScriptedAnswers("Press ", Internal("it broke"))
    async with open_api(answers) as api:
        reply = await api.http.post("/v1/responses", json={"model": "helpdesk", "input": ASKED, "stream": True})
        with pytest.raises(openai.APIError, match="it broke"):
            await events(await api.openai.responses.create(model="helpdesk", input=ASKED, stream=True))

    lines = [each.split("\n") for each in events_of(reply)]
    assert [name for name, _ in lines][-2:] == ["event: error", "event: response.failed"]
    last = json.loads(lines[-1][1].removeprefix("data: "))
    assert (last["response"]["status"], last["response"]["error"]["message"]) == ("failed", "it broke")
    assert "[DONE]" not in reply.text


async def test_a_provider_that_breaks_off_leaves_a_failed_response_that_can_be_shown() -> None:
    async with responding(breaks_off(chunk("ca"))) as api:
        stream = await api.openai.responses.create(model="helpdesk", input=ASKED, stream=True)
        first = await anext(stream)
        assert first.type == "response.created"
        made = first.response.id
        with pytest.raises(openai.APIError):
            await events(stream)
        shown = await api.openai.responses.retrieve(made)
        with pytest.raises(openai.BadRequestError, match="FAILED") as refused:
            await api.openai.responses.create(model="helpdesk", input="on", previous_response_id=made)

    assert (shown.status, shown.output) == ("failed", [])
    assert shown.error is not None
    assert refused.value.param == "previous_response_id"
