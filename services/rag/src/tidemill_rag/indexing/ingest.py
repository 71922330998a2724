"""Clients of ingest: the list of documents, and the content of versions in its exchange bucket."""

from datetime import datetime

import grpc
from google.protobuf.json_format import MessageToDict, Parse, ParseError

from tidemill.ingest.v1 import document_pb2, document_service_pb2, events_pb2
from tidemill.ingest.v1.document_service_pb2_grpc import DocumentServiceStub
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, Page
from tidemill_core.errors import NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_kit.mapping import REST, from_message, from_timestamp
from tidemill_kit.store.objects import ExchangeBucket, ObjectMissing
from tidemill_rag.errors import DocumentUnreadable
from tidemill_rag.indexing.domain.content import DocumentContent, whole
from tidemill_rag.indexing.domain.ledger import DesiredDocument

_PAGE = 200


class IngestCatalog:
    """Implements `ports.Catalog`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._documents = DocumentServiceStub(channel)

    async def page(self, caller: Caller, source: str, *, token: str) -> Page[DesiredDocument]:
        """See `Catalog.page`. A source that does not exist has no documents."""
        request = document_service_pb2.ListDocumentsRequest(
            page_size=_PAGE, page_token=token, source=source, show_all=True
        )
        with acting_as(caller):
            try:
                page = await self._documents.ListDocuments(request)
            except NotFound:
                return Page(items=())
        known = {document_pb2.DOCUMENT_STATE_ACTIVE: _present, document_pb2.DOCUMENT_STATE_DELETED: _gone}
        return Page(
            items=[known[each.state](each) for each in page.documents if each.state in known],
            next_token=page.next_page_token,
        )


class ExchangeContents:
    """Implements `ports.Contents`."""

    def __init__(self, bucket: ExchangeBucket) -> None:
        self._bucket = bucket

    async def get(self, ref: ObjectRef) -> DocumentContent | None:
        """See `Contents.get`."""
        try:
            data = await self._bucket.get(ref)
        except ObjectMissing:
            return None
        try:
            content = Parse(data, events_pb2.VersionContent(), ignore_unknown_fields=True)
        except ParseError as error:
            message = f"object {ref.key} is not a document version"
            raise DocumentUnreadable(message, key=ref.key) from error
        metadata = {name: whole(value) for name, value in MessageToDict(content.metadata).items()}
        return from_message(DocumentContent, content, ignore=REST, metadata=metadata)


def _gone(document: document_pb2.Document) -> DesiredDocument:
    return DesiredDocument(document=document.id, source=document.source, key=document.key, seq=document.seq)


def _present(document: document_pb2.Document) -> DesiredDocument:
    return DesiredDocument(
        document=document.id,
        source=document.source,
        key=document.key,
        seq=document.seq,
        version=document.current.number,
        version_time=_accepted(document.current),
        content=from_message(ObjectRef, document.current.object, ignore=REST),
    )


def _accepted(version: document_pb2.DocumentVersion) -> datetime | None:
    return from_timestamp(version.create_time, field="create_time") if version.HasField("create_time") else None
