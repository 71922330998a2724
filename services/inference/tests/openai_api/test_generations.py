"""The OpenAI-compatible API with the real use case behind it."""

import asyncio
import json

import pytest

from services.inference.tests.fakes import AnsweringHarness, ScriptedEngine, helpdesk
from services.inference.tests.openai_api.apis import BODY, open_api
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.generation.domain.inference import State
from tidemill_testkit.polling import eventually


async def test_a_stream_is_the_whole_answer_in_pieces() -> None:
    harness = AnsweringHarness()
    async with open_api(harness.answer) as api:
        whole = (await api.ask()).json()
        stream = await api.openai.chat.completions.create(
            model="helpdesk", messages=[{"role": "user", "content": "What does os.walk do?"}], stream=True
        )
        chunks = [chunk async for chunk in stream]

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == harness.engine.says
    assert whole["choices"][0]["message"]["content"] == harness.engine.says
    assert (chunks[-1].model_extra or {})["tidemill"]["citations"] == whole["tidemill"]["citations"] != []
    assert whole["tidemill"]["passages"][0]["text"] == harness.rag.passages[0].text


async def test_a_client_that_leaves_in_the_middle_of_a_stream_cancels_the_generation() -> None:
    harness = AnsweringHarness(ScriptedEngine(free_words=1))
    harness.engine.gate.clear()
    async with open_api(harness.answer) as api:
        async with api.http.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as response:
            async for line in response.aiter_lines():
                if "os.walk" in line:
                    break
        await eventually(lambda: harness.engine.stops == 1)

        async def cancelled() -> bool:
            return (await harness.only_record()).state is State.CANCELLED

        await eventually(cancelled)


async def test_two_with_one_key_share_an_answer_that_goes_on_when_one_leaves() -> None:
    harness = AnsweringHarness()
    harness.engine.gate.clear()
    key = {"Idempotency-Key": "k-1"}
    async with open_api(harness.answer) as api:
        leaves = asyncio.create_task(api.ask(headers=key))
        stays = asyncio.create_task(api.ask(headers=key, stream=True))
        await eventually(lambda: harness.engine.runs == 1)
        leaves.cancel()
        harness.engine.gate.set()
        received = (await stays).text
        again = (await api.ask(headers=key)).json()

    assert received.endswith("data: [DONE]\n\n")
    assert again["choices"][0]["message"]["content"] == harness.engine.says
    assert json.loads(received.split("\n\n")[0].removeprefix("data: "))["id"] == again["id"]
    assert harness.engine.runs == 1


@pytest.mark.parametrize(
    ("asked", "taken", "note"),
    [
        ({"temperature": 0.0, "max_tokens": 64}, Sampling(temperature=0.0, max_output_tokens=64), ""),
        ({"max_tokens": 5}, Sampling(temperature=0.0, max_output_tokens=5), ""),
        ({"max_completion_tokens": 500}, Sampling(temperature=0.0, max_output_tokens=64), "max_output_tokens"),
        ({"temperature": 0.1, "top_p": 0.9}, Sampling(temperature=0.0, max_output_tokens=64), "temperature, top_p"),
    ],
)
async def test_sampling_that_a_client_always_sends_does_not_override_the_deployments_own(
    asked: dict[str, object], taken: Sampling, note: str
) -> None:
    harness = AnsweringHarness(deployment=helpdesk(sampling=Sampling(temperature=0.0, max_output_tokens=64)))
    async with open_api(harness.answer) as api:
        response = (await api.http.post("/v1/chat/completions", json={**BODY, **asked})).json()

    assert harness.engine.seen[0].sampling == taken
    why = f"{note} as deployment helpdesk has it: it does not set allow_sampling_override"
    assert response["tidemill"]["warnings"] == ([why] if note else [])


async def test_an_unknown_model_is_refused_with_those_that_exist() -> None:
    async with open_api(AnsweringHarness().answer) as api:
        unknown = await api.ask(model="absent")

    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert "helpdesk" in unknown.json()["error"]["message"]
