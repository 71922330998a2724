"""Read documents: one, a page of them, one's text, one's whole way."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.errors import InvalidInput, NotFound, Violation
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.submission import document_id
from tidemill_ingest.documents.domain.version import Text, Version
from tidemill_ingest.documents.ports import Documents, Outbox, Sources, Texts
from tidemill_ingest.errors import DocumentNotFound, KeyAmbiguous, TextGone, VersionNotFound

_WHY_GONE = {
    Text.KEPT: "is not in the exchange bucket any more: submit the document again",
    Text.ERASED: "was erased",
    Text.EXPIRED: "is past the retention of its source",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentName:
    """An id, or a source and its key; a key alone where that is enough."""

    id: str = ""
    source: str = ""
    key: str = ""

    def check(self, *, key_alone: bool = False) -> None:
        """Refuse what names nothing, or names it twice.

        Raises:
            InvalidInput: saying what to send.

        """
        by_id = bool(self.id) and not self.source and not self.key
        by_key = not self.id and bool(self.key) and (bool(self.source) or key_alone)
        if not (by_id or by_key):
            text = "name the document by `id` alone, or by `source` and `key`"
            raise InvalidInput.of(Violation(field="id", description=text))

    def __str__(self) -> str:
        """Return how people name the document."""
        return self.id or f"{self.key!r} of source {self.source!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadDocuments:
    """Changes nothing. Tombstones and rejected documents are found by name, and listed where asked for."""

    sources: Sources
    documents: Documents
    texts: Texts
    outbox: Outbox

    async def get(self, caller: Caller, name: DocumentName) -> Document:
        """Return the document.

        Raises:
            InvalidInput: the name is incomplete.
            DocumentNotFound: the caller's project has no such document.

        """
        name.check()
        found_by = name.id or document_id(caller.project, name.source, name.key)
        try:
            return await self.documents.get(caller.project, found_by)
        except DocumentNotFound:
            raise DocumentNotFound(str(name)) from None

    async def list(
        self, caller: Caller, page: PageRequest, *, source: str = "", show_all: bool = False
    ) -> Page[Document]:
        """Return a page of documents, oldest first; only active ones, unless all are requested."""
        where = {"source": source} if source else {}
        if not show_all:
            where["state"] = DocumentState.ACTIVE.value
        return await self.documents.list(caller.project, page=page, where=where)

    async def text(self, caller: Caller, document_id: str, *, number: int) -> tuple[str, Version]:
        """Return the masked text of a version, 0 being the current one.

        Raises:
            DocumentNotFound, VersionNotFound: there is no such thing.
            TextGone: the text was erased, or its retention ended.

        """
        document = await self.get(caller, DocumentName(id=document_id))
        version = _version(document, number)
        if version.text is not Text.KEPT:
            raise TextGone(document.id, number=version.number, why=_WHY_GONE[version.text])
        try:
            return await self.texts.get(version.object), version
        except NotFound as error:
            raise TextGone(document.id, number=version.number, why=_WHY_GONE[Text.KEPT]) from error

    async def explain(self, caller: Caller, name: DocumentName) -> tuple[Document, frozenset[int]]:
        """Return the document and the seqs of its events that are not on Kafka yet.

        Raises:
            DocumentNotFound: the caller's project has no such document.
            KeyAmbiguous: several sources have this key, and none was named.

        """
        name.check(key_alone=True)
        document = await (self.get(caller, name) if name.id or name.source else self._by_key(caller, name.key))
        return document, await self.outbox.waiting(caller.project, document.id)

    async def _by_key(self, caller: Caller, key: str) -> Document:
        """Look in every source, by id: a search among all documents would be a scan."""
        found: list[Document] = []
        page = PageRequest(size=1000)
        while True:
            sources = await self.sources.list(caller.project, page=page, show_deleted=True)
            ids = [document_id(caller.project, source.id, key) for source in sources.items]
            found += (await self.documents.get_many(caller.project, ids)).values()
            if not sources.next_token:
                break
            page = PageRequest(size=1000, token=sources.next_token)
        if not found:
            raise DocumentNotFound(repr(key))
        if len(found) > 1:
            raise KeyAmbiguous(key, sources=sorted(document.source for document in found))
        return found[0]


def _version(document: Document, number: int) -> Version:
    known = {version.number: version for version in document.versions}
    version = known.get(number) if number else document.current
    if version is None:
        raise VersionNotFound(document.id, number=number, known=sorted(known))
    return version
