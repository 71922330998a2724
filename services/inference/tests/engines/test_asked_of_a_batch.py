"""What requests of one batch ask for beside text: each its own, at its own cost, and bounded."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from services.inference.tests.engines.contract.engine_contract import HELLO, ORDER, PIZZA, answer, answers, asking
from services.inference.tests.engines.contract.models import write_models
from services.inference.tests.engines.shop import Shop, a_shop, inner
from services.inference.tests.tiny_model import TOOL_TEMPLATE, write_tiny_model
from tidemill_core.errors import InvalidInput
from tidemill_inference.engines.grammars import GrammarRefused
from tidemill_inference.engines.limits import EngineLimits
from tidemill_inference.engines.ports import Capability, Engine
from tidemill_inference.engines.transformers import guides
from tidemill_inference.generation.domain.tools import OutputFormat, ToolChoice, ToolMode
from tidemill_testkit.polling import eventually

JSON = OutputFormat(schema_json=json.dumps(ORDER))
CALL = ToolChoice(mode=ToolMode.REQUIRED, single_call=True)
EXPLODING = {"type": "string", "pattern": "^(([a-z]{1,50}){1,50}){1,50}$"}
"""Is compiled at once, and takes too much as it is followed."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models"))[0].folder


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    made = a_shop(tmp_path, limits=EngineLimits(cache_tokens=2048, candidates=4))
    yield made
    await made.engines.stop()


@pytest.fixture
async def engine(shop: Shop, folder: Path) -> AsyncIterator[Engine]:
    async with shop.engines.use("acme", await shop.stored("base", folder)) as made:
        yield made


async def test_a_grammar_that_takes_too_much_ends_its_own_answer(engine: Engine) -> None:
    plain = asking(tokens=60)
    alone = await answer(engine, plain)

    exploding = answer(engine, asking(tokens=60, output=OutputFormat(schema_json=json.dumps(EXPLODING))))
    refused, other = await asyncio.gather(exploding, answer(engine, plain), return_exceptions=True)

    assert isinstance(refused, GrammarRefused)
    assert "too many expressions" in refused.message
    assert other == alone
    await eventually(lambda: not inner(engine)._manager.batch_processor.scheduler.active_requests)  # type: ignore[union-attr] # noqa: SLF001 - transformers tells it nowhere else


async def test_a_grammar_may_take_a_limited_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guides, "_BUDGET_S", 0.0)
    monkeypatch.setattr(guides, "_BUDGET_A_TOKEN_S", 1e-9)

    with pytest.raises(GrammarRefused, match="takes too long"):
        await answer(engine, asking(output=JSON))


async def test_more_candidates_than_the_operator_allows_are_refused(engine: Engine) -> None:
    with pytest.raises(InvalidInput, match="candidate_count: is 5; use 1 to 4 for base@1"):
        await answers(engine, asking(candidates=5))


async def test_a_bias_of_what_is_no_token_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidInput, match=r"logit_bias\[259\].*vocabulary has 259"):
        await answer(engine, asking(logit_bias={259: 1.0}))


async def test_what_is_asked_outlives_leaving_the_cache(shop: Shop, folder: Path) -> None:
    """Requests that do not fit together are begun again, from what they had said."""
    shop.reconfigure(limits=EngineLimits(cache_tokens=256))
    prompts = [
        asking(tokens=110, frequency_penalty=0.4, logprobs=True, temperature=0.7, seed=seed, logit_bias={258: -100.0})
        for seed in range(3)
    ]
    async with shop.engines.use("acme", await shop.stored("base", folder)) as engine:
        alone = [await answer(engine, each) for each in prompts]

        together = await asyncio.gather(*(answer(engine, each) for each in prompts))

        assert [each.text for each in together] == [each.text for each in alone]
        assert [len(each.logprobs) for each in together] == [110] * 3
        in_json = await asyncio.gather(*(answer(engine, asking(tokens=140, output=JSON)) for _ in prompts))
        for each in in_json:
            validate(json.loads(each.text), ORDER)


async def test_tags_of_calls_may_be_special_tokens(shop: Shop, tmp_path: Path) -> None:
    tags = ("<tool_call>", "</tool_call>")
    folder = write_tiny_model(tmp_path / "m", context=1024, ends=True, template=TOOL_TEMPLATE, special=tags)
    async with shop.engines.use("acme", await shop.stored("tagged", folder)) as engine:
        found = await answer(engine, asking(tokens=200, tools=(PIZZA,), tool_choice=CALL, logprobs=True))

        (call,) = found.calls
        assert found.finish is not None
        around = len('\n{"name": "pizza", "arguments": }\n') + len(tags)
        assert found.finish.output_tokens <= around + len(call.arguments)
        validate(json.loads(call.arguments), ORDER)
        assert (found.text, found.logprobs) == ("", [])


async def test_a_template_without_tools_lacks_them(shop: Shop) -> None:
    async with shop.engines.use("acme", await shop.model("plain")) as engine:
        assert engine.capabilities == frozenset(Capability) - {Capability.TOOLS}


async def test_an_answer_that_asks_for_nothing_has_no_rules(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[dict[str, object]] = []
    manager = inner(engine)._manager  # noqa: SLF001 - where requests go
    add = manager.add_request

    def recorded(*given: Any, **how: Any) -> str | None:  # noqa: ANN401 - as transformers has it
        added.append(how)
        return add(*given, **how)

    monkeypatch.setattr(manager, "add_request", recorded)

    await answer(engine, asking(HELLO))
    await answer(engine, asking(HELLO, logprobs=True))

    assert ["rules" in each for each in added] == [False, True]


async def test_grammars_of_one_project_do_not_keep_those_of_another_waiting(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, compiled = threading.Event(), guides.Vocabulary.guide

    def slow(vocabulary: guides.Vocabulary, grammar: str) -> guides.Guide:
        if "held" in grammar:
            held.wait(60)
        return compiled(vocabulary, grammar)

    monkeypatch.setattr(guides.Vocabulary, "guide", slow)
    asked = asking(tokens=2, output=OutputFormat(schema_json=json.dumps({**ORDER, "title": "held"})))
    model = await shop.stored("base", folder)
    async with shop.engines.use("acme", model) as mine, shop.engines.use("globex", model) as theirs:
        many = [asyncio.create_task(answer(mine, asked)) for _ in range(40)]
        try:
            await asyncio.sleep(0.1)
            done, _ = await asyncio.wait(
                {asyncio.create_task(answer(theirs, asking(tokens=2, output=JSON)))}, timeout=20
            )
        finally:
            held.set()
            await asyncio.gather(*many)
    assert done
