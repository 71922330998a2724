"""The streams of the OpenAI-compatible API: their bytes, their lines, and how they end."""

import asyncio
import json
from dataclasses import asdict, replace

import openai
import pytest

from services.inference.tests.openai_api.apis import (
    ASKED,
    BODY,
    PASSAGE,
    Lines,
    ScriptedAnswers,
    answered,
    events_of,
    inference,
    open_api,
)
from tidemill_core.application import Caller, Request
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.generation.domain.content import Citation
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.openai_api.completions import Chunks


async def test_a_stream_says_who_speaks_then_the_text_then_why_it_ended() -> None:
    async with open_api(ScriptedAnswers("Press ", "reset.")) as api:
        stream = await api.openai.chat.completions.create(
            model="helpdesk", messages=[ASKED], stream=True, stream_options={"include_usage": True}
        )
        *chunks, costs = [chunk async for chunk in stream]

    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert [delta.role for delta in deltas] == ["assistant", None, None, None, None, None]
    assert [delta.content for delta in deltas] == ["", "Press ", "reset.", None, None, None]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, None, None, "stop"]
    assert len({chunk.id for chunk in [*chunks, costs]}) == 1
    assert costs.choices == []
    assert costs.usage is not None
    assert costs.usage.total_tokens == 23
    assert (chunks[-1].model_extra or {})["tidemill"]["citations"] == [{"start": 0, "end": 12, "passage": "1"}]
    assert (chunks[-2].model_extra or {})["tidemill"]["passage"]["text"] == PASSAGE.text


async def test_no_line_of_a_stream_is_long_however_much_its_answer_rests_on() -> None:
    passages = tuple(replace(PASSAGE, id=str(number), text="x" * 4000, uri="u" * 500) for number in range(1, 101))
    async with open_api(ScriptedAnswers("reset.", passages=passages)) as api:
        response = await api.ask(stream=True)

    reported = [json.loads(event).get("tidemill", {}) for event in events_of(response)[:-1]]
    assert [each["passage"]["id"] for each in reported if "passage" in each] == [each.id for each in passages]
    assert [each["id"] for each in reported[-1]["passages"]] == [each.id for each in passages]
    assert max(map(len, response.text.splitlines())) < 16 * 1024


async def test_text_that_comes_at_once_is_streamed_in_lines_that_readers_take() -> None:
    text = "ä\x01" * 40_000  # a model that sends all in one event, or a reader who comes late to a shared answer
    async with open_api(ScriptedAnswers(text)) as api:
        response = await api.ask(stream=True)

    chunks = [json.loads(event)["choices"][0]["delta"] for event in events_of(response)[:-1]]
    assert "".join(chunk.get("content", "") for chunk in chunks) == text
    assert max(len(line.encode()) for line in response.text.splitlines()) < 64 * 1024


def test_the_citations_of_a_stream_are_in_short_lines_and_those_of_few_in_the_last_one() -> None:
    asked = Question(deployment="helpdesk", messages=())
    started = inference(Caller(project="acme", subject="ada"), asked, Request.of("r1", b""))
    finished = answered(started, "x" * 40_000)
    for count in (500, 6_001):
        citations = tuple(Citation(start=30_000 + at, end=30_001 + at, passage="100") for at in range(count))
        part = replace(finished.output[0].parts[0], citations=citations)
        output = (replace(finished.output[0], parts=(part,)),)
        chunks = Chunks(started, include_usage=False, feedback_token="").last(replace(finished, output=output))

        reported = [each for chunk in chunks for each in chunk["tidemill"].get("citations", ())]
        assert reported == [asdict(each) for each in citations]
        assert max(len(json.dumps(chunk)) for chunk in chunks) < 64 * 1024
        assert len(chunks[-1]["tidemill"]["citations"]) == (500 if count == 500 else 1)


@pytest.mark.parametrize("separator", ["\u0085", "\u2028", "\u2029"])
async def test_a_reader_of_lines_gets_whole_events_whatever_is_in_the_text(separator: str) -> None:
    async with open_api(ScriptedAnswers(f"one{separator}two")) as api:
        async with api.http.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as response:
            lines = [line async for line in response.aiter_lines() if line]
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]

    assert chunks[1]["choices"][0]["delta"]["content"] == f"one{separator}two"


async def test_a_stream_that_waits_is_kept_alive_by_comments() -> None:
    gate = asyncio.Event()
    async with open_api(ScriptedAnswers(gate, "late", begins_late=True), keep_alive_s=0.05) as api:
        async with api.http.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as response:
            lines = []
            async for line in response.aiter_lines():
                lines.append(line)
                if lines.count(": keep-alive") == 2:
                    gate.set()
        stream = await api.openai.chat.completions.create(model="helpdesk", messages=[ASKED], stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert lines[:3:2] == [": keep-alive", ": keep-alive"]
    assert lines[-2] == "data: [DONE]"
    assert text == "late"


async def test_the_bytes_of_a_stream_are_events_that_end_with_done() -> None:
    async with open_api(ScriptedAnswers("ä\u2028\n")) as api:
        response = await api.ask(stream=True)

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    first, text, _annotations, _passage, last, done = events_of(response)
    assert json.loads(first)["object"] == "chat.completion.chunk"
    assert json.loads(text)["choices"] == [
        {"index": 0, "delta": {"content": "ä\u2028\n"}, "logprobs": None, "finish_reason": None}
    ]
    assert "usage" not in json.loads(last)
    assert done == "[DONE]"


@pytest.mark.parametrize("error", [DependencyUnavailable("e is down", dependency="e"), ZeroDivisionError("a detail")])
async def test_an_error_in_the_middle_of_a_stream_is_its_last_event(error: Exception, lines: Lines) -> None:
    async with open_api(ScriptedAnswers("Press ", error)) as api:
        response = await api.ask(stream=True)
        stream = await api.openai.chat.completions.create(model="helpdesk", messages=[ASKED], stream=True)
        received = [(await anext(stream)).choices[0].delta.content for _ in range(2)]
        with pytest.raises(openai.APIError):
            await anext(stream)

    assert received == ["", "Press "]
    body = json.loads(events_of(response)[-1])
    assert body["error"]["type"] == "server_error"
    assert "a detail" not in response.text
    line = lines.named("http_request_finished")[0]
    assert (line["status"], line["reason"].lower()) == (200, body["error"]["code"])
