"""What a service does in the background is done for one project after the other."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKERS = sorted(ROOT.glob("services/*/src/*/*/reconcile*.py"))


def test_there_are_modules_of_workers() -> None:
    assert len(WORKERS) > 5


@pytest.mark.parametrize("module", WORKERS, ids=lambda path: "/".join(path.parts[-3:]))
def test_places_of_workers_are_shared_among_projects(module: Path) -> None:
    assert "Semaphore(" not in module.read_text(), (
        "a semaphore serves in the order of arrival: use tidemill_kit.workers.fair_share"
    )
