"""What is known of files, in memory and in MongoDB alike; and which sources are due."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.ingest.tests.polling.origins import BUCKET, PolledObjectsHere
from tidemill_core.application import Request, ResourceKey
from tidemill_ingest.errors import SourceNotFound
from tidemill_ingest.polling import mongo
from tidemill_ingest.polling.domain.objects import PolledObject
from tidemill_ingest.polling.domain.origin import Polling
from tidemill_ingest.polling.domain.poll import PollCounts, PollState, SourcePoll
from tidemill_ingest.polling.mongo import POLLS, MongoPolledObjects, PollNotFound, SourcesToPoll
from tidemill_ingest.polling.ports import PolledObjects
from tidemill_ingest.sources.domain import Source
from tidemill_ingest.sources.mongo import SOURCES
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database
from tidemill_testkit.clocks import FixedClock

KEYS = ("a.md", "a/b.md", "z", "ü", "\ufb01", "\U0001f600")
"""In the order of their characters, which is not that of UTF-16."""


@pytest.fixture(params=["memory", "mongodb"])
def objects(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PolledObjects:
    monkeypatch.setattr(mongo, "_PAGE", 2)
    if request.param == "memory":
        return PolledObjectsHere()
    database: Database = request.getfixturevalue("database")
    return MongoPolledObjects(database["polled_objects"])


def known(key: str) -> PolledObject:
    return PolledObject(key=key, version="v1", rules="r", refused="EMPTY_DOCUMENT", attempts=2)


async def everything(objects: PolledObjects, source: str = "wiki") -> list[PolledObject]:
    found, after = list[PolledObject](), ""
    while page := await objects.page("acme", source, after=after):
        found += page
        after = page[-1].key
    return found


async def test_files_come_in_pages_by_their_keys_and_of_one_source_alone(objects: PolledObjects) -> None:
    await objects.put("acme", "wiki", [known(key) for key in reversed(KEYS)])
    await objects.put("acme", "wiki2", [known("other.md")])
    await objects.put("acme-2", "wiki", [known("other.md")])

    assert await everything(objects) == [known(key) for key in KEYS]


async def test_a_file_is_stored_over_what_was_known_of_it(objects: PolledObjects) -> None:
    newer = replace(known("a.md"), version="v2", refused="", attempts=0)
    await objects.put("acme", "wiki", [known("a.md")])
    await objects.put("acme", "wiki", [newer])
    await objects.put("acme", "wiki", [])

    assert await everything(objects) == [newer]


async def test_files_are_removed_one_by_one_and_all_together(objects: PolledObjects) -> None:
    await objects.put("acme", "wiki", [known(key) for key in KEYS])
    await objects.put("acme", "wiki2", [known("a.md")])

    await objects.remove("acme", "wiki", ["a.md", "none.md"])
    assert [each.key for each in await everything(objects)] == list(KEYS[1:])
    await objects.remove_all("acme", "wiki")

    assert await everything(objects) == []
    assert await everything(objects, "wiki2") == [known("a.md")]


async def test_sources_are_found_that_are_due_or_whose_declaration_changed(database: Database) -> None:
    clock = FixedClock()
    sources = MongoAggregates(database["sources"], codec=SOURCES, topic="", source="t", missing=SourceNotFound)
    polls = MongoAggregates(database["source_polls"], codec=POLLS, topic="", source="t", missing=PollNotFound)
    pending = SourcesToPoll(database["sources"], database["source_polls"], clock.now)
    await pending.ensure_indexes()
    polling = Polling(s3=BUCKET)
    await sources.add(
        Source(id="new", project="acme", polling=polling, polling_changed=True), request=Request.internal()
    )
    await sources.add(Source(id="sent", project="acme"), request=Request.internal())
    for name, due in (("due", -1), ("later", 1)):
        poll = SourcePoll(id=name, project="acme", due_at=clock.now() + timedelta(seconds=due))
        await polls.add(poll, request=Request.internal())

    found, token = list[ResourceKey](), ""
    while True:
        page = await pending(token, without=frozenset())
        found += page.items
        if not (token := page.next_token):
            break

    assert [each.id for each in found] == ["new", "due"]


async def test_a_poll_is_stored_as_it_is(database: Database) -> None:
    polls = MongoAggregates(database["source_polls"], codec=POLLS, topic="", source="t", missing=PollNotFound)
    poll = SourcePoll(
        id="wiki",
        project="acme",
        state=PollState.FAILING,
        reason="ACCESS_DENIED",
        number=7,
        last=PollCounts(found=3),
        under_way=PollCounts(changed=1),
    )

    saved = await polls.add(poll, request=Request.internal())

    assert await polls.get("acme", "wiki") == saved
    assert (saved.state, saved.under_way) == (PollState.FAILING, PollCounts(changed=1))
