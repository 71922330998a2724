"""Declaring, reading, offering, and sweeping."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.ingest.tests.datasets.examples import FEEDBACK, batch_of, ids_in, lines, message, numbered, offer_of
from services.ingest.tests.datasets.fakes import DATASETS, NAME, Datasets
from services.ingest.tests.fakes import ACME
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, PageRequest, Request, ResourceKey
from tidemill_core.errors import Conflict, InvalidInput
from tidemill_core.resources import Write
from tidemill_ingest.datasets.domain.dataset import Dataset
from tidemill_ingest.datasets.domain.events import DatasetVersionWithheld
from tidemill_ingest.datasets.domain.version import Batch
from tidemill_ingest.datasets.objects import DatasetParts, FeedbackBatches
from tidemill_ingest.errors import (
    DatasetExists,
    DatasetNotFound,
    DatasetVersionNotFound,
    DifferenceTooLarge,
    TooManyOffers,
)
from tidemill_ingest.limits import Limits
from tidemill_testkit.objects import InMemoryObjects

GLOBEX = Caller(project="globex")
LATER = timedelta(days=2)


def desired(*, share: float = 0.3, group_by: str = "question", dataset_id: str = NAME.id) -> Dataset:
    return Dataset(id=dataset_id, project="acme", held_out_share=share, group_by=group_by)


def write(request_id: str = "", *, etag: str = "", validate_only: bool = False) -> Write:
    return Write(request=Request.of(request_id, b""), etag=etag, validate_only=validate_only)


async def test_a_dataset_is_created_once_and_its_id_is_taken_then() -> None:
    datasets = Datasets()

    created = await datasets.managing.create(ACME, desired(), write("r1"))
    again = await datasets.managing.create(ACME, desired(), write("r1"))

    assert created == again == await datasets.dataset()
    with pytest.raises(DatasetExists):
        await datasets.managing.create(ACME, desired(), write("r2"))
    with pytest.raises(DatasetExists):
        await datasets.managing.create(ACME, desired(), write(validate_only=True))
    with pytest.raises(DatasetNotFound):
        await datasets.managing.get(GLOBEX, NAME.id)


@pytest.mark.parametrize(
    ("dataset", "field"),
    [
        (desired(share=0.91), "dataset.held_out_share"),
        (desired(share=-0.1), "dataset.held_out_share"),
        (desired(share=float("nan")), "dataset.held_out_share"),
        (desired(group_by="answer"), "dataset.group_by"),
        (desired(dataset_id="No Slug"), "dataset.id"),
        (replace(desired(), labels={"": "x"}), "dataset.labels[]"),
    ],
)
async def test_a_dataset_that_breaks_a_rule_is_refused_by_the_field(dataset: Dataset, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await Datasets().managing.create(ACME, dataset, write())

    assert [violation.field for violation in refused.value.violations] == [field]


async def test_a_changed_share_moves_no_group_and_counts_for_new_groups() -> None:
    datasets = await Datasets().declared()
    await datasets.turned(numbered(100))
    before = ids_in(await datasets.reading.part(ACME, "helpdesk_sft@1", "held_out"))
    etag = str((await datasets.dataset()).version)
    given, fields = desired(share=0.5), frozenset({"held_out_share"})

    await datasets.managing.update(ACME, given, fields, write(etag=etag, validate_only=True))
    assert (await datasets.dataset()).held_out_share == 0.3
    await datasets.managing.update(ACME, given, fields, write(etag=etag))
    await datasets.turned(numbered(200), seq=2)

    after = ids_in(await datasets.reading.part(ACME, "helpdesk_sft@2", "held_out"))
    assert set(before) < set(after)
    assert (len(before), len(after)) == (30, 80)
    with pytest.raises(Conflict) as refusal:
        await datasets.managing.update(ACME, given, fields, write(etag=etag))
    assert refusal.value.reason == "DATASET_CHANGED"


async def test_a_deleted_dataset_is_gone_but_its_versions_stay_readable_for_a_day() -> None:
    datasets = await Datasets().declared()
    await datasets.turned(numbered(20))
    await datasets.deleted()

    with pytest.raises(DatasetNotFound):
        await datasets.dataset()
    assert not (await datasets.managing.list(ACME, PageRequest())).items
    assert (await datasets.newest()).number == 1
    assert await datasets.sweep() == 0
    assert await datasets.reading.part(ACME, "helpdesk_sft@1", "train")

    datasets.clock.advance(LATER)
    assert await datasets.sweep() == 2
    assert await datasets.sweep() == 0
    with pytest.raises(DatasetVersionNotFound):
        await datasets.newest()


async def test_a_dataset_that_is_created_again_goes_on_with_its_numbers_and_groups() -> None:
    datasets = await Datasets().declared()
    await datasets.turned(numbered(100))
    before = ids_in(await datasets.reading.part(ACME, "helpdesk_sft@1", "held_out"))
    await datasets.deleted()
    datasets.clock.advance(LATER)
    await datasets.sweep()

    await datasets.declared(share=0.9)
    await datasets.turned(numbered(100), seq=2)

    assert (await datasets.newest()).id == "helpdesk_sft@2"
    assert ids_in(await datasets.reading.part(ACME, "helpdesk_sft@2", "held_out")) == before


async def test_deleting_checks_the_etag_and_can_be_tried_out() -> None:
    datasets = await Datasets().declared()

    with pytest.raises(Conflict) as refusal:
        await datasets.managing.delete(ACME, NAME.id, write(etag="77"))
    assert refusal.value.reason == "DATASET_CHANGED"
    await datasets.managing.delete(ACME, NAME.id, write(etag="1", validate_only=True))
    assert (await datasets.dataset()).id == NAME.id
    with pytest.raises(DatasetNotFound):
        await datasets.managing.delete(GLOBEX, NAME.id, write())


async def test_versions_are_named_by_number_or_by_their_dataset_and_listed_in_pages() -> None:
    datasets = await Datasets().declared()
    for seq in range(1, 4):
        await datasets.turned(numbered(10 + seq), seq=seq)

    first = await datasets.reading.versions(ACME, NAME.id, PageRequest(size=2))
    rest = await datasets.reading.versions(ACME, NAME.id, PageRequest(size=2, token=first.next_token))

    assert [each.number for each in (*first.items, *rest.items)] == [1, 2, 3]
    assert (first.next_token, rest.next_token) == ("2", "")
    assert (await datasets.newest()).number == 3
    assert (await datasets.reading.version(ACME, "helpdesk_sft@2")).number == 2
    for unknown in ("helpdesk_sft@4", "helpdesk_sft@", "helpdesk_sft@01", "helpdesk_sft@x"):
        with pytest.raises(DatasetVersionNotFound, match="known are 1 to 3"):
            await datasets.reading.version(ACME, unknown)
    with pytest.raises(DatasetNotFound):
        await datasets.reading.version(GLOBEX, "helpdesk_sft@1")
    with pytest.raises(InvalidInput):
        await datasets.reading.versions(ACME, NAME.id, PageRequest(token="x"))  # noqa: S106 - of a page


async def test_a_difference_reports_which_examples_came_went_and_changed() -> None:
    datasets = await Datasets().declared()
    base = [*numbered(20), message("Changing?", "Old answer", name="changing")]
    target = [*numbered(20, start=2), message("Changing?", "New answer", name="changing")]
    await datasets.turned(base)
    await datasets.turned(target, seq=2)

    difference = await datasets.reading.difference(ACME, "helpdesk_sft@1", "helpdesk_sft@2")

    assert difference.added == sorted(each.id for each in numbered(2, start=20))
    assert difference.removed == sorted(each.id for each in numbered(2))
    assert difference.changed == [base[-1].id]
    assert difference.moved == []


async def test_versions_that_are_too_large_or_of_two_datasets_are_not_compared() -> None:
    datasets = await Datasets(limits=Limits(compared_examples=30)).declared()
    await datasets.turned(numbered(20))
    await datasets.managing.create(ACME, desired(dataset_id="other"), write())

    with pytest.raises(DifferenceTooLarge, match="40 examples, and 30"):
        await datasets.reading.difference(ACME, "helpdesk_sft@1", "helpdesk_sft@1")
    with pytest.raises(DatasetVersionNotFound):
        await datasets.reading.difference(ACME, "helpdesk_sft@1", "other")


async def test_an_offer_enqueues_work_and_waits_in_order() -> None:
    datasets = await Datasets().declared()
    await datasets.offered(numbered(20), seq=1)
    await datasets.offered(numbered(30), seq=2)
    await datasets.offered(numbered(20), seq=1)

    assert datasets.enqueued == 3
    assert [offer.curation_seq for offer in (await datasets.dataset()).offers] == [1, 2]
    await datasets.publish(NAME)
    assert (await datasets.newest()).number == 2


async def test_an_older_offer_that_comes_late_changes_nothing() -> None:
    datasets = await Datasets().declared()
    await datasets.turned(numbered(30), seq=2)

    dataset = await datasets.turned(numbered(20), seq=1)

    assert dataset.version_count == 1


async def test_more_offers_than_may_wait_are_sent_back() -> None:
    datasets = await Datasets(limits=Limits(waiting_offers=2)).declared()
    for seq in (1, 2):
        await datasets.offered(numbered(seq), seq=seq)

    with pytest.raises(TooManyOffers):
        await datasets.offered(numbered(3), seq=3)


def elsewhere(batch: Batch, **changed: object) -> Batch:
    names = {"bucket", "key", "size", "sha256"}
    ref = {name: getattr(batch.object, name) for name in names} | {k: v for k, v in changed.items() if k in names}
    return Batch(object=ObjectRef(**ref), examples=int(str(changed.get("examples", batch.examples))))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"bucket": "tidemill-ingest-quarantine"}, "batch.bucket"),
        ({"key": f"globex/x/{batch_of(b'', count=0).object.sha256}"}, "batch.key"),
        ({"key": "acme/../globex/secret"}, "batch.key"),
        ({"size": 1001}, "batch.size"),
        ({"examples": 11}, "batch.examples"),
    ],
)
async def test_a_batch_that_is_elsewhere_or_too_large_is_refused_at_the_api(
    changed: dict[str, object], field: str
) -> None:
    datasets = await Datasets(limits=Limits(batch_bytes=1000, batch_examples=10)).declared()
    offer = offer_of(elsewhere(batch_of(b"", count=0), **changed))

    with pytest.raises(InvalidInput) as refused:
        await datasets.offering(ACME, NAME.id, offer, request=Request.internal())

    assert [violation.field for violation in refused.value.violations] == [field]
    dataset = await datasets.dataset()
    assert dataset.offers == ()
    assert dataset.last_withheld is not None
    assert dataset.last_withheld.reason == "BATCH_REFUSED"
    assert field in dataset.last_withheld.message
    [event] = datasets.datasets.published
    assert isinstance(event, DatasetVersionWithheld)
    assert (event.reason, event.curation_seq) == ("BATCH_REFUSED", offer.curation_seq)


async def test_a_refused_offer_is_reported_once_and_becomes_a_version_when_it_is_redriven() -> None:
    datasets = await Datasets(limits=Limits(batch_examples=10)).declared()
    for _ in range(2):
        with pytest.raises(InvalidInput):
            await datasets.offered(numbered(20))
    assert len(datasets.datasets.published) == 1

    raised = Datasets().limits
    datasets.offering = replace(datasets.offering, batches=FeedbackBatches(datasets.objects, FEEDBACK, limits=raised))
    dataset = await datasets.turned(numbered(20))

    assert (dataset.version_count, dataset.last_withheld) == (1, None)


@pytest.mark.parametrize(("count", "versions"), [(20, 1), (2, 0)])
async def test_what_was_refused_stays_visible_when_an_older_offer_is_handled_after_it(
    count: int, versions: int
) -> None:
    datasets = await Datasets().declared()
    await datasets.offered(numbered(count), seq=1)
    refused = offer_of(elsewhere(batch_of(b"", count=0), bucket="elsewhere"), seq=2)
    with pytest.raises(InvalidInput):
        await datasets.offering(ACME, NAME.id, refused, request=Request.internal())

    await datasets.publish(NAME)

    dataset = await datasets.dataset()
    assert dataset.version_count == versions
    assert dataset.last_withheld is not None
    assert (dataset.last_withheld.reason, dataset.last_withheld.curation_seq) == ("BATCH_REFUSED", 2)


async def test_an_old_offer_that_is_refused_says_nothing_of_what_came_since() -> None:
    datasets = await Datasets().declared()
    await datasets.turned(numbered(20), seq=2)
    old = offer_of(elsewhere(batch_of(b"", count=0), bucket="elsewhere"), seq=1)

    with pytest.raises(InvalidInput):
        await datasets.offering(ACME, NAME.id, old, request=Request.internal())

    assert (await datasets.dataset()).last_withheld is None


async def test_both_sides_of_the_batch_limits_are_taken_exactly() -> None:
    data = lines(numbered(2))
    limits = Limits(batch_bytes=len(data), batch_examples=2)
    datasets = await Datasets(limits=limits).declared()

    await datasets.offered(numbered(2))

    with pytest.raises(InvalidInput):
        await datasets.offered(numbered(3), seq=2)


async def test_what_a_kill_left_is_swept_after_a_day_and_what_is_needed_stays() -> None:
    datasets = await Datasets().declared()
    await datasets.turned(numbered(20))
    needed = datasets.stored()
    await datasets.parts.put_part(NAME, b"left by a kill")
    datasets.objects.buckets[DATASETS]["acme/gone/0"] = b"of a dataset that never was"
    datasets.clock.at = datetime.now(UTC)  # objects in memory are as old as the clock of the machine says

    assert await datasets.sweep() == 0
    datasets.clock.advance(LATER)
    assert await datasets.sweep() == 2

    assert datasets.stored() == needed


async def test_a_part_that_is_put_again_while_garbage_is_swept_is_not_taken_from_its_version() -> None:
    datasets = await Datasets().declared()
    await datasets.offered(numbered(20))
    await _left_by_a_kill(datasets)
    garbage = datasets.stored()
    sweeping = replace(datasets.sweeping, parts=Interrupted(datasets.objects, DATASETS, worker=datasets))

    assert await datasets.sweep(sweeping) == len(garbage)
    assert await datasets.publish(NAME)

    assert datasets.stored() == garbage
    assert await datasets.reading.part(ACME, NAME.id, "train")


async def test_a_dataset_that_is_worked_on_is_not_swept() -> None:
    datasets = await Datasets().declared()
    await _left_by_a_kill(datasets)
    await datasets.leases.acquire(NAME.key)

    assert await datasets.sweep() == 0


async def test_the_sweep_meets_every_dataset_once_however_many_there_are() -> None:
    datasets = Datasets()
    names = [ResourceKey(project="acme", id=f"d{number:04}") for number in range(1001)]
    for name in names:
        for part in (b"train", b"held out"):
            await datasets.parts.put_part(name, part)

    first = await datasets.parts.pending("", without=frozenset())
    second = await datasets.parts.pending(first.next_token, without=frozenset())

    assert [*first.items, *second.items] == names
    assert (len(second.items), second.next_token) == (1, "")


async def test_a_worker_that_slept_through_its_lease_saves_nothing_of_what_was_swept() -> None:
    datasets = await Datasets().declared()
    await datasets.offered(numbered(20))
    await _left_by_a_kill(datasets)
    for _ in range(7):
        async with datasets.leases.held(NAME.key):
            pass

    assert await datasets.sweep()

    assert (await datasets.dataset()).epoch == 8


class Interrupted(DatasetParts):
    """Lets a worker have its turn right before something is deleted."""

    def __init__(self, store: InMemoryObjects, bucket: str, *, worker: Datasets) -> None:
        super().__init__(store, bucket)
        self._worker = worker

    async def delete(self, keys: Sequence[str]) -> None:
        await self._worker.publish(NAME)
        await super().delete(keys)


async def _left_by_a_kill(datasets: Datasets) -> None:
    """Put what a worker would put of twenty examples, and let two days go by."""
    same = await Datasets().declared()
    await same.turned(numbered(20))
    datasets.objects.buckets[DATASETS] = dict(same.objects.buckets[DATASETS])
    datasets.clock.at = datetime.now(UTC) + LATER  # objects in memory are as old as the clock of the machine says
