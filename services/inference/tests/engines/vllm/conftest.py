"""Engines that run models in vLLM, which is a small server of the tests."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.inference.tests.engines.shop import Shop, a_shop
from services.inference.tests.engines.vllm.test_server import FAKE, WITHIN_S
from tidemill_inference.engines.vllm import options as vllm_options
from tidemill_inference.engines.vllm import server as servers
from tidemill_inference.engines.vllm.options import VllmOptions


@pytest.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    monkeypatch.setattr(servers, "POLL_S", 0.05)
    monkeypatch.setattr(servers, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(vllm_options, "PROCESS_BYTES", 0)
    made = a_shop(tmp_path)
    options = VllmOptions(
        folder=tmp_path / "vllm",
        numeric_format="float32",
        python=Path(sys.executable),
        command=(str(FAKE),),
        start_s=WITHIN_S,
        cache_tokens=1024,
    )
    made.reconfigure(vllm=options, engine="vllm")
    yield made
    await made.engines.stop()
