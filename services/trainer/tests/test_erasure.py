"""What trainer stores is erased with its project."""

from pathlib import Path

import pytest

from tidemill_testkit.erasure import stored_by


async def test_what_trainer_stores_is_erased_or_kept_for_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await stored_by("trainer", tmp_path, monkeypatch)

    assert {"training_plans", "training_runs", "models", "model_versions"} <= stored.places
    assert stored.not_covered(kept={}) == set()
