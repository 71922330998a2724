from dataclasses import dataclass

import pytest

from tidemill_kit.store.mongo import Database
from tidemill_kit.workers import pending
from tidemill_kit.workers.pending import PendingDocuments


@dataclass(frozen=True)
class Name:
    project: str
    thing: str

    @property
    def key(self) -> str:
        return f"{self.project}/{self.thing}"


@pytest.fixture
async def things(database: Database) -> PendingDocuments[Name]:
    documents = [
        {"_id": f"{project}/{number}", "project": project, "id": str(number), "state": {"state": state}}
        for project in ("acme", "other")
        for number, state in enumerate(["QUEUED", "DONE", "RUNNING"])
    ]
    await database["things"].insert_many(documents)
    found = PendingDocuments(
        database["things"], {"state.state": {"$in": ["QUEUED", "RUNNING"]}}, index="state.state", key=Name
    )
    await found.ensure_indexes()
    return found


async def test_pending_documents_are_found_page_by_page(
    things: PendingDocuments[Name], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "_PAGE", 3)

    first = await things("", without=frozenset())
    second = await things(first.next_token, without=frozenset())

    assert [name.key for name in first.items] == ["acme/0", "acme/2", "other/0"]
    assert [name.key for name in second.items] == ["other/2"]
    assert second.next_token == ""


async def test_projects_are_left_out_that_have_enough_to_do(things: PendingDocuments[Name]) -> None:
    page = await things("", without=frozenset({"acme"}))

    assert {name.project for name in page.items} == {"other"}
