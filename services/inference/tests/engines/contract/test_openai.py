"""The contract of engines, kept by the openai engine: its endpoint is this service's own HTTP API over a real model."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from services.inference.tests.engines.contract.bare_model import BareModel
from services.inference.tests.engines.contract.engine_contract import EngineContract, Served
from services.inference.tests.engines.contract.models import write_models
from services.inference.tests.engines.contract.test_transformers import running_in
from services.inference.tests.engines.openai_engines import here
from services.inference.tests.engines.shop import Shop, a_shop
from services.inference.tests.fakes import AnsweringHarness, helpdesk
from services.inference.tests.openai_api.apis import open_api, shop_key
from tidemill_inference.engines.limits import EngineLimits
from tidemill_inference.engines.openai import OpenAiEngine
from tidemill_inference.engines.ports import ModelVersion, RemoteModel
from tidemill_inference.prompts.domain.prompt import PromptContent

_JUST_THE_QUESTION = PromptContent(system="", user="{{ question }}")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[BareModel, BareModel]:
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    made = a_shop(tmp_path, limits=EngineLimits(cache_tokens=8192, batch=16))
    yield made
    await made.engines.stop()


@pytest.fixture
async def served(shop: Shop, models: tuple[BareModel, BareModel]) -> AsyncIterator[Served]:
    async with _served(shop, await shop.stored("base", models[0].folder), models[0]) as found:
        yield found


@pytest.fixture
async def adapted(shop: Shop, models: tuple[BareModel, BareModel]) -> AsyncIterator[Served]:
    base = await shop.stored("base", models[0].folder)
    assert models[1].adapter is not None
    adapter = replace(await shop.stored("adapter", models[1].adapter), base=base)
    async with _served(shop, adapter, models[1]) as found:
        yield found


class TestOpenAi(EngineContract):
    """All of it."""


@asynccontextmanager
async def _served(shop: Shop, model: ModelVersion, bare: BareModel) -> AsyncIterator[Served]:
    deployment = helpdesk(retrieval=None, allow_sampling_override=True)
    harness = AnsweringHarness(deployment=deployment, prompt=_JUST_THE_QUESTION, passages=())
    options: dict[str, Any] = {"max_body_bytes": 1 << 20}
    async with shop.engines.use("acme", model) as engine, open_api(harness.answer, **options) as api:
        harness.engines.engines["smollm2"] = engine  # type: ignore[assignment] # a real one in place of a script
        remote = OpenAiEngine(
            RemoteModel(model="helpdesk", base_url=str(api.openai.base_url)),
            key=SecretStr(shop_key()),
            addresses=here(),
            stall_s=60.0,
            frank=True,
        )
        yield Served(engine=remote, bare=bare, running=lambda: running_in(engine))
        await remote.close()
