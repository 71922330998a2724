"""Everything that ingest stores is erased with its project, or stays for a reason."""

from pathlib import Path

import pytest

from tidemill_testkit.erasure import stored_by

KEPT = {
    "sweep": "one cursor of the sweep and its lease, which every run moves on",
    "bucket:feedback_exchange_bucket": "of feedback, which erases it",
    "bucket:trainer_bucket": "of trainer, which erases it",
}


async def test_what_ingest_stores_is_erased_or_kept_for_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await stored_by("ingest", tmp_path, monkeypatch)

    assert stored.not_covered(kept=KEPT) == set()
    assert {"documents", "bucket:quarantine_bucket", "bucket:datasets_bucket"} <= stored.places
