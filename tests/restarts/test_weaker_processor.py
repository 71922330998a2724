"""The loop turns as on a processor without AVX-512 and bfloat16."""

import os
from pathlib import Path

import pytest

from tests.system.running import Platform
from tests.system.short_turn import turn
from tidemill_kit.models.numeric_format import computes_bfloat16


@pytest.mark.timeout(600)
async def test_the_loop_turns_in_float32_with_avx2_alone(platform: Platform, tmp_path: Path) -> None:
    if "TIDEMILL_TEST_PLATFORM" in os.environ:
        pytest.skip("the stack was started elsewhere: it computes as this processor does")
    if not computes_bfloat16():
        pytest.skip("this processor is a weaker one: the turn of tests/system is the same")
    await turn(platform, tmp_path)
