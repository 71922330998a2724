"""The loop turns once as this processor computes.

As a weaker one: `make verify`, and services that train and answer, in their `tests/process`.
"""

import pytest

from tests.system.running import Platform


@pytest.mark.timeout(600)
def test_corrections_become_a_model_that_answers_and_only_a_passed_gate_lets_it(turned: Platform) -> None:
    assert turned.tidemill("lineage", "model_version", "short_lora@1").code == 0
