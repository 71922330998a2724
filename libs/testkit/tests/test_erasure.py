"""What a service stores is found by building it."""

from pathlib import Path

import pytest

from tidemill_testkit.erasure import Stored, stored_by

STORED = Stored(places=frozenset({"documents", "bucket:texts", "cache"}), covered=frozenset({"documents"}))


async def test_collections_buckets_and_folders_of_a_service_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await stored_by("rag", tmp_path, monkeypatch)

    assert {"collections", "ledger", "folder:data_dir", "bucket:ingest_bucket", "index_leases"} <= stored.places
    assert "index_leases" in stored.covered
    assert not stored.places & {"audit", "erasures", "erasure_leases"}


@pytest.mark.parametrize(
    ("kept", "not_covered"),
    [
        ({}, {"bucket:texts", "cache"}),
        ({"cache": "no data of a project"}, {"bucket:texts"}),
        ({"cache": "no data of a project", "bucket:texts": "of another service"}, set()),
        ({"cache": "no data of a project", "bucket:texts": ""}, {"bucket:texts"}),
        ({"cache": "a", "bucket:texts": "b", "documents": "c"}, {"documents"}),
        ({"cache": "a", "bucket:texts": "b", "gone": "c"}, {"gone"}),
    ],
)
def test_what_no_step_covers_is_kept_for_a_reason_or_returned(kept: dict[str, str], not_covered: set[str]) -> None:
    assert STORED.not_covered(kept=kept) == not_covered
