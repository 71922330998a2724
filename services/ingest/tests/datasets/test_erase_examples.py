"""What examples show of an erased document goes from all versions, which stay otherwise."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from services.ingest.tests.datasets.examples import message, numbered
from services.ingest.tests.datasets.fakes import DATASETS, NAME, Datasets
from tidemill.feedback.v1.curation_pb2 import Example as ExampleMessage
from tidemill_core.application import ResourceKey
from tidemill_ingest.datasets.ports import ErasedSubject
from tidemill_ingest.errors import DatasetBusy, DatasetNotFound
from tidemill_testkit.clocks import NOON

CANARY, DOCUMENT = "canarybird", "5f6c1f2e-0000-5000-8000-000000000001"
OF_DOCUMENT = ErasedSubject(document=DOCUMENT)


def citing(count: int) -> list[ExampleMessage]:
    return [
        message(f"Question {number} of the {CANARY}?", f"Answer {number} of the {CANARY}.", cites=[(DOCUMENT, 1)])
        for number in range(count)
    ]


async def made(*batches: Sequence[ExampleMessage]) -> Datasets:
    datasets = await Datasets().declared()
    for seq, messages in enumerate(batches, start=1):
        await datasets.turned(messages, seq=seq)
    return datasets


def canaries(datasets: Datasets) -> int:
    return sum(data.count(CANARY.encode()) for data in datasets.objects.buckets[DATASETS].values())


async def erase_all(datasets: Datasets) -> int:
    erased = 0
    while count := await datasets.erasing("acme", OF_DOCUMENT):
        erased += count
    return erased


async def test_every_version_goes_on_without_them() -> None:
    datasets = await made([*numbered(20), *citing(6)], [*numbered(30), *citing(7)])
    before = (await datasets.dataset()).versions
    assert canaries(datasets)

    assert await erase_all(datasets) == 13

    after = (await datasets.dataset()).versions
    assert canaries(datasets) == 0
    assert [each.draft.digest for each in after] == [each.draft.digest for each in before]
    assert [each.draft.train.examples + each.draft.held_out.examples for each in after] == [20, 30]
    assert [each.draft.statistics.erased for each in after] == [6, 7]
    for each in after:
        for part in (each.draft.train, each.draft.held_out):
            assert len(await datasets.parts.examples(part.object)) == part.examples
    assert set(datasets.stored()) == (await datasets.dataset()).kept_keys(), "and nothing is left beside them"


@pytest.mark.parametrize("user", ["u-17", 'Zoë "the user" \\ 17'])
async def test_what_an_end_user_wrote_goes_from_every_version(user: str) -> None:
    own = [message(f"Question {number}?", f"Answer {number} of the {CANARY}.", user=user) for number in range(6)]
    naming = message(f"Who is {user}?", "Somebody else.", name="naming", user="u-1")
    datasets = await made([*numbered(20), *own, naming])

    assert await datasets.erasing("acme", ErasedSubject(end_user="u-1777")) == 0
    assert await datasets.erasing("acme", ErasedSubject(end_user=user)) == 6
    assert await datasets.erasing("acme", ErasedSubject(end_user=user)) == 0

    (version,) = (await datasets.dataset()).versions
    assert canaries(datasets) == 0
    assert version.draft.train.examples + version.draft.held_out.examples == 21


async def test_what_an_end_user_asked_goes_too_where_another_person_corrected_it() -> None:
    asked = [
        message(f"Question {number} of the {CANARY}?", f"Answer {number}.", user="expert", asker="u-17")
        for number in range(6)
    ]
    datasets = await made([*numbered(20), *asked])

    assert await datasets.erasing("acme", ErasedSubject(end_user="u-17")) == 6
    assert await datasets.erasing("acme", ErasedSubject(end_user="u-17")) == 0

    assert canaries(datasets) == 0


@pytest.mark.parametrize("role", ["user", "asker"])
async def test_a_batch_that_is_read_after_the_erasure_of_a_user_brings_nothing_back(role: str) -> None:
    datasets = await Datasets().declared()
    offered = [
        *numbered(20),
        message(f"Before the {CANARY}?", "Yes.", at=5, **{role: "u-17"}),  # type: ignore[arg-type] # a name
        message("Since?", "Yes, again.", at=6, **{role: "u-17"}),  # type: ignore[arg-type] # a name
    ]
    datasets.erased_until = {"u-17": NOON + timedelta(seconds=5)}

    version = (await datasets.turned(offered)).versions[-1]

    assert canaries(datasets) == 0
    assert version.draft.train.examples + version.draft.held_out.examples == 21
    assert version.draft.statistics.erased == 1


async def test_erasing_again_finds_nothing() -> None:
    datasets = await made([*numbered(20), *citing(6)])
    await erase_all(datasets)
    before = await datasets.dataset()

    assert await datasets.erasing("acme", OF_DOCUMENT) == 0
    assert await datasets.dataset() == before


async def test_a_text_that_only_names_the_document_stays() -> None:
    naming = message(f"What is {DOCUMENT}?", f"The {CANARY} file.", name="naming")
    datasets = await made([*numbered(20), naming])
    stored = datasets.stored()

    assert await datasets.erasing("acme", OF_DOCUMENT) == 0
    assert datasets.stored() == stored


async def test_objects_that_a_kill_left_without_a_version_go_too() -> None:
    datasets = await made([*numbered(20), *citing(6)])
    stored = dict(datasets.objects.buckets[DATASETS])
    await erase_all(datasets)
    datasets.objects.buckets[DATASETS] |= stored  # the process was killed before it deleted them
    other = ResourceKey(project="acme", id="never_saved")
    await datasets.parts.put_part(other, next(data for data in stored.values() if CANARY.encode() in data))

    assert await erase_all(datasets) > 0
    assert canaries(datasets) == 0


async def test_versions_of_a_deleted_dataset_are_erased_as_long_as_they_are_kept() -> None:
    datasets = await made([*numbered(20), *citing(6)])
    await datasets.deleted()

    assert await erase_all(datasets) == 6
    assert canaries(datasets) == 0
    with pytest.raises(DatasetNotFound):
        await datasets.dataset()


async def test_other_projects_keep_theirs() -> None:
    datasets = await made([*numbered(20), *citing(6)])

    assert await datasets.erasing("acm", OF_DOCUMENT) == 0
    assert await datasets.erasing("globex", OF_DOCUMENT) == 0
    assert canaries(datasets)


async def test_a_dataset_of_which_a_version_is_made_is_waited_for() -> None:
    datasets = await made([*numbered(20), *citing(6)])
    lease = await datasets.leases.acquire(NAME.key)
    assert lease is not None

    with pytest.raises(DatasetBusy):
        await datasets.erasing("acme", OF_DOCUMENT)
    assert canaries(datasets)

    await datasets.leases.release(lease)
    assert await erase_all(datasets) == 6


async def test_a_worker_that_slept_through_its_lease_publishes_nothing_afterwards() -> None:
    datasets = await made([*numbered(20), *citing(6)])
    async with datasets.leases.held(NAME.key) as lease:
        assert lease is not None
        slow = lease.epoch
    await erase_all(datasets)
    await datasets.offered([*numbered(30), *citing(7)], seq=2)

    assert await datasets.publishing(NAME, epoch=slow) is not None, "it is to begin again"
    assert len((await datasets.dataset()).versions) == 1


async def test_no_version_is_made_for_a_project_that_was_deleted() -> None:
    datasets = await Datasets().declared()
    await datasets.offered(numbered(20))
    datasets.ingest.projects.gone.add("acme")

    assert await datasets.publish(NAME)

    assert (datasets.stored(), datasets.groups.stored) == ([], {})


async def test_parts_are_not_swept_while_something_of_the_project_is_held() -> None:
    datasets = await made(numbered(20))
    await datasets.deleted()
    datasets.ingest.projects.spared.add("acme")
    datasets.clock.at = (await datasets.objects.list(DATASETS))[0].modified_at.replace(year=2100)

    assert await datasets.sweep() == 0
    datasets.ingest.projects.spared.clear()
    assert await datasets.sweep() > 0
