"""Ingest's documents and dataset versions in memory, for tests of what calls it.

`services/ingest/tests/contract/test_ingest_api.py` holds them to the real ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.ingest.v1 import dataset_pb2, document_pb2
from tidemill.ingest.v1 import dataset_service_pb2 as datasets
from tidemill.ingest.v1 import document_service_pb2 as documents
from tidemill.ingest.v1.dataset_service_pb2_grpc import DatasetServiceServicer
from tidemill.ingest.v1.document_service_pb2_grpc import DocumentServiceServicer
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_core.rights import may_read
from tidemill_testkit.stubs.calls import Context, errors_of, project_of, with_reason

ACTIVE = document_pb2.DOCUMENT_STATE_ACTIVE
_PAGE_SIZE = 50


@dataclass(slots=True)
class _Kept:
    document: document_pb2.Document
    texts: dict[int, str | None] = field(default_factory=dict)
    """By number of the version; None where the text is gone."""


class StubDocuments(DocumentServiceServicer):
    """Lists documents and has their texts. Runs in any grpc.aio server."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], _Kept] = {}

    def add(
        self, document: document_pb2.Document, *, texts: Mapping[int, str | None] | None = None, project: str = ""
    ) -> None:
        """Add a document with the texts of its versions, or change it; those of the project "" are seen by all."""
        kept = self._kept.setdefault((project, document.id), _Kept(document))
        kept.document = document
        kept.texts |= texts or {}

    async def ListDocuments(
        self, request: documents.ListDocumentsRequest, context: Context
    ) -> documents.ListDocumentsResponse:
        """Return a page of a source's documents, the one that was added first being first."""
        async with errors_of(context):
            found = [
                each.document
                for (owner, _), each in self._kept.items()
                if owner in {"", project_of(context)}
                and request.source in {"", each.document.source}
                and (request.show_all or each.document.state == ACTIVE)
            ]
            start, size = _place(request.page_token), request.page_size or _PAGE_SIZE
            shown, more = found[start : start + size], start + size < len(found)
        return documents.ListDocumentsResponse(documents=shown, next_page_token=str(start + size) if more else "")

    async def GetDocumentText(
        self, request: documents.GetDocumentTextRequest, context: Context
    ) -> documents.GetDocumentTextResponse:
        """Return the text of a version, 0 being the current one."""
        async with errors_of(context):
            kept = self._of(project_of(context), request.id)
            number = request.version or (kept.document.current.number if kept.document.state == ACTIVE else 0)
            if number not in kept.texts:
                message = f"document {request.id} has no version {number}"
                raise with_reason(NotFound(message, document=request.id), reason="VERSION_NOT_FOUND")
            text = kept.texts[number]
            if text is None:
                message = f"the text of version {number} of document {request.id} was erased"
                raise with_reason(NotFound(message, document=request.id), reason="TEXT_GONE")
        version = document_pb2.DocumentVersion(number=number)
        if kept.document.current.number == number:
            version = kept.document.current
        return documents.GetDocumentTextResponse(text=text, version=version)

    async def CheckReaders(
        self, request: documents.CheckReadersRequest, context: Context
    ) -> documents.CheckReadersResponse:
        """Return the versions of documents whose readers the principals are not among."""
        async with errors_of(context):
            kept = [(each, self._kept.get((project_of(context), each.document))) for each in request.versions]
            restricted = [
                each
                for each, found in kept
                if found is not None and not may_read(request.principals, found.document.current.readers)
            ]
        return documents.CheckReadersResponse(restricted=restricted)

    def _of(self, project: str, document_id: str) -> _Kept:
        for owner in (project, ""):
            if (owner, document_id) in self._kept:
                return self._kept[owner, document_id]
        message = f"there is no document {document_id}"
        raise with_reason(NotFound(message, document=document_id), reason="DOCUMENT_NOT_FOUND")


class StubDatasets(DatasetServiceServicer):
    """Has versions of datasets. Runs in any grpc.aio server."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, str], list[dataset_pb2.DatasetVersion]] = {}

    def add(self, version: dataset_pb2.DatasetVersion, *, project: str = "") -> None:
        """Add a version, or what is left of one; its id is `dataset@number`. Those of project "" are seen by all."""
        version.dataset, _, number = version.id.partition("@")
        version.number = int(number)
        others = [each for each in self._versions.get((project, version.dataset), []) if each.id != version.id]
        self._versions[project, version.dataset] = [*others, version]

    async def GetDatasetVersion(
        self, request: datasets.GetDatasetVersionRequest, context: Context
    ) -> datasets.GetDatasetVersionResponse:
        """Return `dataset@number`, or the newest version of `dataset`."""
        async with errors_of(context):
            name, at, number = request.id.partition("@")
            found = [each for each in self._of(project_of(context), name) if not at or str(each.number) == number]
            if not found:
                message = f"there is no dataset version {request.id}"
                raise with_reason(NotFound(message, version=request.id), reason="DATASET_VERSION_NOT_FOUND")
        return datasets.GetDatasetVersionResponse(version=max(found, key=lambda each: each.number))

    def _of(self, project: str, name: str) -> Sequence[dataset_pb2.DatasetVersion]:
        for owner in (project, ""):
            if (owner, name) in self._versions:
                return self._versions[owner, name]
        message = f"there is no dataset {name}"
        raise with_reason(NotFound(message, dataset=name), reason="DATASET_NOT_FOUND")


def _place(token: str) -> int:
    if token and not (token.isascii() and token.isdigit()):
        raise InvalidInput.at(field="page_token", text="is not one that a page before returned")
    return int(token or 0)
