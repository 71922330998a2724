from datetime import timedelta

import pytest

from tidemill_kit.store.mongo import Database
from tidemill_kit.workers import pending
from tidemill_kit.workers.pending import PendingDocuments
from tidemill_testkit.clocks import NOON


@pytest.fixture
async def things(database: Database) -> PendingDocuments:
    documents = [
        {"_id": f"{project}/{number}", "project": project, "id": str(number), "state": {"state": state}}
        for project in ("acme", "other")
        for number, state in enumerate(["QUEUED", "DONE", "RUNNING"])
    ]
    await database["things"].insert_many(documents)
    found = PendingDocuments(database["things"], {"state.state": {"$in": ["QUEUED", "RUNNING"]}}, index="state.state")
    await found.ensure_indexes()
    return found


async def test_pending_documents_are_found_page_by_page(
    things: PendingDocuments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "_PAGE", 3)

    first = await things("", without=frozenset())
    second = await things(first.next_token, without=frozenset())

    assert [name.key for name in first.items] == ["acme/0", "acme/2", "other/0"]
    assert [name.key for name in second.items] == ["other/2"]
    assert second.next_token == ""


async def test_the_oldest_come_first_page_by_page(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "_PAGE", 2)
    created = {"c": 0, "b": 1, "d": 1, "a": 2}
    await database["runs"].insert_many(
        {"_id": f"acme/{name}", "project": "acme", "id": name, "create_time": NOON + timedelta(seconds=second), "s": 1}
        for name, second in created.items()
    )
    runs = PendingDocuments(database["runs"], {"s": 1}, index="s", oldest_first=True)
    await runs.ensure_indexes()

    first = await runs("", without=frozenset())
    second = await runs(first.next_token, without=frozenset())
    third = await runs(second.next_token, without=frozenset())

    assert [name.id for name in (*first.items, *second.items)] == ["c", "b", "d", "a"]
    assert (third.items, third.next_token) == ([], "")


async def test_projects_are_left_out_that_have_enough_to_do(things: PendingDocuments) -> None:
    page = await things("", without=frozenset({"acme"}))

    assert {name.project for name in page.items} == {"other"}
