"""The loop turns once, as this processor computes and as one without AVX-512 and bfloat16 would."""

import os
from pathlib import Path

import pytest

from tests.system.running import Platform, start
from tests.system.short_turn import turn
from tidemill_client.connection import Addresses
from tidemill_kit.models.numeric_format import computes_bfloat16
from tidemill_local import LocalStack

WEAKER = {"TIDEMILL_NUMERIC_FORMAT": "float32", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


@pytest.mark.timeout(400)
def test_corrections_become_a_model_that_answers_and_only_a_passed_gate_lets_it(turned: Platform) -> None:
    assert turned.tidemill("lineage", "model_version", "short_lora@1").code == 0


@pytest.fixture
def weaker(platform: Platform) -> Platform:
    """Give the platform restarted with services that compute in float32 with AVX2 alone; it stays so for the others."""
    if "TIDEMILL_TEST_PLATFORM" in os.environ:
        pytest.skip("the stack was started elsewhere: it is not restarted")
    if not computes_bfloat16():
        pytest.skip("this processor is a weaker one: the other test is the same")
    stack = LocalStack(platform.folder)
    stack.down()
    start(stack, **WEAKER)
    return Platform(platform.folder, Addresses.find(platform.folder.parent), platform.project)


@pytest.mark.timeout(600)
async def test_the_loop_turns_in_float32_with_avx2_alone(weaker: Platform, tmp_path: Path) -> None:
    await turn(weaker, tmp_path)
