"""When keys were last used is recorded and shown."""

from datetime import timedelta

import pytest

from services.monitor.tests.access.harness import ADA, EVE, OWNER, Access, write
from tidemill_core.application import PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_kit.store.mongo import Database
from tidemill_monitor.access.mongo import MongoKeyUses
from tidemill_testkit.clocks import NOON

MINUTE = timedelta(minutes=1)


async def test_a_key_shows_its_last_use_however_the_reports_arrive() -> None:
    access = Access()
    await access.with_project()
    await access.with_account()
    key = (await access.with_key()).overview.key
    assert (await access.keys.get(ADA, "laptop")).last_use_time is None

    for ago in (2 * MINUTE, MINUTE, 3 * MINUTE):
        await access.record_use(ADA, {key.credential: access.clock.now() - ago})
    await access.record_use(EVE, {key.credential: access.clock.now()})

    (listed,) = (await access.keys.list(ADA, PageRequest())).items
    assert listed.last_use_time == access.clock.now() - MINUTE, "the latest, and none of another project"


async def test_a_clock_that_is_ahead_does_not_date_a_use_later_than_now() -> None:
    access = Access()

    await access.record_use(ADA, {"the-key": access.clock.now() + MINUTE})

    assert await access.uses.last("acme", ["the-key"]) == {"the-key": access.clock.now()}


async def test_what_is_reported_of_a_deleted_project_is_not_recorded() -> None:
    access = Access()
    await access.with_project()
    await access.projects.delete(OWNER, "acme", write())

    await access.record_use(ADA, {"the-key": NOON})

    assert await access.uses.last("acme", ["the-key"]) == {}


@pytest.mark.parametrize("uses", [{f"k{n}": NOON for n in range(1001)}, {"a b": NOON}, {"": NOON}])
async def test_what_no_service_reports_is_refused(uses: dict[str, object]) -> None:
    access = Access()

    with pytest.raises(InvalidInput, match="uses"):
        await access.record_use(ADA, uses)  # type: ignore[arg-type]


async def test_uses_are_stored_by_project_and_the_latest_counts(database: Database) -> None:
    uses = MongoKeyUses(database["key_uses"])
    await uses.ensure_indexes()

    for ago in (MINUTE, timedelta(), 2 * MINUTE):
        await uses.record("acme", {"a": NOON - ago, "b.c$d": NOON - ago - MINUTE})

    assert await uses.last("acme", ["a", "b.c$d", "c"]) == {"a": NOON, "b.c$d": NOON - MINUTE}
    assert await uses.last("globex", ["a"]) == {}
