"""Documents: upload, read, explain and delete."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path

from google.protobuf.struct_pb2 import Value

from tidemill.ingest.v1.document_pb2 import Document
from tidemill.ingest.v1.document_service_pb2 import (
    CreateDocumentRequest,
    DeleteDocumentRequest,
    DocumentSpec,
    ExplainDocumentRequest,
    ExplainDocumentResponse,
    GetDocumentRequest,
    GetDocumentTextRequest,
    ListDocumentsRequest,
    ReleaseDocumentRequest,
    RevealPseudonymsRequest,
    UpdateDocumentRequest,
    UploadDocumentRequest,
    UploadStart,
)
from tidemill_client.concurrency import concurrently
from tidemill_client.connection import Connection
from tidemill_client.pages import each
from tidemill_client.retries import persistently
from tidemill_client.values import Json, struct_of
from tidemill_core.digests import body_digest
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_core.media_types import media_type_of

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDocument:
    """A document to upload: bytes, text, or a file that is read when it is uploaded."""

    source: str
    key: str
    content: bytes | str | Path
    media_type: str = ""
    """If empty, guessed from the file name or the key, else from the content."""
    title: str = ""
    uri: str = ""
    language: str = ""
    readers: Sequence[str] = ()
    metadata: Mapping[str, Json] = field(default_factory=dict)
    revision: int = 0

    def spec(self, content: bytes) -> DocumentSpec:
        """Return its metadata."""
        named = self.content.name if isinstance(self.content, Path) else self.key
        return DocumentSpec(
            source=self.source,
            key=self.key,
            media_type=self.media_type or media_type_of(named, content),
            title=self.title,
            uri=self.uri,
            language=self.language,
            readers=self.readers,
            metadata=struct_of(self.metadata) if self.metadata else None,
            revision=self.revision,
        )

    async def read(self) -> bytes:
        """Return its bytes.

        Raises:
            InvalidInput: the file cannot be read.

        """
        if not isinstance(self.content, Path):
            return self.content.encode() if isinstance(self.content, str) else self.content
        try:
            return await asyncio.to_thread(self.content.read_bytes)
        except OSError as error:
            raise InvalidInput.at(field=str(self.content), text=f"cannot be read: {error.strerror or error}") from error


class Outcome(Enum):
    """The result of an upload."""

    CREATED = "created"
    UPDATED = "updated"
    """A new version of an existing document."""
    UNCHANGED = "unchanged"
    WITHHELD = "withheld"
    """Stored, and not published, because it breaks rules of its source; `document.withheld` says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """The result of one document of a bulk upload: accepted or rejected."""

    new: NewDocument
    document: Document | None = None
    refused: InvalidInput | None = None
    outcome: Outcome | None = None
    """Set if the document was accepted."""


class Documents:
    """The documents of a project. Writing unchanged content has no effect."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def upload(self, new: NewDocument, *, request_id: str = "") -> Document:
        """Upload one document in chunks, and return it with its current version.

        Raises:
            InvalidInput: the document was rejected; the error names the field, its value and the limit.

        """
        content = await new.read()
        start = UploadStart(spec=new.spec(content), request_id=request_id or str(uuid.uuid4()))
        start.size, start.sha256 = len(content), hashlib.sha256(content).hexdigest()

        async def messages() -> AsyncIterator[UploadDocumentRequest]:
            yield UploadDocumentRequest(start=start)
            for position in range(0, len(content), CHUNK_BYTES):
                yield UploadDocumentRequest(chunk=content[position : position + CHUNK_BYTES])

        return (await persistently(lambda: self._connection.documents.UploadDocument(messages()))).document

    async def upload_many(
        self,
        documents: Iterable[NewDocument] | AsyncIterable[NewDocument],
        *,
        max_concurrent: int = 8,
        skip_stored: bool = False,
    ) -> AsyncGenerator[Uploaded, None]:
        """Upload documents, `max_concurrent` at a time, and yield their results in order of completion.

        The iterable is read on demand and may be endless. A rejected document does not stop the others; any other error
        does. With `skip_stored` each is first compared with what is stored, and sent only where it differs: so the same
        call goes on after a crash.
        """
        items = documents if isinstance(documents, AsyncIterable) else _one_by_one(documents)
        work = partial(self._upload_one, skip_stored=skip_stored)
        async with aclosing(concurrently(items, work, max_concurrent=max_concurrent)) as uploads:
            async for uploaded in uploads:
                yield uploaded

    async def create(self, new: NewDocument, *, validate_only: bool = False) -> Document:
        """Create a document or a new version with a unary call; use `upload` for large ones."""
        content = await new.read()
        request = CreateDocumentRequest(spec=new.spec(content), content=content, validate_only=validate_only)
        return (await self._connection.documents.CreateDocument(request)).document

    async def update(self, new: NewDocument, *, etag: str = "") -> Document:
        """Update an existing document; a set etag makes the update conditional.

        Raises:
            NotFound: no document has this source and key.

        """
        content = await new.read()
        request = UpdateDocumentRequest(spec=new.spec(content), content=content, etag=etag)
        return (await self._connection.documents.UpdateDocument(request)).document

    async def get(self, *, id: str = "", source: str = "", key: str = "") -> Document:  # noqa: A002 - the contract's name
        """Return a document by id, or by source and key."""
        request = GetDocumentRequest(id=id, source=source, key=key)
        return (await self._connection.documents.GetDocument(request)).document

    async def text(self, document: str, *, version: int = 0) -> str:
        """Return the masked text of a version, by the document's id; 0 is the current one."""
        request = GetDocumentTextRequest(id=document, version=version)
        return (await self._connection.documents.GetDocumentText(request)).text

    def all(self, *, source: str = "", show_all: bool = False) -> AsyncIterator[Document]:
        """Yield the documents, oldest first; with `show_all` also deleted and rejected ones."""
        request = ListDocumentsRequest(source=source, show_all=show_all)
        return each(self._connection.documents.ListDocuments, request, lambda page: page.documents)

    async def explain(self, *, id: str = "", source: str = "", key: str = "") -> ExplainDocumentResponse:  # noqa: A002 - ditto
        """Return a document and its history, oldest first."""
        request = ExplainDocumentRequest(id=id, source=source, key=key)
        return await self._connection.documents.ExplainDocument(request)

    async def release(self, document: str, *, version: int) -> Document:
        """Publish the withheld version of a document, by the document's id, and return the document."""
        request = ReleaseDocumentRequest(id=document, version=version)
        return (await self._connection.documents.ReleaseDocument(request)).document

    async def reveal(self, document: str, pseudonyms: Iterable[str], *, version: int = 0) -> dict[str, str]:
        """Return what pseudonyms in a version stand for, by the document's id; 0 is the current one.

        Those that the version does not have are left out. The audit log records who asked, and how many were returned.
        """
        request = RevealPseudonymsRequest(id=document, version=version, pseudonyms=pseudonyms)
        found = (await self._connection.documents.RevealPseudonyms(request)).revealed
        return {each.pseudonym: each.value for each in found}

    async def delete(  # noqa: PLR0913 - keyword-only
        self,
        *,
        id: str = "",  # noqa: A002 - the contract's name
        source: str = "",
        key: str = "",
        erase: bool = False,
        reason: str = "",
        etag: str = "",
    ) -> Document:
        """Delete a document, and with `erase` the text of all its versions; return its tombstone."""
        request = DeleteDocumentRequest(id=id, source=source, key=key, erase=erase, delete_reason=reason, etag=etag)
        return (await self._connection.documents.DeleteDocument(request)).document

    async def stored(self, new: NewDocument) -> Document | None:
        """Return the document that has this content and metadata already, and would stay as it is; None without one."""
        content = await new.read()
        try:
            request = GetDocumentRequest(source=new.source, key=new.key)
            found = await persistently(lambda: self._connection.documents.GetDocument(request))
        except NotFound:
            return None
        if found.document.HasField("withheld"):
            return None  # the newest version is not the current one
        same = found.document.current.provenance.body_digest == _digest(new.spec(content), content)
        newer = new.revision > found.document.current.revision
        return found.document if same and not newer and not found.outdated else None

    async def _upload_one(self, new: NewDocument, *, skip_stored: bool = False) -> Uploaded:
        request_id = str(uuid.uuid4())
        try:
            if skip_stored and (unchanged := await self.stored(new)):
                return Uploaded(new=new, document=unchanged, outcome=Outcome.UNCHANGED)
            document = await self.upload(new, request_id=request_id)
        except InvalidInput as refused:
            return Uploaded(new=new, refused=refused)
        return Uploaded(new=new, document=document, outcome=_outcome(document, request_id))


def _outcome(document: Document, request_id: str) -> Outcome:
    if document.HasField("withheld"):
        return Outcome.WITHHELD
    if document.current.provenance.submission_id != request_id:
        return Outcome.UNCHANGED
    return Outcome.CREATED if document.current.number == 1 else Outcome.UPDATED


def _digest(spec: DocumentSpec, content: bytes) -> str:
    return body_digest(
        content_sha256=hashlib.sha256(content).hexdigest(),
        media_type=spec.media_type,
        title=spec.title,
        uri=spec.uri,
        language=spec.language,
        readers=spec.readers,
        metadata={name: _fact(value) for name, value in spec.metadata.fields.items()},
    )


def _fact(value: Value) -> str | float | bool:
    """Return a value as ingest compares it; what is not flat is refused there."""
    match value.WhichOneof("kind"):
        case "number_value":
            return value.number_value
        case "bool_value":
            return value.bool_value
        case _:
            return value.string_value


async def _one_by_one(documents: Iterable[NewDocument]) -> AsyncIterator[NewDocument]:
    for document in documents:
        yield document
