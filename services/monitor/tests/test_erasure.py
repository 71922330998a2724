"""Nothing that monitor stores of a project is forgotten by its erasure."""

from pathlib import Path

import pytest

from tidemill_testkit.erasure import stored_by

KEPT = {
    "audit_heads": "audit records stay",
    "audit_records": "audit records stay",
    "bucket:audit_bucket": "anchors of audit records stay",
    "bucket:certificate_bucket": "certificates stay",
    "bucket:feedback_bucket": "feedback's, which erases it",
    "counts": "numbers of nodes of all projects, which the step of the lineage lowers",
    "erasure_requests": "erasures stay, with the digests of their subjects",
    "holds": "a step removes whom and what released ones were about, and none is active then",
    "installation": "of all projects",
    "leases": "of periodic work on all projects",
    "projects": "a step removes the members and names; the id is never given again",
}


async def test_what_monitor_stores_is_erased_or_kept_for_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await stored_by("monitor", tmp_path, monkeypatch)

    assert stored.not_covered(kept=KEPT) == set()
