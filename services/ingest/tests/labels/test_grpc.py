"""Labels, as callers of DocumentService and DatasetService see them."""

import pytest

from services.ingest.tests.conftest import ApiClient
from services.ingest.tests.fakes import ACME, spec, submitted
from services.ingest.tests.labelled import labels_of
from tidemill.ingest.v1 import dataset_service_pb2
from tidemill.ingest.v1 import document_service_pb2 as pb
from tidemill.ingest.v1.dataset_pb2 import Dataset, LabelRule
from tidemill_core.errors import InvalidInput


async def test_a_document_is_shown_and_listed_by_its_labels(client: ApiClient) -> None:
    document = await client.ingest.accept(ACME, submitted("One", of=spec("kb/1")))
    await client.ingest.accept(ACME, submitted("Two", of=spec("kb/2")))
    await client.ingest.labels.put("acme", labels_of("i1", document=document.id, verdict="good", ok=False, score=2.5))

    shown = await client.documents.GetDocument(pb.GetDocumentRequest(id=document.id))
    explained = await client.documents.ExplainDocument(pb.ExplainDocumentRequest(id=document.id))
    listed = await client.documents.ListDocuments(pb.ListDocumentsRequest(label="quality.verdict=good"))
    none = await client.documents.ListDocuments(pb.ListDocumentsRequest(label="quality.verdict=bad"))

    assert [(each.field, each.WhichOneof("value")) for each in shown.labels] == [
        ("verdict", "category"),
        ("ok", "boolean"),
        ("score", "number"),
    ]
    assert [*explained.labels] == [*shown.labels]
    assert ([each.id for each in listed.documents], listed.next_page_token) == ([document.id], "")
    assert [*none.documents] == []


@pytest.mark.parametrize(
    ("field", "value"), [("order_by", "create_time"), ("filter", 'source = "cms"'), ("parent", "d")]
)
async def test_a_list_by_label_has_no_other_order_or_filter(client: ApiClient, field: str, value: str) -> None:
    request = pb.ListDocumentsRequest(label="quality", **{field: value})  # type: ignore[arg-type]  # texts

    with pytest.raises(InvalidInput, match=field):
        await client.documents.ListDocuments(request)


async def test_rules_of_a_dataset_are_declared_returned_and_refused_by_their_path(client: ApiClient) -> None:
    rules = [
        LabelRule(queue="quality", field="verdict", values=["good"]),
        LabelRule(queue="quality", field="score", min=0, exclude=True),
    ]

    created = await client.datasets.CreateDataset(
        dataset_service_pb2.CreateDatasetRequest(dataset=Dataset(id="sft", label_rules=rules))
    )

    assert [*created.dataset.label_rules] == rules
    wrong = [rules[0], LabelRule(queue="quality", field="verdict", values=["fine"])]
    with pytest.raises(InvalidInput, match=r"dataset\.label_rules\[1\]"):
        await client.datasets.CreateDataset(
            dataset_service_pb2.CreateDatasetRequest(dataset=Dataset(id="sft2", label_rules=wrong))
        )
