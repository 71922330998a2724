"""The server behind engines that run models in vLLM, and its end."""

import os
import signal

from services.inference.tests.engines.shop import Shop
from services.inference.tests.engines.vllm.test_server import WITHIN_S
from tidemill_inference.engines.vllm.base import VllmBase
from tidemill_testkit.polling import eventually


def base_of(shop: Shop) -> VllmBase:
    (weights,) = shop.memory.weights
    assert isinstance(weights.loaded, VllmBase)
    return weights.loaded


def pid_of(shop: Shop) -> int:
    process = base_of(shop).server.process
    assert process is not None
    return process.pid


async def crash(shop: Shop) -> None:
    pid, server = pid_of(shop), base_of(shop).server
    os.killpg(pid, signal.SIGKILL)
    await eventually(lambda: not server.up or pid_of(shop) != pid, within_s=WITHIN_S)
