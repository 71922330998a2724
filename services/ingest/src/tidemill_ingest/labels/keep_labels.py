"""Keep what reviewers agreed on."""

from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.ports import Documents
from tidemill_ingest.errors import DocumentNotFound
from tidemill_ingest.labels.domain import ItemLabels, SubjectKind
from tidemill_ingest.labels.ports import Erased, Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepLabels:
    """Emits nothing. The latest of an item counts, in whatever order its events come; the same again changes nothing.

    A document need not be there: its labels are shown once it is. Erasures are asked for after it is stored, too: one
    that ended meanwhile may not have seen it.
    """

    labels: Labels
    documents: Documents
    erased: Erased

    async def __call__(self, caller: Caller, found: ItemLabels) -> None:
        """Keep what counts of an item, or that nothing does any more."""
        kept = await self._what_is_left(caller, found)
        await self.labels.put(caller.project, kept)
        if (again := await self._what_is_left(caller, kept)) != kept:
            await self.labels.put(caller.project, again)

    async def _what_is_left(self, caller: Caller, found: ItemLabels) -> ItemLabels:
        """Return it without what was erased since it was resolved."""
        resolved = found.resolve_time
        if not found.subject or resolved is None:
            return found
        if found.kind is SubjectKind.DOCUMENT:
            document = await self._document(caller, found)
            if await self._is_erased(caller, found, document):
                return found.removed()
            found = replace(found, source=document.source if document else "")
        until = await self.erased.people(caller.project, found.named) if found.named else {}
        return found.without([each for each, moment in until.items() if resolved <= moment])

    async def _document(self, caller: Caller, found: ItemLabels) -> Document | None:
        try:
            return await self.documents.get(caller.project, found.subject)
        except DocumentNotFound:
            return None

    async def _is_erased(self, caller: Caller, found: ItemLabels, document: Document | None) -> bool:
        until = await self.erased.documents(caller.project, found.subject)
        if until is not None and found.resolve_time is not None and found.resolve_time <= until:
            return True
        return document is not None and _is_gone(document)


def _is_gone(document: Document) -> bool:
    """Return whether the document is deleted, and none of its texts is kept any more."""
    return document.state is DocumentState.DELETED and not document.texts.kept
