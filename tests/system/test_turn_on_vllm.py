"""The loop turns on the real vLLM, base and candidate in one engine; run by `make verify`, or with TIDEMILL_VLLM=1."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.system.running import Platform, running_stack
from tests.system.short_turn import turn
from tidemill_client.connection import Addresses
from tidemill_testkit.stack import unique_name

HIDDEN = 128
"""With four heads the least that vLLM takes on a processor."""


@pytest.mark.skipif(os.environ.get("TIDEMILL_VLLM") != "1", reason="TIDEMILL_VLLM is not 1")
@pytest.mark.timeout(1800)
def test_corrections_become_an_adapter_that_answers_in_the_engine_of_its_base(tmp_path: Path) -> None:
    with running_stack(INFERENCE_ENGINE="vllm") as folder:
        platform = Platform(folder, Addresses.find(folder.parent), unique_name("system"))
        turned = asyncio.run(turn(platform, tmp_path, hidden=HIDDEN, engine="vllm"))
        assert turned.tidemill("lineage", "model_version", "short_lora@1").code == 0
