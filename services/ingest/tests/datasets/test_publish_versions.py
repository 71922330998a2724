import asyncio
import hashlib
import json
from dataclasses import dataclass, field, replace

import pytest

from services.ingest.tests.datasets.examples import (
    FEEDBACK,
    batch_of,
    examples,
    ids_in,
    lines,
    message,
    numbered,
    offer_of,
    stored,
)
from services.ingest.tests.datasets.fakes import DATASETS, NAME, Datasets
from services.ingest.tests.fakes import ACME, Ingest, deletion, spec, submitted
from tidemill.feedback.v1.curation_pb2 import Example as ExampleMessage
from tidemill_core.application import Request
from tidemill_core.errors import DependencyUnavailable
from tidemill_ingest.datasets.domain.events import DatasetVersionPublished, DatasetVersionWithheld
from tidemill_ingest.datasets.domain.example import group_of
from tidemill_ingest.datasets.domain.parts import shared_between
from tidemill_ingest.datasets.domain.split import Split
from tidemill_ingest.errors import BatchAlreadyHandled
from tidemill_testkit.objects import InMemoryObjects


async def test_a_completed_curation_becomes_an_immutable_version_with_its_event() -> None:
    datasets = await Datasets().declared()

    dataset = await datasets.turned(numbered(180))

    version = await datasets.newest()
    train = await datasets.reading.part(ACME, "helpdesk_sft@1", "train")
    held_out = await datasets.reading.part(ACME, "helpdesk_sft", "held_out")
    statistics = version.draft.statistics
    assert (version.id, version.number, version.seq, version.curation_seq) == ("helpdesk_sft@1", 1, 1, 1)
    assert (version.draft.train.examples, version.draft.held_out.examples) == (126, 54)
    assert (len(ids_in(train)), len(ids_in(held_out))) == (126, 54)
    assert (statistics.offered, statistics.groups, statistics.end_users, statistics.shared) == (180, 180, 7, 0)
    assert statistics.mean_output_chars == pytest.approx(17.4)
    assert version.draft.digest == hashlib.sha256(b"train\n" + train + b"held_out\n" + held_out).hexdigest()
    assert version.draft.train.object.key == f"acme/helpdesk_sft/{version.draft.train.object.sha256}"
    assert ids_in(train) == sorted(ids_in(train))
    assert shared_between(train, held_out) == 0
    assert dataset.offers == ()
    [event] = datasets.datasets.published
    assert isinstance(event, DatasetVersionPublished)
    assert (event.version, event.deployment) == (version, "helpdesk")


async def test_a_line_of_a_part_is_the_example_as_feedback_wrote_it_in_canonical_json() -> None:
    datasets = await Datasets().declared()
    cited = [message(f"Question {n}?", f"Grüße {n}", cites=[("d1", 2)], at=n) for n in range(8)]

    await datasets.turned(cited)

    lines_stored = (await datasets.reading.part(ACME, "helpdesk_sft", "train")).decode().splitlines()
    offered = {json.loads(line)["id"]: json.loads(line) for line in lines(cited).splitlines()}
    for line in lines_stored:
        assert json.loads(line) == offered[json.loads(line)["id"]]
        assert line == json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


async def test_what_people_wrote_is_masked_before_it_is_divided_and_the_batch_stays_as_it_was() -> None:
    datasets = await Datasets().declared()
    token = "ghp_" + "a1B2c3D4e5" * 3 + "F6g7H8"
    asked = [message(f"Mail user{n}@acme.example?", f"Use {token} at 10.0.0.{n}", at=n) for n in range(3)]
    written = lines([*numbered(20), *asked])

    await datasets.turned([*numbered(20), *asked])

    parts = [await datasets.reading.part(ACME, "helpdesk_sft", part) for part in ("train", "held_out")]
    [left] = [json.loads(line) for part in parts for line in part.splitlines() if b"Mail" in line]
    assert left["question"] == left["messages"][0]["parts"][0]["text"] == "Mail [EMAIL]?"
    assert left["output"]["parts"][0]["text"] == "Use [CREDENTIAL] at [IP]"
    assert (await datasets.newest()).draft.statistics.duplicates == 2
    assert list(datasets.objects.buckets[FEEDBACK].values()) == [written]


async def test_more_examples_make_the_next_version_and_move_no_group() -> None:
    datasets = await Datasets().declared()
    await datasets.turned(numbered(100))
    first = ids_in(await datasets.reading.part(ACME, "helpdesk_sft@1", "held_out"))

    await datasets.turned(numbered(150), seq=2)

    second = ids_in(await datasets.reading.part(ACME, "helpdesk_sft@2", "held_out"))
    assert set(first) < set(second)
    assert (len(first), len(second)) == (30, 45)
    assert not set(first) & set(ids_in(await datasets.reading.part(ACME, "helpdesk_sft@2", "train")))
    assert [type(event) for event in datasets.datasets.published] == [DatasetVersionPublished] * 2


async def test_the_same_content_makes_no_version_and_says_so_until_there_is_one() -> None:
    datasets = await Datasets().declared()
    await datasets.turned(numbered(20))

    same = await datasets.turned(
        [*reversed(numbered(20)), message("What does module.name3 do", "it does thing 3", at=99)], seq=2
    )
    other = await datasets.turned(numbered(21), seq=3)

    assert same.version_count == 1
    assert same.last_withheld is not None
    assert (same.last_withheld.reason, same.last_withheld.curation_seq) == ("UNCHANGED", 2)
    assert "helpdesk_sft@1" in same.last_withheld.message
    assert (other.version_count, other.last_withheld) == (2, None)
    withheld = datasets.datasets.published[1]
    assert isinstance(withheld, DatasetVersionWithheld)
    assert (withheld.reason, withheld.curation, withheld.curation_seq) == ("UNCHANGED", "helpdesk_sft", 2)


@pytest.mark.parametrize(
    ("offered", "share", "reason"),
    [
        (numbered(3), 0.3, "TOO_FEW_EXAMPLES"),
        ([message(f"Question {n}", "Yes.") for n in range(30)], 0.3, "EXAMPLES_ALIKE"),
        (numbered(8), 0.01, "HELD_OUT_EMPTY"),
    ],
)
async def test_what_makes_no_version_is_visible_on_the_dataset_and_reported(
    offered: list[ExampleMessage], share: float, reason: str
) -> None:
    datasets = await Datasets().declared(share=share)

    dataset = await datasets.turned(offered)

    assert dataset.last_withheld is not None
    assert (dataset.last_withheld.reason, dataset.version_count, dataset.offers) == (reason, 0, ())
    [event] = datasets.datasets.published
    assert isinstance(event, DatasetVersionWithheld)
    assert (event.reason, event.message) == (reason, dataset.last_withheld.message)


async def test_groups_of_a_withheld_offer_stay_assigned() -> None:
    datasets = await Datasets(minimum=replace(Datasets().minimum, train=20)).declared(share=0.9)
    await datasets.turned(numbered(20))
    first = dict(datasets.groups.stored)

    dataset = await datasets.turned(numbered(400), seq=2)

    assert len(first) == 20
    assert sum(held_out for held_out, _ in first.values()) == 18
    assert first.items() < datasets.groups.stored.items()
    assert dataset.version_count == 1


async def test_of_all_groups_that_there_ever_were_those_of_the_offer_alone_are_read() -> None:
    datasets = await Datasets().declared()
    await datasets.turned(numbered(200))
    datasets.groups.read = 0

    await datasets.turned(numbered(20, start=190), seq=2)

    assert datasets.groups.read == 10
    assert len(datasets.groups.stored) == 210
    assert len(datasets.groups.held_out()) == 63


async def test_groups_that_were_assigned_in_one_object_stay_assigned() -> None:
    datasets = await Datasets().declared()
    groups = [group_of(each.asked) for each in examples(numbered(10))]
    before = Split(train=frozenset(groups[:4]), held_out=frozenset(groups[4:]), held_out_debt=-300_000)
    written = {"train": sorted(before.train), "held_out": sorted(before.held_out), "owed": before.held_out_debt}
    ref = await datasets.parts.put_part(NAME, json.dumps(written).encode())
    await datasets.datasets.update(
        "acme", NAME.id, lambda each: setattr(each, "split", ref), request=Request.internal()
    )

    dataset = await datasets.turned(numbered(14))

    assert (dataset.split, dataset.version_count) == (None, 1)
    assert before.held_out < datasets.groups.held_out()
    assert not before.train & datasets.groups.held_out()
    assert dataset.held_out_debt == -300_000 + 4 * 300_000 - 1_000_000


async def test_what_a_killed_worker_assigned_stays_where_something_was_erased_since() -> None:
    datasets = await Datasets().declared()
    await datasets.offered(numbered(20))
    offer = (await datasets.dataset()).offers[0]
    groups = [group_of(each.asked) for each in examples(numbered(20))]
    assigned = dict.fromkeys(groups[:12], False) | dict.fromkeys(groups[12:], True)
    await datasets.groups.assign(NAME, assigned, offer=offer.id)

    assert await datasets.publish(NAME)

    assert datasets.groups.held_out() == {*groups[12:]}
    assert (await datasets.newest()).draft.held_out.examples == 8


async def test_examples_that_cite_an_erased_document_leave_the_next_version() -> None:
    ingest = await Ingest().with_source()
    kept = await ingest.accept(ACME, submitted("kept", of=spec("kb/1")))
    doomed = await ingest.accept(ACME, submitted("doomed", of=spec("kb/2")))
    datasets = await Datasets(ingest=ingest).declared()
    offered = numbered(20)
    offered += [message(f"About one {n}?", f"One {n}", cites=[(kept.id, 1)]) for n in range(3)]
    offered += [message(f"About both {n}?", f"Two {n}", cites=[(kept.id, 1), (doomed.id, 1)]) for n in range(4)]
    offered += [message(f"About none {n}?", f"None {n}", cites=[("never-heard-of", 1)]) for n in range(2)]
    await datasets.turned(offered)

    await ingest.delete(ACME, deletion(key="kb/2", erase=True))
    await datasets.turned(offered, seq=2)

    before = await datasets.reading.version(ACME, "helpdesk_sft@1")
    after = await datasets.reading.version(ACME, "helpdesk_sft@2")
    parts = [await datasets.reading.part(ACME, "helpdesk_sft@2", part) for part in ("train", "held_out")]
    assert (before.draft.statistics.erased, after.draft.statistics.erased) == (0, 4)
    assert all(doomed.id not in part.decode() for part in parts)
    assert any(kept.id in part.decode() for part in parts)


async def test_a_document_that_is_deleted_without_being_erased_stays_citable() -> None:
    ingest = await Ingest().with_source()
    document = await ingest.accept(ACME, submitted("text", of=spec("kb/1")))
    await ingest.delete(ACME, deletion(key="kb/1"))
    datasets = await Datasets(ingest=ingest).declared()

    await datasets.turned([message(f"Question {n}?", f"Answer {n}", cites=[(document.id, 1)]) for n in range(8)])

    assert (await datasets.newest()).draft.statistics.erased == 0


async def test_a_batch_that_is_gone_damaged_or_no_examples_is_withheld_with_its_reason() -> None:
    datasets = await Datasets().declared()
    cases = [
        (b"", numbered(8), "BATCH_GONE"),
        (b"other bytes", numbered(8), "BATCH_DAMAGED"),
    ]
    for seq, (data, offered, reason) in enumerate(cases, start=1):
        offer = offer_of(await stored(datasets.objects, offered), seq=seq)
        datasets.objects.buckets[FEEDBACK] = {offer.batch.object.key: data} if data else {}
        await datasets.offering(ACME, NAME.id, offer, request=Request(id=offer.id, digest=""))
        assert await datasets.publish(NAME)
        withheld = (await datasets.dataset()).last_withheld
        assert withheld is not None
        assert withheld.reason == reason


@pytest.mark.parametrize(
    ("data", "count", "said"),
    [
        (b"{broken\n", 1, "line 1 of the batch is no Example"),
        (lines(numbered(2)) + b'{"id": 7}\n', 3, "line 3"),
        (lines([*numbered(2), message("Q?", " ")]), 3, "line 3 of the batch output: is empty"),
        (lines([*numbered(2), message(" ", "A")]), 3, "line 3 of the batch question: is empty"),
        (lines(numbered(2)), 3, "2 examples, but 3 were announced"),
        (lines(numbered(1)) * 2, 2, "the same id"),
        (b"\xff\xfe\n", 1, "line 1"),
        (b"[" * 5000 + b"\n", 1, "line 1"),
    ],
)
async def test_lines_that_are_no_examples_are_withheld_by_their_number(data: bytes, count: int, said: str) -> None:
    datasets = await Datasets().declared()
    offer = offer_of(batch_of(data, count=count))
    datasets.objects.buckets[FEEDBACK][offer.batch.object.key] = data
    await datasets.offering(ACME, NAME.id, offer, request=Request(id=offer.id, digest=""))

    assert await datasets.publish(NAME)

    withheld = (await datasets.dataset()).last_withheld
    assert withheld is not None
    assert withheld.reason == "BATCH_INVALID"
    assert said in withheld.message


class KilledError(Exception):
    """Where a test kills the worker."""


@dataclass
class FragileObjects(InMemoryObjects):
    """Dies at the n-th put."""

    dies_at: int = 0
    puts: int = 0
    buckets: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"quarantine": {}, "exchange": {}})

    async def put(self, bucket: str, key: str, data: bytes, *, media_type: str) -> None:
        if bucket == DATASETS:
            self.puts += 1
            if self.puts == self.dies_at:
                raise KilledError
        await super().put(bucket, key, data, media_type=media_type)


@pytest.mark.parametrize("dies_at", [1, 2])
async def test_a_kill_at_any_put_leaves_no_half_version_and_the_next_worker_makes_the_whole(dies_at: int) -> None:
    objects = FragileObjects(dies_at=dies_at)
    datasets = await Datasets(ingest=Ingest(objects=objects)).declared()
    await datasets.offered(numbered(40))

    with pytest.raises(KilledError):
        await datasets.publish(NAME)
    half = await datasets.dataset()
    assert (half.versions, half.version_count, half.split, len(half.offers)) == ((), 0, None, 1)
    assert datasets.datasets.published == []

    assert await datasets.publish(NAME)
    whole, untouched = await datasets.newest(), await Datasets().declared()
    await untouched.turned(numbered(40))
    assert whole.draft == (await untouched.newest()).draft
    assert datasets.stored() == untouched.stored()


async def test_a_kill_after_the_save_makes_no_second_version() -> None:
    datasets = await Datasets().declared()
    await datasets.turned(numbered(20))

    assert await datasets.publish(NAME)
    await datasets.offered(numbered(20))
    assert await datasets.publish(NAME)

    assert (await datasets.dataset()).version_count == 1
    assert len(datasets.datasets.published) == 1


async def test_a_worker_that_slept_through_its_lease_changes_nothing() -> None:
    datasets = await Datasets().declared()
    await datasets.offered(numbered(20))
    stale = await datasets.dataset()
    await datasets.datasets.update("acme", NAME.id, lambda each: each.claim(7), request=Request.internal())

    assert not await datasets.publish(NAME)  # its epoch is 1

    left = await datasets.dataset()
    assert (left.offers, left.versions, left.epoch) == (stale.offers, (), 7)
    with pytest.raises(BatchAlreadyHandled):
        left.withhold(left.offers[0], reason="R", message="m", held_out_debt=None, epoch=6, now=datasets.clock.now())


async def test_a_dataset_that_another_worker_works_on_is_left_for_later() -> None:
    datasets = await Datasets().declared()
    await datasets.offered(numbered(20))
    await datasets.leases.acquire(NAME.key)

    assert not await datasets.publish(NAME)
    assert (await datasets.dataset()).versions == ()


async def test_two_workers_at_once_make_one_version() -> None:
    datasets = await Datasets().declared()
    await datasets.offered(numbered(60))

    await asyncio.gather(datasets.publish(NAME), datasets.publish(NAME))

    assert (await datasets.dataset()).version_count == 1
    assert len(datasets.datasets.published) == 1


async def test_a_store_that_does_not_answer_is_waited_for() -> None:
    datasets = await Datasets().declared()
    await datasets.offered(numbered(20))
    bucket = datasets.objects.buckets.pop(FEEDBACK)

    with pytest.raises(DependencyUnavailable):
        await datasets.publish(NAME)
    datasets.objects.buckets[FEEDBACK] = bucket
    assert await datasets.publish(NAME)

    assert (await datasets.dataset()).version_count == 1


async def test_a_dataset_that_is_deleted_meanwhile_gets_no_version() -> None:
    datasets = await Datasets().declared()
    await datasets.offered(numbered(20))
    await datasets.deleted()

    assert await datasets.publish(NAME)
    assert datasets.datasets.published == []


async def test_versions_beyond_those_that_are_kept_are_forgotten_and_numbers_count_on() -> None:
    datasets = await Datasets().declared()
    publishing = replace(datasets.publishing, kept_versions=2)
    for seq in range(1, 5):
        await datasets.offered(numbered(10 + seq), seq=seq)
        assert await datasets.publish(NAME, publishing)

    dataset = await datasets.dataset()
    assert [each.number for each in dataset.versions] == [3, 4]
    assert dataset.version_count == 4
