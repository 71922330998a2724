"""Ingest and the stub that other services are tested with answer alike."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import grpc
import pytest

from services.ingest.tests.conftest import ApiClient
from services.ingest.tests.datasets.examples import numbered
from services.ingest.tests.datasets.fakes import NAME
from services.ingest.tests.fakes import ACME, deletion, spec, submitted
from tidemill.ingest.v1 import dataset_pb2, dataset_service_pb2, document_pb2, document_service_pb2
from tidemill.ingest.v1.dataset_service_pb2_grpc import DatasetServiceStub, add_DatasetServiceServicer_to_server
from tidemill.ingest.v1.document_service_pb2_grpc import DocumentServiceStub, add_DocumentServiceServicer_to_server
from tidemill_core.application import Request
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_core.resources import Write
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.sources.domain import Source
from tidemill_testkit.access import admin_channel
from tidemill_testkit.stubs.ingest import StubDatasets, StubDocuments

ALL = document_service_pb2.ListDocumentsRequest(show_all=True)


@dataclass(frozen=True, kw_only=True)
class Api:
    """Clients of two projects, of which acme has the documents and datasets."""

    documents: DocumentServiceStub
    datasets: DatasetServiceStub
    globex_documents: DocumentServiceStub
    globex_datasets: DatasetServiceStub
    ids: dict[str, str]
    """Ids of documents, by key."""

    async def text(self, key: str, version: int = 0) -> document_service_pb2.GetDocumentTextResponse:
        request = document_service_pb2.GetDocumentTextRequest(id=self.ids[key], version=version)
        return await self.documents.GetDocumentText(request)

    async def version(self, reference: str) -> dataset_pb2.DatasetVersion:
        request = dataset_service_pb2.GetDatasetVersionRequest(id=reference)
        return (await self.datasets.GetDatasetVersion(request)).version


async def filled(client: ApiClient) -> dict[str, str]:
    """Have ingest take documents and make dataset versions; return the documents' ids."""
    ingest, made = client.ingest, list[Document]()
    await ingest.managing.create(ACME, Source(id="wiki", project="acme"), Write(request=Request.internal()))
    for key, text in (("two", "first"), ("gone", "old"), ("erased", "secret"), ("two", "second")):
        made.append(await ingest.accept(ACME, submitted(text, of=spec(key))))
        ingest.clock.advance(timedelta(seconds=1))
    made.append(await ingest.accept(ACME, submitted("elsewhere", of=replace(spec("wiki"), source="wiki"))))
    secret = replace(spec("hr"), source="wiki", readers=("group:hr",))
    made.append(await ingest.accept(ACME, submitted("salaries", of=secret)))
    await ingest.delete(ACME, deletion(key="gone"))
    await ingest.delete(ACME, deletion(key="erased", erase=True))
    await client.curated.declared()
    for seq, count in ((1, 20), (2, 40)):
        await client.curated.turned(numbered(count), seq=seq)
    return {each.key: each.id for each in made}


async def stubs(client: ApiClient, ids: dict[str, str]) -> tuple[StubDocuments, StubDatasets]:
    """Return stubs that have what ingest has."""
    documents, datasets = StubDocuments(), StubDatasets()  # type: ignore[abstract] # they have what others call
    texts: dict[str, dict[int, str | None]] = {
        "two": {1: "first", 2: "second"},
        "gone": {1: "old"},
        "erased": {1: None},
        "wiki": {1: "elsewhere"},
        "hr": {1: "salaries"},
    }
    for each in (await client.documents.ListDocuments(ALL)).documents:
        documents.add(each, texts=texts[each.key], project="acme")
    for number in (1, 2):
        request = dataset_service_pb2.GetDatasetVersionRequest(id=f"{NAME.id}@{number}")
        datasets.add((await client.datasets.GetDatasetVersion(request)).version, project="acme")
    assert set(ids) == set(texts)
    return documents, datasets


@pytest.fixture(params=["ingest", "stub"])
async def api(request: pytest.FixtureRequest, client: ApiClient) -> AsyncIterator[Api]:
    ids = await filled(client)
    if request.param == "ingest":
        yield Api(
            documents=client.documents,
            datasets=client.datasets,
            globex_documents=client.globex,
            globex_datasets=client.globex_datasets,
            ids=ids,
        )
        return
    server = grpc.aio.server()
    documents, datasets = await stubs(client, ids)
    add_DocumentServiceServicer_to_server(documents, server)
    add_DatasetServiceServicer_to_server(datasets, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with admin_channel(address, project="acme") as acme, admin_channel(address, project="globex") as globex:
        yield Api(
            documents=DocumentServiceStub(acme),
            datasets=DatasetServiceStub(acme),
            globex_documents=DocumentServiceStub(globex),
            globex_datasets=DatasetServiceStub(globex),
            ids=ids,
        )
    await server.stop(None)


async def test_documents_are_listed_by_source_in_pages_and_those_that_are_gone_only_if_asked_for(api: Api) -> None:
    first = await api.documents.ListDocuments(
        document_service_pb2.ListDocumentsRequest(source="cms", show_all=True, page_size=2)
    )
    rest = await api.documents.ListDocuments(
        document_service_pb2.ListDocumentsRequest(
            source="cms", show_all=True, page_size=2, page_token=first.next_page_token
        )
    )
    active = await api.documents.ListDocuments(document_service_pb2.ListDocumentsRequest(source="cms"))

    assert [each.key for each in first.documents] == ["two", "gone"]
    assert [each.key for each in rest.documents] == ["erased"]
    assert rest.next_page_token == ""
    assert [each.key for each in active.documents] == ["two"]
    assert first.documents[0].current.number == first.documents[0].version_count == 2
    assert first.documents[1].state == document_pb2.DOCUMENT_STATE_DELETED


async def test_an_unknown_source_has_no_documents_and_neither_has_another_project(api: Api) -> None:
    unknown = document_service_pb2.ListDocumentsRequest(source="nope", show_all=True)

    assert not (await api.documents.ListDocuments(unknown)).documents
    assert not (await api.globex_documents.ListDocuments(ALL)).documents


@pytest.mark.parametrize(("principals", "restricted"), [(["user:ann"], ["hr"]), (["user:ann", "group:hr"], [])])
async def test_versions_are_restricted_for_principals_that_are_no_readers(
    api: Api, principals: list[str], restricted: list[str]
) -> None:
    names = [document_service_pb2.VersionName(document=api.ids[key], version=1) for key in ("two", "hr")]
    absent = document_service_pb2.VersionName(document="0" * 36, version=1)
    request = document_service_pb2.CheckReadersRequest(versions=[*names, absent], principals=principals)

    found = (await api.documents.CheckReaders(request)).restricted

    assert [each.document for each in found] == [api.ids[key] for key in restricted]
    assert not (await api.globex_documents.CheckReaders(request)).restricted


async def test_a_token_of_no_page_is_refused(api: Api) -> None:
    with pytest.raises(InvalidInput):
        await api.documents.ListDocuments(document_service_pb2.ListDocumentsRequest(page_token="no token"))  # noqa: S106


async def test_the_text_of_each_version_is_read_until_it_is_erased(api: Api) -> None:
    assert [(await api.text("two", number)).text for number in (0, 1, 2)] == ["second", "first", "second"]
    assert (await api.text("two")).version.number == 2
    assert (await api.text("gone", 1)).text == "old"


@pytest.mark.parametrize(
    ("key", "version", "reason"),
    [("two", 9, "VERSION_NOT_FOUND"), ("gone", 0, "VERSION_NOT_FOUND"), ("erased", 1, "TEXT_GONE")],
)
async def test_a_text_that_is_not_there_is_not_found_and_the_reason_says_why(
    api: Api, key: str, version: int, reason: str
) -> None:
    with pytest.raises(NotFound) as missing:
        await api.text(key, version)

    assert missing.value.reason == reason


async def test_the_documents_of_one_project_are_not_found_by_another(api: Api) -> None:
    request = document_service_pb2.GetDocumentTextRequest(id=api.ids["two"])
    with pytest.raises(NotFound) as missing:
        await api.globex_documents.GetDocumentText(request)

    assert missing.value.reason == "DOCUMENT_NOT_FOUND"


async def test_a_dataset_version_is_found_by_number_and_the_newest_by_its_dataset(api: Api) -> None:
    first, newest = await api.version(f"{NAME.id}@1"), await api.version(NAME.id)

    assert (first.dataset, first.number, newest.id) == (NAME.id, 1, f"{NAME.id}@2")
    assert first.train.bucket == newest.held_out.bucket
    assert (first.train.examples, first.held_out.examples) == (14, 6)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        (f"{NAME.id}@9", "DATASET_VERSION_NOT_FOUND"),
        (f"{NAME.id}@x", "DATASET_VERSION_NOT_FOUND"),
        ("nope@1", "DATASET_NOT_FOUND"),
        ("nope", "DATASET_NOT_FOUND"),
    ],
)
async def test_a_dataset_version_that_is_not_there_is_not_found(api: Api, reference: str, reason: str) -> None:
    with pytest.raises(NotFound) as missing:
        await api.version(reference)

    assert missing.value.reason == reason


async def test_the_dataset_versions_of_one_project_are_not_found_by_another(api: Api) -> None:
    with pytest.raises(NotFound):
        await api.globex_datasets.GetDatasetVersion(dataset_service_pb2.GetDatasetVersionRequest(id=NAME.id))
