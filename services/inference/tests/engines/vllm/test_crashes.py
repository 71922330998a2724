"""What a failed answer says of its model, where vLLM ends while it serves several.

vLLM is a small server of the tests.
"""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Sequence

import pytest

from services.inference.tests.engines.shop import Shop
from services.inference.tests.engines.vllm.fake_vllm import BREAKS_OFF, DIES_WITHIN
from services.inference.tests.engines.vllm.served import base_of, crash, pid_of
from services.inference.tests.engines.vllm.test_server import WITHIN_S
from tidemill_core.errors import Blame, DependencyUnavailable
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.ports import Generated, ModelVersion, Prompt
from tidemill_inference.engines.vllm import server as servers
from tidemill_inference.errors import ServerEnded
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_testkit.polling import eventually


async def failed(
    shop: Shop, model: ModelVersion, *, seed: int | None = None, tokens: int = 400
) -> DependencyUnavailable:
    """Ask, and return the failure."""
    sampling = Sampling(temperature=0.0, max_output_tokens=tokens, seed=seed)
    prompt = Prompt(messages=(Message.of(Role.USER, "Hi"),), sampling=sampling)
    async with shop.engines.use("acme", model) as engine:
        try:
            await drained(engine.generate(prompt, timeout_s=WITHIN_S))
        except DependencyUnavailable as error:
            return error
    raise AssertionError


async def drained(pieces: AsyncGenerator[Generated, None]) -> None:
    async for _ in pieces:
        pass


async def killed_while_asked(shop: Shop, *models: ModelVersion) -> list[DependencyUnavailable]:
    asked = [asyncio.create_task(failed(shop, each)) for each in models]

    async def running() -> bool:
        return (await base_of(shop).server.client().gauges())["num_requests_running"] == len(models)

    await eventually(running, within_s=WITHIN_S)
    os.killpg(pid_of(shop), signal.SIGKILL)
    return await asyncio.gather(*asked)


def ends_of(failures: Sequence[DependencyUnavailable], *, base: ModelVersion) -> set[str]:
    """Return the starts that ended, each while it answered for this base."""
    assert all(isinstance(each, ServerEnded) and each.base == base.digest for each in failures)
    return {each.incarnation for each in failures if isinstance(each, ServerEnded)}


async def test_the_end_of_a_server_is_the_same_one_for_all_that_it_answered_for(shop: Shop) -> None:
    base = await shop.model("base")
    adapter = await shop.adapter("a", base)
    await shop.said(adapter, "Hi", tokens=1)

    first = ends_of(await killed_while_asked(shop, base, adapter), base=base)
    server = base_of(shop).server
    await eventually(lambda: server.up and server.incarnation not in first, within_s=WITHIN_S)
    second = ends_of(await killed_while_asked(shop, adapter), base=base)

    assert len(first) == len(second) == len(first | second) - 1 == 1
    assert "" not in first | second


async def test_that_it_is_still_down_names_no_start(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_FIRST_PAUSE_S", 600.0)
    base = await shop.model("base")
    await shop.said(base, "Hi", tokens=1)

    await crash(shop)

    assert ends_of([await failed(shop, base)], base=base) == {""}


async def test_an_answer_that_breaks_off_while_its_server_goes_on_is_its_models_failure(shop: Shop) -> None:
    base = await shop.model("base")
    adapter = await shop.adapter("a", base)

    error = await failed(shop, adapter, seed=BREAKS_OFF)
    assert not isinstance(error, ServerEnded)
    assert error.blame is Blame.VARIANT
    assert await shop.said(base, "Hi", tokens=2)


async def test_a_server_whose_computing_process_has_died_is_as_one_that_has_ended(shop: Shop) -> None:
    base = await shop.model("base")
    adapter = await shop.adapter("a", base)

    assert all(ends_of([await failed(shop, adapter, seed=DIES_WITHIN)], base=base))
