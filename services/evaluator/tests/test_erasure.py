"""What evaluator stores is erased with its project."""

from pathlib import Path

import pytest

from tidemill_testkit.erasure import stored_by


async def test_what_evaluator_stores_is_erased_or_kept_for_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await stored_by("evaluator", tmp_path, monkeypatch)

    assert {"suites", "gates", "evaluations", "case_results"} <= stored.places
    assert stored.not_covered(kept={}) == set()
