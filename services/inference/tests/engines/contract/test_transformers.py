"""The contract of engines, kept by transformers' continuous batching."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.inference.tests.engines.contract.bare_model import BareModel
from services.inference.tests.engines.contract.engine_contract import EngineContract, Served
from services.inference.tests.engines.contract.models import write_models
from services.inference.tests.engines.shop import Shop, a_shop, inner
from tidemill_inference.engines.limits import EngineLimits
from tidemill_inference.engines.ports import Engine


def running_in(engine: Engine) -> int:
    """Return how many requests are in an engine's batch."""
    processor = inner(engine)._manager.batch_processor  # noqa: SLF001 - transformers tells it nowhere else
    return len(processor.scheduler.active_requests) if processor else 0


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
    async with shop.engines.use("acme", await shop.stored("base", models[0].folder)) as engine:
        yield Served(engine=engine, bare=models[0], running=lambda: running_in(engine))


@pytest.fixture
async def adapted(shop: Shop, models: tuple[BareModel, BareModel]) -> AsyncIterator[Served]:
    base = await shop.stored("base", models[0].folder)
    assert models[1].adapter is not None
    adapter = replace(await shop.stored("adapter", models[1].adapter), base=base)
    async with shop.engines.use("acme", adapter) as engine:
        yield Served(engine=engine, bare=models[1], running=lambda: running_in(engine))


class TestTransformers(EngineContract):
    """All of it."""
