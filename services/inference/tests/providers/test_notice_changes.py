"""A provider that answers as another model is noticed, once for each change, and not more often than is allowed."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

import pytest

from tidemill_core.application import Request
from tidemill_core.errors import DependencyUnavailable, NotFound
from tidemill_inference.engines.ports import ProviderIdentity
from tidemill_inference.providers.domain.remote_model import MAX_KNOWN, RemoteModelHasChanged, RemoteModelRecord
from tidemill_inference.providers.mongo import REMOTE_MODELS
from tidemill_inference.providers.notice_changes import NoticeProviderChanges
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.polling import eventually
from tidemill_testkit.stores import InMemoryAggregates

HOUR = timedelta(hours=1)


def named(fingerprint: str, *, model: str = "gpt-4o-2024-08-06") -> ProviderIdentity:
    return ProviderIdentity(provider_model=model, system_fingerprint=fingerprint)


class Store(InMemoryAggregates[RemoteModelRecord]):
    """Raises while it is `away`, or for models that are `refused`; where `goes_on` is set, a save waits for it."""

    away: DependencyUnavailable | None = None
    refused: Mapping[str, DependencyUnavailable] = {}
    goes_on: asyncio.Event | None = None

    async def upsert(
        self, fresh: RemoteModelRecord, change: Callable[[RemoteModelRecord], None], *, request: Request
    ) -> RemoteModelRecord:
        if self.away:
            raise self.away
        if self.goes_on:
            await self.goes_on.wait()
        if fresh.id in self.refused:
            raise self.refused[fresh.id]
        return await super().upsert(fresh, change, request=request)


class Noticing:
    """Replicas that share one store."""

    def __init__(self) -> None:
        self.clock = FixedClock()
        self.deleted: set[str] = set()
        self.store = Store(codec=REMOTE_MODELS, missing=NotFound, clock=self.clock)
        self.notice = self.replica()

    def replica(self) -> NoticeProviderChanges:
        return NoticeProviderChanges(
            models=self.store,
            clock=self.clock,
            min_interval=HOUR,
            deleted=lambda project: project in self.deleted,
            retry_s=0.0,
        )

    async def answers(self, *fingerprints: str, model: str = "gpt@1") -> None:
        for each in fingerprints:
            self.notice("acme", model, named(each))
            await self.notice.record()

    @property
    def changes(self) -> Sequence[tuple[str, str]]:
        found = [each for each in self.store.published if isinstance(each, RemoteModelHasChanged)]
        return [(each.previous.system_fingerprint, each.identity.system_fingerprint) for each in found]


async def test_the_first_identity_is_recorded_and_no_change() -> None:
    noticing = Noticing()
    await noticing.answers("fp_1", "fp_1")

    record = await noticing.store.get("acme", "gpt@1")
    assert (record.known, record.version, noticing.changes) == ((named("fp_1"),), 1, [])


async def test_another_identity_is_a_change_and_the_same_one_again_is_none() -> None:
    noticing = Noticing()
    await noticing.answers("fp_1", "fp_2", "fp_2", "fp_1")

    assert noticing.changes == [("fp_1", "fp_2")]


async def test_another_model_behind_the_same_fingerprint_is_a_change() -> None:
    noticing = Noticing()
    await noticing.answers("fp_1")
    noticing.notice("acme", "gpt@1", named("fp_1", model="gpt-4o-2024-11-20"))
    await noticing.notice.record()

    assert len(noticing.changes) == 1


async def test_each_version_and_project_has_identities_of_its_own() -> None:
    noticing = Noticing()
    await noticing.answers("fp_1")
    await noticing.answers("fp_2", model="gpt@2")
    noticing.notice("globex", "gpt@1", named("fp_2"))
    await noticing.notice.record()

    assert noticing.changes == []


async def test_one_that_names_another_each_time_changes_once_in_an_interval_and_asks_the_store_no_more() -> None:
    noticing = Noticing()
    await noticing.answers(*(f"fp_{number}" for number in range(50)))
    assert noticing.changes == [("fp_0", "fp_1")]
    assert (await noticing.store.get("acme", "gpt@1")).version == 2

    noticing.store.away = DependencyUnavailable("asked", dependency="mongodb")
    await noticing.answers("fp_60")
    noticing.store.away = None
    noticing.clock.advance(HOUR)
    await noticing.answers("fp_61", "fp_62")

    assert noticing.changes == [("fp_0", "fp_1"), ("fp_1", "fp_61")]


async def test_a_change_that_comes_too_soon_and_lasts_is_recorded_later() -> None:
    noticing = Noticing()
    await noticing.answers("fp_1", "fp_2", "fp_3")
    noticing.clock.advance(HOUR)
    await noticing.answers("fp_3")

    assert noticing.changes == [("fp_1", "fp_2"), ("fp_2", "fp_3")]


async def test_replicas_record_a_change_once() -> None:
    noticing = Noticing()
    await noticing.answers("fp_1", "fp_2")
    noticing.notice = noticing.replica()
    await noticing.answers("fp_2", "fp_1")

    assert noticing.changes == [("fp_1", "fp_2")]


async def test_a_process_that_dies_before_it_recorded_a_change_notices_it_with_the_next_answer() -> None:
    noticing = Noticing()
    await noticing.answers("fp_1")
    noticing.notice("acme", "gpt@1", named("fp_2"))
    noticing.notice = noticing.replica()
    await noticing.answers("fp_2")

    assert noticing.changes == [("fp_1", "fp_2")]


async def test_what_a_store_that_is_away_misses_is_recorded_once_it_is_back() -> None:
    noticing = Noticing()
    await noticing.answers("fp_1")
    noticing.store.away = DependencyUnavailable("is away", dependency="mongodb")
    noticing.notice("acme", "gpt@1", named("fp_2"))
    with pytest.raises(DependencyUnavailable):
        await noticing.notice.record()

    running = asyncio.create_task(noticing.notice.run())
    await asyncio.sleep(0)
    noticing.store.away = None

    async def changed() -> bool:
        return bool(noticing.changes)

    await eventually(changed)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert noticing.changes == [("fp_1", "fp_2")]


async def test_of_many_identities_the_latest_are_known() -> None:
    record = RemoteModelRecord(id="gpt@1", project="acme")
    for number in range(MAX_KNOWN + 5):
        record.answered_as(named(f"fp_{number}"), now=NOON + number * HOUR, min_interval=HOUR)

    assert [each.system_fingerprint for each in record.known] == [f"fp_{number}" for number in range(5, MAX_KNOWN + 5)]
    assert len(record.pending) == MAX_KNOWN + 4


async def test_a_deleted_project_is_forgotten() -> None:
    noticing = Noticing()
    await noticing.answers("fp_1")
    noticing.notice("globex", "gpt@1", named("fp_1"))

    assert noticing.notice.projects == {"acme", "globex"}
    assert (await noticing.notice.forget("globex"), await noticing.notice.forget("acme")) == (1, 1)
    assert noticing.notice.projects == set()


async def test_a_project_that_is_forgotten_while_another_one_is_recorded_holds_up_nothing() -> None:
    noticing = Noticing()
    noticing.store.goes_on = asyncio.Event()
    for project in ("acme", "globex", "initech"):
        noticing.notice(project, "gpt@1", named("fp_1"))
    recording = asyncio.create_task(noticing.notice.record())
    await asyncio.sleep(0)

    await noticing.notice.forget("globex")
    noticing.store.goes_on.set()
    await recording

    assert [each.project for each in noticing.store.all()] == ["acme", "initech"]


async def test_what_is_forgotten_while_it_is_recorded_is_not_in_memory_afterwards() -> None:
    noticing = Noticing()
    noticing.store.goes_on = asyncio.Event()
    noticing.notice("acme", "gpt@1", named("fp_1"))
    recording = asyncio.create_task(noticing.notice.record())
    await asyncio.sleep(0)

    await noticing.notice.forget("acme")
    noticing.store.goes_on.set()
    await recording

    assert noticing.notice.projects == set()


async def test_of_a_deleted_project_nothing_is_recorded() -> None:
    noticing = Noticing()
    noticing.deleted.add("acme")
    await noticing.answers("fp_1")

    assert (noticing.store.all(), noticing.notice.projects) == ([], set())


async def test_a_model_that_cannot_be_recorded_holds_up_no_other_one() -> None:
    noticing = Noticing()
    noticing.store.refused = {"gpt@1": DependencyUnavailable("100 events wait", dependency="kafka")}
    noticing.notice("acme", "gpt@1", named("fp_1"))
    noticing.notice("globex", "gpt@2", named("fp_1"))
    with pytest.raises(DependencyUnavailable, match="100 events wait"):
        await noticing.notice.record()

    noticing.store.refused = {}
    await noticing.notice.record()
    assert [each.project for each in noticing.store.all()] == ["globex", "acme"]
