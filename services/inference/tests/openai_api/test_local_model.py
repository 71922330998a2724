"""OpenAI's client asks a real model of this process, a tiny one, for tools, JSON and more than one answer."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from services.inference.tests.engines.contract.models import write_models
from services.inference.tests.engines.shop import a_shop
from services.inference.tests.fakes import AnsweringHarness, helpdesk
from services.inference.tests.openai_api.apis import ApiClient, open_api
from tidemill_inference.engines.limits import EngineLimits

ASKED: Any = [{"role": "user", "content": "How is the weather?"}]
SCHEMA: Any = {
    "type": "object",
    "properties": {"sky": {"enum": ["blue", "grey"]}},
    "required": ["sky"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ApiClient]:
    base, _ = write_models(tmp_path / "models")
    shop = a_shop(tmp_path, limits=EngineLimits(cache_tokens=8192, batch=16))
    harness = AnsweringHarness(deployment=helpdesk(retrieval=None, allow_sampling_override=True))
    async with shop.engines.use("acme", await shop.stored("base", base.folder)) as engine:
        harness.engines.engines["smollm2"] = engine  # type: ignore[assignment] # a real one
        async with open_api(harness.answer) as api:
            yield api
    await shop.engines.stop()


async def test_a_local_model_calls_tools_answers_by_schemas_and_gives_several_answers(api: ApiClient) -> None:
    ask = api.openai.chat.completions.create
    one: Any = {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False}
    called = await ask(model="helpdesk", messages=ASKED, max_tokens=200, **one)
    form: Any = {"type": "json_schema", "json_schema": {"name": "sky", "schema": SCHEMA}}
    formed = await ask(model="helpdesk", messages=ASKED, response_format=form, max_tokens=200)
    several = await ask(
        model="helpdesk", messages=ASKED, n=2, logprobs=True, top_logprobs=2, temperature=1.0, seed=1, max_tokens=8
    )

    assert called.choices[0].message.tool_calls
    (call,) = called.choices[0].message.tool_calls
    assert call.type == "function"
    assert (call.function.name, called.choices[0].finish_reason) == ("look", "tool_calls")
    assert json.loads(call.function.arguments)["sky"] in {"blue", "grey"}
    assert json.loads(formed.choices[0].message.content or "")["sky"] in {"blue", "grey"}
    assert [each.index for each in several.choices] == [0, 1]
    for each in several.choices:
        assert each.logprobs is not None
        assert each.logprobs.content is not None
        assert all(len(token.top_logprobs) == 2 for token in each.logprobs.content)


async def test_a_bias_of_what_is_no_token_of_the_model_is_refused_with_its_id_and_the_limit(api: ApiClient) -> None:
    with pytest.raises(openai.BadRequestError, match=r"is no token of .*, whose vocabulary has 2") as refused:
        await api.openai.chat.completions.create(model="helpdesk", messages=ASKED, logit_bias={"400000": -100})

    assert refused.value.param == "logit_bias[400000]"
