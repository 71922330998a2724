"""What is erased of a deleted project, and what each process forgets of it."""

import asyncio
from pathlib import Path

import pytest

from tidemill_inference.erasure import forget_deleted
from tidemill_kit.erasure.steps import NotYet
from tidemill_testkit.erasure import stored_by
from tidemill_testkit.polling import eventually


async def test_everything_that_is_stored_is_erased_with_its_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await stored_by("inference", tmp_path, monkeypatch)

    kept = {"bucket:model_bucket": "the trainer's, who erases it", "bucket:dataset_bucket": "ingest's, ditto"}
    assert stored.not_covered(kept=kept) == set()


class Memory:
    """Implements `erasure.InMemory`."""

    def __init__(self, *projects: str, busy: int = 0) -> None:
        self.projects, self.busy = set(projects), busy

    async def forget(self, project: str) -> int:
        if self.busy:
            self.busy -= 1
            message = "in use"
            raise NotYet(message)
        self.projects.discard(project)
        return 1


async def test_a_process_forgets_deleted_projects_also_those_that_were_in_use_at_first() -> None:
    deleted, memory, busy = set[str](), Memory("acme", "globex"), Memory("acme", busy=2)
    forgetting = asyncio.create_task(
        forget_deleted([busy, memory], deleted=lambda project: project in deleted, every_s=0.01)
    )

    await asyncio.sleep(0.05)
    assert memory.projects == {"acme", "globex"}
    deleted.add("acme")
    await eventually(lambda: memory.projects == {"globex"} and not busy.projects)
    forgetting.cancel()
    await asyncio.wait([forgetting])
