"""Where profiles are stored: in memory and in MongoDB, by the same rules."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from services.ingest.tests.fakes import ACME, Ingest, submitted
from services.ingest.tests.profiled import NewVersionsHere, OutcomesHere, SketchesHere
from services.ingest.tests.stores import documents_in
from tidemill_core.application import Request
from tidemill_ingest.profiles.domain.period import Period
from tidemill_ingest.profiles.domain.versions import NewVersion, Outcome
from tidemill_ingest.profiles.mongo import MongoNewVersions, MongoOutcomes, MongoSketches, versions_due
from tidemill_ingest.profiles.ports import NewVersions, Sketches
from tidemill_ingest.quality.policy import Quality
from tidemill_ingest.quality.traits import Traits
from tidemill_ingest.sources.domain import Source
from tidemill_kit.store.mongo import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = NOON.date()
VERSION = NewVersion(
    document="d1",
    text="t1",
    source="cms",
    stored_at=NOON,
    traits=Traits(characters=300, words=50, language="en", readability=41.5, digest=2**64 - 1),
    media_type="text/plain",
    channel="kafka",
    masked={"email": 2},
    fields=("title", "metadata.a.b"),
)


def named(name: str, *, source: str = "cms", at: datetime = NOON) -> NewVersion:
    return replace(VERSION, document=name, source=source, stored_at=at)


@pytest.fixture(params=["memory", "mongo"])
def stores(request: pytest.FixtureRequest) -> Callable[[], tuple[NewVersions, Sketches]]:
    if request.param == "memory":
        return lambda: (NewVersionsHere(), SketchesHere())
    database: Database = request.getfixturevalue("database")
    return lambda: (MongoNewVersions(database["profile_versions"]), MongoSketches(database["profile_days"]))


async def test_versions_are_due_by_source_and_time_until_they_are_removed(
    stores: Callable[[], tuple[NewVersions, Sketches]],
) -> None:
    versions, _ = stores()
    late = named("d2", at=NOON + timedelta(seconds=1))
    for each in (late, VERSION, named("d3", source="wiki"), replace(VERSION, channel="grpc")):
        await versions.add("acme", each)
    await versions.add("globex", named("d4"))

    assert await versions.due("acme", "cms", now=NOON) == [VERSION]
    assert await versions.due("acme", "cms", now=late.stored_at) == [VERSION, late]
    await versions.postpone("acme", [VERSION, named("gone")], due=NOON + timedelta(seconds=2))
    assert await versions.due("acme", "cms", now=late.stored_at) == [late]
    await versions.remove("acme", [late, named("gone")])
    assert await versions.due("acme", "cms", now=NOON + timedelta(hours=1)) == [VERSION]


async def test_a_sketch_is_saved_in_place_of_the_one_that_was_read_only(
    stores: Callable[[], tuple[NewVersions, Sketches]],
) -> None:
    _, sketches = stores()
    one, other = await sketches.get("acme", "cms", DAY), await sketches.get("acme", "cms", DAY)
    one.sketch.add(VERSION, Outcome(saved_at=NOON, withheld=("TEXT_TOO_SHORT",), exact=False))
    one.counted = frozenset({VERSION.name})

    assert await sketches.save("acme", "cms", DAY, one)
    assert not await sketches.save("acme", "cms", DAY, other)
    found = await sketches.get("acme", "cms", DAY)
    assert (found.version, found.counted, found.sketch.count) == (1, frozenset({VERSION.name}), 1)
    assert found.sketch.categories == one.sketch.categories
    assert found.sketch.numbers["characters"].quantiles() == one.sketch.numbers["characters"].quantiles()
    assert round(found.sketch.texts.estimate) == 1
    found.sketch.merge(one.sketch)
    assert await sketches.save("acme", "cms", DAY, found)
    assert not await sketches.save("acme", "cms", DAY, one)
    await sketches.finish("acme", "cms", DAY, version=1)
    assert (await sketches.get("acme", "cms", DAY)).counted
    await sketches.finish("acme", "cms", DAY, version=2)
    assert not (await sketches.get("acme", "cms", DAY)).counted


async def test_days_are_read_by_period_and_removed_before_a_day(
    stores: Callable[[], tuple[NewVersions, Sketches]],
) -> None:
    _, sketches = stores()
    days = [DAY + timedelta(days=number) for number in range(4)]
    for source in ("cms", "cms-2"):
        for day in days:
            assert await sketches.save("acme", source, day, await sketches.get("acme", source, day))

    async def read(source: str, first: date, last: date) -> list[date]:
        of_period = await sketches.of_period("acme", source, Period(first=first, last=last))
        return [day for day, _ in of_period()]

    assert await read("cms", days[1], days[2]) == days[1:3]
    await sketches.remove_before("acme", "cms", days[2])
    assert await read("cms", days[0], days[3]) == days[2:]
    assert await read("cms-2", days[0], days[3]) == days
    assert await read("other", days[0], days[3]) == []


async def test_the_outcome_of_a_version_is_read_from_its_document(database: Database) -> None:
    ingest = await Ingest().with_source(Source(id="cms", project="acme", quality=Quality(min_characters=40)))
    document = await ingest.accept(ACME, submitted("Too short."))
    await documents_in(database).add(document, request=Request.internal())
    name = f"{document.id}/{document.versions[0].text_name}"

    in_memory = await OutcomesHere(ingest.documents).of("acme", [document.id])
    stored = await MongoOutcomes(database["documents"]).of("acme", [document.id, "unknown"])

    assert stored == in_memory
    assert stored[name].withheld == ("TEXT_TOO_SHORT",)


async def test_sources_with_due_versions_are_found(database: Database) -> None:
    versions = MongoNewVersions(database["profile_versions"])
    await versions.ensure_indexes()
    await versions.add("acme", VERSION)
    await versions.add("acme", named("d2", source="wiki", at=NOON + timedelta(hours=1)))
    pending = versions_due(database["profile_versions"], lambda: NOON)
    await pending.ensure_indexes()

    found = await pending("", without=frozenset())

    assert [(each.project, each.id) for each in found.items] == [("acme", "cms")]
