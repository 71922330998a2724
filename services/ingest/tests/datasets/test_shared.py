"""A dataset's versions are read by another project as long as it is shared."""

import pytest

from services.ingest.tests.datasets.examples import numbered
from services.ingest.tests.datasets.fakes import NAME, Datasets
from services.ingest.tests.fakes import ACME
from tidemill.ingest.v1 import dataset_pb2 as pb
from tidemill_core.application import Caller, PageRequest
from tidemill_ingest.datasets.messages import version_message
from tidemill_ingest.datasets.read_versions import ReadVersions
from tidemill_ingest.errors import DatasetNotFound, DatasetVersionNotFound
from tidemill_kit.access.grants import Grants, Shared, SharedNames
from tidemill_kit.access.revocations import Revocations
from tidemill_testkit.access import grant

BOB = Caller(project="globex", subject="user:bob")
SHARED = f"{ACME.project}/{NAME.id}"
SHOWN = {"id", "project", "etag", "dataset", "number", "digest", "train", "held_out", "statistics"}


class Reading:
    """Two versions, and what is shared."""

    def __init__(self, datasets: Datasets) -> None:
        self.grants = Grants(Revocations())
        self.versions = ReadVersions(
            datasets=datasets.datasets,
            parts=datasets.parts,
            limits=datasets.limits,
            restricted=datasets.reading.restricted,
            shared=SharedNames(self.grants, Shared.DATASET),
        )

    def share(self, *, seq: int = 1, revoked: bool = False) -> None:
        self.grants.apply(grant(SHARED, Shared.DATASET, to=BOB.project, seq=seq, revoked=revoked))


@pytest.fixture
async def reading() -> Reading:
    datasets = await Datasets().declared()
    for seq in (1, 2):
        await datasets.turned(numbered(10 + seq), seq=seq)
    return Reading(datasets)


async def test_a_shared_version_has_its_owner_s_examples_and_says_nothing_of_what_it_came_from(
    reading: Reading,
) -> None:
    reading.share()
    owned = await reading.versions.version(ACME, f"{NAME.id}@1")

    version = await reading.versions.version(BOB, f"{SHARED}@1")

    message = version_message(version, ACME.project)
    assert (version.id, version.draft.train, version.draft.held_out) == (
        f"{SHARED}@1",
        owned.draft.train,
        owned.draft.held_out,
    )
    assert {field.name for field, _ in message.ListFields()} <= SHOWN | {"create_time", "update_time"}
    assert message.statistics == pb.DatasetStatistics()
    assert (await reading.versions.version(BOB, SHARED)).number == 2


@pytest.mark.parametrize("name", [SHARED, f"{SHARED}@1", f"{SHARED}@9", f"{ACME.project}/other", "nowhere/sft@1"])
@pytest.mark.parametrize("given", ["nothing", "revoked"])
async def test_what_is_not_shared_and_what_is_not_there_have_one_error(reading: Reading, name: str, given: str) -> None:
    if given == "revoked":
        reading.share()
        reading.share(seq=2, revoked=True)

    with pytest.raises(DatasetNotFound) as refused:
        await reading.versions.version(BOB, name)
    assert str(refused.value) == str(DatasetNotFound(name.partition("@")[0]))


async def test_a_version_that_a_shared_dataset_lacks_is_named_as_it_was_asked_for(reading: Reading) -> None:
    reading.share()

    with pytest.raises(DatasetVersionNotFound, match=f"{SHARED}@9"):
        await reading.versions.version(BOB, f"{SHARED}@9")


async def test_a_grant_opens_no_lists_differences_and_exports(reading: Reading) -> None:
    reading.share()

    for refused in (
        reading.versions.part(BOB, f"{SHARED}@1", "train"),
        reading.versions.versions(BOB, SHARED, PageRequest()),
        reading.versions.difference(BOB, f"{SHARED}@1", f"{SHARED}@2"),
    ):
        with pytest.raises(DatasetNotFound):
            await refused
