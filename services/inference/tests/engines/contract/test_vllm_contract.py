"""The contract of engines, kept by the real vLLM; run by `make verify`, or by TIDEMILL_VLLM=1 where it is installed."""

import os
import re
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from services.inference.tests.engines.contract.bare_model import BareModel
from services.inference.tests.engines.contract.engine_contract import EngineContract, Served
from services.inference.tests.engines.contract.models import write_models
from services.inference.tests.engines.shop import Shop, a_shop
from tidemill_inference.engines.limits import EngineLimits
from tidemill_inference.engines.ports import ModelVersion
from tidemill_inference.engines.vllm.base import VllmBase
from tidemill_inference.engines.vllm.options import VllmOptions

PYTHON = Path(__file__).parents[3] / "engines" / "vllm" / ".venv" / "bin" / "python"
HEAD_SIZE = 32
"""The smallest of vLLM on a processor."""
PIECE = 128
"""Tokens of prompts that a step computes: the contract has longer prompts."""
pytestmark = [
    pytest.mark.skipif(os.environ.get("TIDEMILL_VLLM") != "1", reason="TIDEMILL_VLLM is not 1"),
    pytest.mark.timeout(1800),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[BareModel, BareModel]:
    return write_models(tmp_path_factory.mktemp("models"), head_size=HEAD_SIZE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    folder = tmp_path_factory.mktemp("vllm")
    limits = EngineLimits(cache_tokens=8192, batch=16)
    made = a_shop(folder, memory_bytes=1 << 33, limits=limits)
    options = VllmOptions(
        folder=folder / "vllm",
        numeric_format="float32",
        python=PYTHON,
        limits=limits,
        adapter_rank=8,
        arguments=("--max-num-batched-tokens", str(PIECE)),
    )
    made.reconfigure(engine="vllm", vllm=options)
    yield made
    await made.engines.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def base(shop: Shop, models: tuple[BareModel, BareModel]) -> AsyncIterator[ModelVersion]:
    stored = await shop.stored("base", models[0].folder)
    async with shop.engines.use("acme", stored):
        yield stored


@asynccontextmanager
async def _served(shop: Shop, model: ModelVersion, bare: BareModel) -> AsyncIterator[Served]:
    async with shop.engines.use("acme", model) as engine:
        yield Served(engine=engine, bare=bare, running=lambda: _running(shop))


@pytest_asyncio.fixture(loop_scope="module")
async def served(shop: Shop, base: ModelVersion, models: tuple[BareModel, BareModel]) -> AsyncIterator[Served]:
    async with _served(shop, base, models[0]) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def adapted(shop: Shop, base: ModelVersion, models: tuple[BareModel, BareModel]) -> AsyncIterator[Served]:
    assert models[1].adapter is not None
    adapter = replace(await shop.stored("adapter", models[1].adapter), base=base)
    async with _served(shop, adapter, models[1]) as found:
        yield found


@pytest.mark.asyncio(loop_scope="module")
class TestVllm(EngineContract):
    """All of it."""


def _running(shop: Shop) -> int:
    (base,) = (weights.loaded for weights in shop.memory.weights)
    assert isinstance(base, VllmBase)
    assert base.server.process is not None
    with urllib.request.urlopen(f"http://127.0.0.1:{base.server.process.port}/metrics", timeout=60) as answered:
        found = re.findall(r"^vllm:num_requests_running\{[^}]*\} (\S+)", answered.read().decode(), re.MULTILINE)
    return int(sum(map(float, found)))
