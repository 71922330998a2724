"""Datasets on MongoDB and S3 themselves."""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import pytest

from services.ingest.tests.conftest import NewBucket
from services.ingest.tests.datasets.examples import batch_of, examples, lines, numbered, offer_of
from services.ingest.tests.datasets.fakes import NAME, Datasets
from services.ingest.tests.fakes import ACME, ProjectsHere
from services.ingest.tests.stores import datasets_in
from tidemill_core.application import PageRequest, Request, ResourceKey, SystemClock
from tidemill_core.errors import NotFound
from tidemill_ingest.datasets.domain.dataset import Dataset, DatasetState
from tidemill_ingest.datasets.domain.split import Split
from tidemill_ingest.datasets.domain.version import ExampleBatchOffer
from tidemill_ingest.datasets.mongo import (
    DATASETS,
    MongoGroups,
    datasets_with_offers,
)
from tidemill_ingest.datasets.objects import DatasetParts, FeedbackBatches
from tidemill_ingest.datasets.publish_versions import PublishVersions
from tidemill_ingest.datasets.read_versions import ReadVersions
from tidemill_ingest.datasets.readers import Readers
from tidemill_ingest.errors import BatchUnusable
from tidemill_ingest.limits import Limits
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Database, encoded
from tidemill_kit.store.objects import ObjectStore
from tidemill_kit.workers.leases import Leases


@dataclass(frozen=True, kw_only=True)
class Buckets:
    store: ObjectStore
    datasets: str
    feedback: str


@pytest.fixture
async def buckets(object_store: ObjectStore, new_bucket: NewBucket) -> Buckets:
    return Buckets(store=object_store, datasets=await new_bucket("datasets"), feedback=await new_bucket("feedback"))


def offered(dataset: Dataset, *, offer: ExampleBatchOffer) -> None:
    dataset.offer(offer, at_most=9)


async def lived() -> Dataset:
    """Return a dataset with everything in its state that there can be."""
    datasets = await Datasets().declared()
    await datasets.turned(numbered(20))
    await datasets.turned(numbered(20), seq=2)
    await datasets.offered(numbered(30), seq=3)
    dataset = await datasets.dataset()
    dataset.last_seq_by_curation["a curation.with dots"] = 7
    dataset.deleted_at = datasets.clock.now()
    return dataset


async def test_a_dataset_is_read_as_it_was_saved_and_lists_filter_it(database: Database) -> None:
    stored = datasets_in(database)
    await stored.ensure_indexes()
    dataset = await lived()

    saved = await stored.add(replace(dataset, version=0, seq=0, create_time=None), request=Request.internal())
    found = await stored.get("acme", dataset.id)
    active = await stored.list("acme", page=PageRequest(), where={"state": "active"})
    deleted = await stored.list("acme", page=PageRequest(), where={"state": "deleted"})

    assert found == saved
    assert (found.versions, found.offers, found.last_withheld) == (
        dataset.versions,
        dataset.offers,
        dataset.last_withheld,
    )
    assert (found.last_seq_by_curation, found.held_out_debt, found.epoch) == (
        dataset.last_seq_by_curation,
        dataset.held_out_debt,
        dataset.epoch,
    )
    assert [each.id for each in active.items] == [dataset.id]
    assert not deleted.items


async def test_the_stored_form_of_a_dataset_is_stable() -> None:
    dataset, codec = await lived(), DATASETS
    names = ("id", "project", "labels", "version", "seq", "create_time", "update_time", "deleted")
    identity = Identity(**{name: getattr(dataset, name) for name in names})

    again = codec.decode(identity, codec.encode(dataset), codec.schema)

    assert encoded(codec.encode(again)) == encoded(codec.encode(dataset))


async def test_workers_find_the_datasets_to_which_something_is_offered(database: Database) -> None:
    stored = datasets_in(database)
    pending = datasets_with_offers(database["datasets"])
    await pending.ensure_indexes()
    for dataset_id in ("idle", "busy"):
        dataset = Dataset(id=dataset_id, project="acme", state=DatasetState.ACTIVE)
        await stored.add(dataset, request=Request.internal())
    offer = offer_of(batch_of(b"", count=0))
    await stored.update("acme", "busy", lambda each: each.offer(offer, at_most=1), request=Request.internal())

    assert (await pending("", without=frozenset())).items == [ResourceKey(project="acme", id="busy")]


async def test_parts_and_assignments_are_found_by_their_references_until_they_are_deleted(buckets: Buckets) -> None:
    parts = DatasetParts(buckets.store, buckets.datasets)
    written = b'{"held_out": ["c"], "owed": -100000, "train": ["a", "b"]}'
    other = ResourceKey(project="globex", id="x")

    ref = await parts.put_part(NAME, lines(numbered(3)))
    same = await parts.put_part(NAME, lines(numbered(3)))
    assigned = await parts.put_part(NAME, written)
    await parts.put_part(other, b"")

    assert ref == same
    assert ref.key == f"acme/helpdesk_sft/{ref.sha256}"
    assert await parts.lines(ref) == lines(numbered(3))
    assert await parts.examples(ref) == examples(numbered(3))
    assert await parts.split(assigned) == Split(train=frozenset("ab"), held_out=frozenset("c"), held_out_debt=-100_000)
    assert (await parts.pending("", without=frozenset())).items == [NAME, other]
    assert [each.key for each in await parts.of_dataset(NAME)] == sorted([ref.key, assigned.key])
    await parts.delete([ref.key, "acme/helpdesk_sft/never-there"])
    with pytest.raises(NotFound):
        await parts.lines(ref)


async def test_a_batch_is_read_and_verified(buckets: Buckets) -> None:
    batches = FeedbackBatches(buckets.store, buckets.feedback, limits=Limits())
    data = lines(numbered(3))
    batch = batch_of(data, count=3, bucket=buckets.feedback)
    batches.check("acme", batch)

    with pytest.raises(BatchUnusable) as gone:
        await batches.read(batch)
    await buckets.store.put(buckets.feedback, batch.object.key, data, media_type="application/jsonl")
    assert await batches.read(batch) == examples(numbered(3))
    await buckets.store.put(buckets.feedback, batch.object.key, data + b"\n", media_type="application/jsonl")
    with pytest.raises(BatchUnusable) as damaged:
        await batches.read(batch)

    assert (gone.value.reason, damaged.value.reason) == ("BATCH_GONE", "BATCH_DAMAGED")


async def test_two_workers_at_once_make_one_version_and_one_event_of_each_offer(
    database: Database, buckets: Buckets
) -> None:
    stored, clock = datasets_in(database), SystemClock()
    batches = FeedbackBatches(buckets.store, buckets.feedback, limits=Limits())
    parts = DatasetParts(buckets.store, buckets.datasets)
    dataset = Dataset(id=NAME.id, project=NAME.project, state=DatasetState.ACTIVE)
    await stored.add(dataset, request=Request.internal())
    for seq in (1, 2):
        data = lines(numbered(20 * seq))
        offer = offer_of(batch_of(data, count=20 * seq, bucket=buckets.feedback), seq=seq)
        await buckets.store.put(buckets.feedback, offer.batch.object.key, data, media_type="application/jsonl")
        await stored.update("acme", NAME.id, partial(offered, offer=offer), request=Request.internal())
    publish = PublishVersions(
        datasets=stored,
        batches=batches,
        masking=Datasets().ingest.preparation,
        parts=parts,
        groups=MongoGroups(database["groups"]),
        erasures=Datasets().publishing.erasures,
        labels=Datasets().labels,
        queues=Datasets().queues,
        minimum=Datasets().minimum,
        common_from=5,
        kept_versions=9,
        clock=clock,
        projects=ProjectsHere(),
    )

    async def work(owner: str) -> bool:
        leases = Leases(database["leases"], owner=owner, ttl=timedelta(seconds=30), clock=clock)
        async with leases.held(NAME.key) as lease:
            return lease is not None and await publish(NAME, epoch=lease.epoch) is None

    done = await asyncio.gather(work("us"), work("them"))

    reading = ReadVersions(
        datasets=stored, parts=parts, limits=Limits(), restricted=Readers(documents=Datasets().ingest.documents)
    )
    found = await database["datasets"].find_one({})
    assert sorted(done) == [False, True]
    assert [each.number for each in (await reading.versions(ACME, NAME.id, PageRequest())).items] == [1, 2]
    assert found is not None
    assert [entry["type"].rsplit(".", 2)[1] for entry in found["outbox"]] == ["version_published"] * 2
    assert len((await reading.part(ACME, "helpdesk_sft@2", "held_out")).splitlines()) == 12
