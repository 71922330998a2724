"""The OpenAI-compatible door with the real use case behind it."""

import asyncio
import json

import pytest

from services.inference.tests.entrypoints.doors import BODY, open_door
from services.inference.tests.fakes import Desk, ScriptedEngine, helpdesk
from tidemill_inference.domain.deployment import Sampling
from tidemill_inference.domain.inference import State
from tidemill_testkit.polling import eventually


async def test_a_stream_is_the_whole_answer_in_pieces() -> None:
    desk = Desk()
    async with open_door(desk.answer) as door:
        whole = (await door.ask()).json()
        stream = await door.openai.chat.completions.create(
            model="helpdesk", messages=[{"role": "user", "content": "What does os.walk do?"}], stream=True
        )
        chunks = [chunk async for chunk in stream]

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == desk.engine.says
    assert whole["choices"][0]["message"]["content"] == desk.engine.says
    assert (chunks[-1].model_extra or {})["tidemill"]["citations"] == whole["tidemill"]["citations"] != []
    assert whole["tidemill"]["passages"][0]["text"] == desk.rag.passages[0].text


async def test_a_client_that_leaves_in_the_middle_of_a_stream_cancels_the_generation() -> None:
    desk = Desk(ScriptedEngine(free_words=1))
    desk.engine.gate.clear()
    async with open_door(desk.answer) as door:
        async with door.http.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as response:
            async for line in response.aiter_lines():
                if "os.walk" in line:
                    break
        await eventually(lambda: desk.engine.stops == 1)

        async def cancelled() -> bool:
            return (await desk.only_record()).state is State.CANCELLED

        await eventually(cancelled)


async def test_two_with_one_key_share_an_answer_that_goes_on_when_one_leaves() -> None:
    desk = Desk()
    desk.engine.gate.clear()
    key = {"Idempotency-Key": "k-1"}
    async with open_door(desk.answer) as door:
        leaves = asyncio.create_task(door.ask(headers=key))
        stays = asyncio.create_task(door.ask(headers=key, stream=True))
        await eventually(lambda: desk.engine.runs == 1)
        leaves.cancel()
        desk.engine.gate.set()
        heard = (await stays).text
        again = (await door.ask(headers=key)).json()

    assert heard.endswith("data: [DONE]\n\n")
    assert again["choices"][0]["message"]["content"] == desk.engine.says
    assert json.loads(heard.split("\n\n")[0].removeprefix("data: "))["id"] == again["id"]
    assert desk.engine.runs == 1


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
    desk = Desk(deployment=helpdesk(sampling=Sampling(temperature=0.0, max_output_tokens=64)))
    async with open_door(desk.answer) as door:
        response = (await door.http.post("/v1/chat/completions", json={**BODY, **asked})).json()

    assert desk.engine.seen[0][1] == taken
    why = f"{note} as deployment helpdesk has it: it does not set allow_sampling_override"
    assert response["tidemill"]["warnings"] == ([why] if note else [])


async def test_an_unknown_model_is_refused_with_those_that_exist() -> None:
    async with open_door(Desk().answer) as door:
        unknown = await door.ask(model="nobody")

    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert "helpdesk" in unknown.json()["error"]["message"]
