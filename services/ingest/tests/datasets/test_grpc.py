import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from services.ingest.tests.conftest import ApiClient
from services.ingest.tests.datasets.examples import ids_in, message, numbered
from tidemill.ingest.v1 import dataset_service_pb2 as pb
from tidemill.ingest.v1.dataset_pb2 import (
    DATASET_SPLIT_HELD_OUT,
    DATASET_SPLIT_TRAIN,
    DATASET_SPLIT_UNSPECIFIED,
    Dataset,
    DatasetSplit,
)
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput, NotFound

ID = "helpdesk_sft"


async def created(client: ApiClient) -> Dataset:
    return (await client.datasets.CreateDataset(pb.CreateDatasetRequest(dataset=Dataset(id=ID)))).dataset


async def exported(client: ApiClient, part: DatasetSplit.ValueType, *, version: str = ID) -> tuple[bytes, list[int]]:
    chunks = [
        reply.chunk
        async for reply in client.datasets.ExportDatasetVersion(pb.ExportDatasetVersionRequest(id=version, part=part))
    ]
    return b"".join(chunks), [len(chunk) for chunk in chunks]


async def test_a_dataset_is_created_read_listed_changed_and_deleted(client: ApiClient) -> None:
    made = await created(client)
    found = await client.datasets.GetDataset(pb.GetDatasetRequest(id=ID))
    listed = await client.datasets.ListDatasets(pb.ListDatasetsRequest())
    changed = await client.datasets.UpdateDataset(
        pb.UpdateDatasetRequest(
            dataset=Dataset(id=ID, etag=made.etag, held_out_share=0.5, labels={"tidemill.dev/loop": "helpdesk"}),
            update_mask=FieldMask(paths=["held_out_share", "labels"]),
        )
    )
    deleted = await client.datasets.DeleteDataset(pb.DeleteDatasetRequest(id=ID, etag=changed.dataset.etag))

    assert (made.held_out_share, made.group_by, made.latest_version) == (0.3, "question", 0)
    assert found.dataset == made
    assert [each.id for each in listed.datasets] == [ID]
    assert (changed.dataset.held_out_share, dict(changed.dataset.labels)) == (0.5, {"tidemill.dev/loop": "helpdesk"})
    assert deleted.dataset.id == ID
    with pytest.raises(NotFound) as gone:
        await client.datasets.GetDataset(pb.GetDatasetRequest(id=ID))
    assert gone.value.reason == "DATASET_NOT_FOUND"


async def test_what_cannot_be_is_refused_with_reason_and_field(client: ApiClient) -> None:
    await created(client)

    with pytest.raises(AlreadyExists):
        await created(client)
    with pytest.raises(InvalidInput, match=r"dataset\.held_out_share: is 2; send 0 \(for 0\.3\) to 0\.9"):
        await client.datasets.CreateDataset(pb.CreateDatasetRequest(dataset=Dataset(id="x", held_out_share=2)))
    with pytest.raises(InvalidInput, match="dataset: is missing"):
        await client.datasets.CreateDataset(pb.CreateDatasetRequest())
    with pytest.raises(InvalidInput, match="update_mask"):
        await client.datasets.UpdateDataset(
            pb.UpdateDatasetRequest(dataset=Dataset(id=ID), update_mask=FieldMask(paths=["latest_version"]))
        )
    with pytest.raises(Conflict):
        await client.datasets.DeleteDataset(pb.DeleteDatasetRequest(id=ID, etag="9"))
    with pytest.raises(NotFound):
        await client.globex_datasets.GetDataset(pb.GetDatasetRequest(id=ID))


async def test_a_version_is_read_listed_compared_and_exported(client: ApiClient) -> None:
    await created(client)
    await client.curated.turned(numbered(40))
    await client.curated.turned(numbered(50), seq=2)

    newest = (await client.datasets.GetDatasetVersion(pb.GetDatasetVersionRequest(id=ID))).version
    listed = await client.datasets.ListDatasetVersions(pb.ListDatasetVersionsRequest(dataset=ID, page_size=1))
    difference = await client.datasets.DiffDatasetVersions(
        pb.DiffDatasetVersionsRequest(base=f"{ID}@1", target=f"{ID}@2")
    )
    train, _ = await exported(client, DATASET_SPLIT_TRAIN)
    held_out, _ = await exported(client, DATASET_SPLIT_HELD_OUT)

    assert (newest.id, newest.project, newest.number, newest.dataset) == ("helpdesk_sft@2", "acme", 2, ID)
    assert (newest.train.examples, newest.held_out.examples) == (35, 15)
    assert newest.train.size == len(train)
    assert newest.held_out.bucket == "tidemill-ingest-datasets"
    assert newest.statistics.offered == 50
    assert newest.statistics.train_held_out_shared == 0
    assert [each.number for each in listed.versions] == [1]
    assert listed.next_page_token
    assert len(difference.added) == 10
    assert len(ids_in(train)) + len(ids_in(held_out)) == 50
    with pytest.raises(NotFound):
        await client.globex_datasets.GetDatasetVersion(pb.GetDatasetVersionRequest(id=ID))
    with pytest.raises(InvalidInput, match="part: is 0; allowed: DATASET_SPLIT_TRAIN, DATASET_SPLIT_HELD_OUT"):
        await exported(client, DATASET_SPLIT_UNSPECIFIED)


@pytest.mark.heavy
async def test_a_long_part_is_exported_in_pieces_of_a_megabyte(client: ApiClient) -> None:
    await created(client)
    await client.curated.turned([message(f"Question {n}?", f"{n} " + "x" * 100_000) for n in range(20)])

    train, sizes = await exported(client, DATASET_SPLIT_TRAIN)

    assert max(sizes) == 1_000_000
    assert len(sizes) == 2
    assert len(ids_in(train)) == 14


async def test_what_was_withheld_and_what_waits_is_visible_on_the_dataset(client: ApiClient) -> None:
    await created(client)
    await client.curated.turned(numbered(2))
    await client.curated.offered(numbered(20), seq=2)

    dataset = (await client.datasets.GetDataset(pb.GetDatasetRequest(id=ID))).dataset

    assert dataset.last_withheld.reason == "TOO_FEW_EXAMPLES"
    assert "2 different examples, and 4 are needed" in dataset.last_withheld.message
    assert (dataset.last_withheld.curation, dataset.last_withheld.curation_seq) == ("helpdesk_sft", 1)
    assert (dataset.waiting_offers, dataset.latest_version) == (1, 0)
    assert dataset.HasField("waiting_since")
