"""Several prompts of one completion, prompts before their answers, and the likeliest of more answers."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest

from services.inference.tests.budgets.budgeting import BudgetHarness, budget
from services.inference.tests.budgets.ledgers import InMemoryLedger
from services.inference.tests.fakes import AnsweringHarness, ScriptedEngine, helpdesk
from services.inference.tests.openai_api.apis import ApiClient, events_of, open_api
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_inference.budgets.domain.budget import Kind
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.engines.ports import Capability, Finish, Generated, Piece, Prompt
from tidemill_inference.generation.domain.content import Message, Role, TokenLogprob
from tidemill_inference.generation.domain.inference import State
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.openai_api.intents import requests_of
from tidemill_inference.openai_api.legacy import completion_request_of
from tidemill_inference.openai_api.together import side_by_side
from tidemill_testkit.polling import eventually


@dataclass(kw_only=True)
class Parrot(ScriptedEngine):
    """Says the prompt's last word and the number of the candidate, in two tokens; the higher numbers are likelier."""

    fails_once: set[str] = field(default_factory=set)
    waits: set[str] = field(default_factory=set)
    """The words at which it waits for its gate, behind the first token."""

    async def generate(self, prompt: Prompt, *, timeout_s: float) -> AsyncGenerator[Generated, None]:
        self.runs += 1
        self.seen.append(prompt)
        word = prompt.messages[-1].text.split()[-1]
        try:
            if word in self.fails_once:
                self.fails_once.remove(word)
                message = "the model is down"
                raise DependencyUnavailable(message, dependency="model")
            for candidate in range(prompt.candidates):
                for token in (word, str(candidate)):
                    logprobs = (TokenLogprob(text=token, logprob=candidate - 9.0),) if prompt.sampling.logprobs else ()
                    yield Piece(text=token, candidate=candidate, logprobs=logprobs)
                    if word in self.waits:
                        async with asyncio.timeout(timeout_s):
                            await self.gate.wait()
                yield Finish(reason="stop", candidate=candidate, input_tokens=7, output_tokens=2)
        finally:
            self.stops += 1


def parrots(engine: Parrot | None = None, **changes: object) -> AnsweringHarness:
    return AnsweringHarness(engine or Parrot(), deployment=helpdesk(retrieval=None, **changes))


async def completed(api: ApiClient, prompt: object, *, key: str = "", **changes: object) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else None
    body = {"model": "helpdesk", "prompt": prompt, **changes}
    response = await api.http.post("/v1/completions", json=body, headers=headers)
    return {"status": response.status_code, **response.json()}


async def test_each_of_several_prompts_is_answered_and_recorded_and_the_choices_are_in_their_order() -> None:
    harness = parrots()
    async with open_api(harness.answer) as api:
        whole = await api.openai.completions.create(model="helpdesk", prompt=["say a", "say b"], n=2)

    assert [(each.index, each.text) for each in whole.choices] == [(0, "a0"), (1, "a1"), (2, "b0"), (3, "b1")]
    assert whole.usage
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (14, 8, 22)
    prompts = (whole.model_extra or {})["tidemill"]["prompts"]
    records = {each.id: each for each in harness.inferences.all()}
    assert [records[each["inference"]].messages[-1].text for each in prompts] == ["say a", "say b"]
    assert {each.state for each in records.values()} == {State.COMPLETED}
    assert whole.id == prompts[0]["inference"]
    assert [each["prompt"] for each in prompts] == [0, 1]
    assert all(each["feedback_token"] for each in prompts)


async def test_streamed_each_chunk_says_whose_it_is_and_the_usage_of_all_comes_once() -> None:
    harness = parrots()
    async with open_api(harness.answer) as api:
        stream = await api.openai.completions.create(
            model="helpdesk", prompt=["say a", "say b"], n=2, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]

    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    texts = ["".join(each.text for each in choices if each.index == index) for index in range(4)]
    assert texts == ["a0", "a1", "b0", "b1"]
    assert sorted(each.index for each in choices if each.finish_reason == "stop") == [0, 1, 2, 3]
    [usage] = [chunk.usage for chunk in chunks if not chunk.choices]
    assert usage
    assert usage.total_tokens == 22
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1
    ends = [extra["tidemill"] for chunk in chunks if "tidemill" in (extra := chunk.model_extra or {})]
    assert sorted(each["prompt"] for each in ends) == [0, 1]
    assert {each["inference"] for each in ends} == {each.id for each in harness.inferences.all()}


@pytest.mark.parametrize("prompt", ["say a", ["say a", "say b"]])
async def test_echo_has_the_prompt_before_each_text(prompt: str | list[str]) -> None:
    async with open_api(parrots().answer) as api:
        whole = await api.openai.completions.create(model="helpdesk", prompt=prompt, echo=True, n=2)
        stream = await api.openai.completions.create(model="helpdesk", prompt=prompt, echo=True, n=2, stream=True)
        choices = [choice async for chunk in stream for choice in chunk.choices]

    said = [each.text for each in whole.choices]
    assert said == [f"say {word}{word}{n}" for word in ("a", "b")[: len(said) // 2] for n in range(2)]
    assert ["".join(each.text for each in choices if each.index == index) for index in range(len(said))] == said


async def test_of_more_answers_than_are_asked_for_the_likeliest_are_given_and_all_are_paid_for() -> None:
    harness = parrots()
    async with open_api(harness.answer) as api:
        whole = await completed(api, "say a", n=2, best_of=4)

    record = await harness.only_record()
    assert [(each["index"], each["text"], each["logprobs"]) for each in whole["choices"]] == [
        (0, "a3", None),
        (1, "a2", None),
    ]
    assert whole["usage"]["completion_tokens"] == 8
    assert [record.output[0].text, *(each.output[0].text for each in record.alternatives)] == ["a3", "a2"]


async def test_what_best_of_needs_and_no_model_can_do_is_refused_at_best_of() -> None:
    harness = parrots(Parrot(capabilities=frozenset(Capability) - {Capability.CANDIDATES, Capability.LOGPROBS}))
    async with open_api(harness.answer) as api:
        refused = await completed(api, "say a", best_of=2)

    assert (refused["status"], refused["error"]["param"], refused["error"]["code"]) == (
        400,
        "best_of",
        "capability_missing",
    )


async def test_asked_again_with_its_key_only_the_prompts_without_an_answer_are_answered() -> None:
    engine = Parrot(fails_once={"b"})
    harness = parrots(engine)
    async with open_api(harness.answer, max_concurrent_prompts=1) as api:
        failed = await completed(api, ["say a", "say b"], key="k")
        whole = await completed(api, ["say a", "say b"], key="k")
        again = await completed(api, ["say a", "say b"], key="k")
        other = await completed(api, ["say a", "say c"], key="k")

    assert (failed["status"], failed["error"]["code"]) == (503, "dependency_unavailable")
    assert [each["text"] for each in whole["choices"]] == ["a0", "b0"]
    assert again["id"] == whole["id"]
    assert [each.messages[-1].text for each in engine.seen] == ["say a", "say b", "say b"]
    assert (other["status"], other["error"]["code"]) == (400, "request_id_reused")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("record", [RecordMode.METADATA, RecordMode.NONE])
async def test_asked_again_with_its_key_a_prompt_whose_text_was_not_recorded_is_no_empty_text(
    record: RecordMode, *, stream: bool
) -> None:
    harness = parrots(Parrot(fails_once={"b"}), record=record)
    body = {"model": "helpdesk", "prompt": ["say a", "say b"], "stream": stream}
    async with open_api(harness.answer, max_concurrent_prompts=1) as api:
        await completed(api, ["say a", "say b"], key="k")
        again = await api.http.post("/v1/completions", json=body, headers={"Idempotency-Key": "k"})
        alone = [await completed(api, "say a", key="one") for _ in range(2)]
        other = await completed(api, ["say a", "say b"], key="another")

    error = json.loads(events_of(again)[-1])["error"] if stream and again.status_code < 400 else again.json()["error"]
    assert error["code"] == "answer_not_recorded"
    assert error["message"].startswith("prompt 0 was answered before by this Idempotency-Key")
    assert [each["choices"][0]["text"] for each in alone] == ["a0", ""]
    assert [each["text"] for each in other["choices"]] == ["a0", "b0"]


async def test_a_prompt_that_is_refused_is_named_by_its_place() -> None:
    async with open_api(parrots().answer) as api:
        refused = await completed(api, ["say a", " "])
        many = await completed(api, ["say a"] * 65)

    assert (refused["status"], refused["error"]["param"]) == (400, "prompt[1]")
    assert (many["status"], many["error"]["param"]) == (400, "prompt")
    assert "has 65; send at most 64, or have INFERENCE_QUESTION_MAX_PROMPTS raised" in many["error"]["message"]


def test_more_prompts_than_any_setting_allows_are_refused_before_any_is_a_question() -> None:
    body = json.dumps({"model": "helpdesk", "prompt": ["a"] * 1001}).encode()

    with pytest.raises(InvalidInput, match="prompt: has 1001 prompts; send at most 1000"):
        completion_request_of(body)


def test_what_prompts_have_in_common_is_digested_once_with_all_their_texts() -> None:
    copies = 0

    class Counted(str):
        """A text that counts how often it is copied."""

        __slots__ = ()

        def __deepcopy__(self, _memo: object) -> "Counted":
            nonlocal copies
            copies += 1
            return self

    def digests(*prompts: str, key: str = "k", **variables: object) -> list[str]:
        asked = [
            Question(deployment="d", messages=(Message.of(Role.USER, each),), variables=variables) for each in prompts
        ]
        return [each.digest for each in requests_of(key, asked)]

    first, *others = digests("a", "b", "c", product=Counted("x"))
    assert copies == 1
    assert others == [first] * 2
    different = [
        digests("a", "b", "d", product="x"),
        digests("a", "c", "b", product="x"),
        digests("ab", "", "c", product="x"),
        digests("a", "b", product="x"),
        digests("a", "b", "c", product="y"),
    ]
    assert len({first, *(each[0] for each in different)}) == 6
    assert digests("a", "b", key="") == ["", ""]


async def test_a_client_that_leaves_cancels_the_answers_to_all_its_prompts() -> None:
    engine = Parrot(waits={"a", "b"})
    engine.gate.clear()
    harness = parrots(engine)
    body = {"model": "helpdesk", "prompt": ["say a", "say b"], "stream": True}
    async with open_api(harness.answer) as api:
        async with api.http.stream("POST", "/v1/completions", json=body) as response:
            lines = response.aiter_lines()
            while engine.runs < 2:
                await anext(lines)
        await eventually(lambda: engine.stops == 2)

        async def cancelled() -> bool:
            return {each.state for each in harness.inferences.all()} == {State.CANCELLED}

        await eventually(cancelled)


async def test_an_error_in_the_middle_of_a_stream_is_its_last_event_and_ends_the_other_answers() -> None:
    engine = Parrot(waits={"a"}, fails_once={"b"})
    engine.gate.clear()
    harness = parrots(engine)
    body = {"model": "helpdesk", "prompt": ["say a", "say b"], "stream": True}
    async with open_api(harness.answer, max_concurrent_prompts=2) as api:
        response = await api.http.post("/v1/completions", json=body)

    *_, last = events_of(response)
    assert json.loads(last)["error"]["code"] == "dependency_unavailable"
    assert engine.stops == 2


async def test_each_prompt_is_a_request_of_its_budget() -> None:
    harness = BudgetHarness(budget(requests=3, tokens=5000), engine=Parrot())
    async with open_api(harness.answer, max_concurrent_prompts=1) as api:
        await completed(api, ["say a", "say b"])
        refused = await completed(api, ["say c", "say d"])

    assert isinstance(harness.ledger, InMemoryLedger)
    (stored,) = harness.ledger.stored
    state = harness.ledger.state_of(stored)
    assert (refused["status"], refused["error"]["type"]) == (429, "requests")
    assert (state.used["daily"], state.reserved) == ({Kind.REQUESTS: 3, Kind.TOKENS: 27}, {})


async def test_all_answers_that_best_of_has_made_are_reserved_and_charged() -> None:
    harness = BudgetHarness(budget(tokens=400), engine=Parrot())
    async with open_api(harness.answer) as api:
        refused = await completed(api, "say a", best_of=16)
        await completed(api, "say a", best_of=4)

    assert isinstance(harness.ledger, InMemoryLedger)
    (stored,) = harness.ledger.stored
    assert (refused["status"], refused["error"]["type"]) == (429, "tokens")
    assert harness.ledger.state_of(stored).used["daily"][Kind.TOKENS] == 7 + 4 * 2


async def test_what_is_recorded_of_prompts_without_text_is_no_text() -> None:
    harness = parrots(record=RecordMode.METADATA)
    async with open_api(harness.answer) as api:
        whole = await completed(api, ["say a", "say b"], echo=True)

    assert [each["text"] for each in whole["choices"]] == ["say aa0", "say bb0"]
    assert [(each.messages, each.output) for each in harness.inferences.all()] == [((), ())] * 2


async def test_streams_side_by_side_run_so_many_at_once_and_are_closed_with_their_reader() -> None:
    running, most, closed = 0, 0, list[int]()

    async def counts(number: int) -> AsyncGenerator[int, None]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            for each in range(3):
                await asyncio.sleep(0)
                yield each
        finally:
            running -= 1
            closed.append(number)

    found = [each async for each in side_by_side([counts(n) for n in range(5)], max_concurrent=2)]
    async with aclosing(side_by_side([counts(n) for n in range(5)], max_concurrent=2)) as left:
        await anext(left)

    assert sorted(found) == [(n, each) for n in range(5) for each in range(3)]
    assert (most, running, sorted(closed[:5])) == (2, 0, [0, 1, 2, 3, 4])


async def test_a_suffix_is_refused_with_the_reason() -> None:
    async with open_api(parrots().answer) as api:
        with pytest.raises(openai.BadRequestError, match="suffix: is not supported: a model is asked in turns"):
            await api.openai.completions.create(model="helpdesk", prompt="say a", suffix="end")
