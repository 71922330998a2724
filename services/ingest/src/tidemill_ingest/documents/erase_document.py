"""Erase a document as its erasure was requested: nothing that people wrote in it is left, wherever it came to."""

from dataclasses import dataclass

from tidemill_core.application import Clock, Request, derived_id
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.submission import Submission, SubmissionChannel
from tidemill_ingest.documents.ports import Documents, Texts, VersionTexts
from tidemill_ingest.errors import DocumentNotFound
from tidemill_ingest.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseDocument:
    """The record goes first, the texts after it; repeating either is harmless, and a kill between them too."""

    documents: Documents
    uses: VersionTexts
    texts: Texts
    clock: Clock
    limits: Limits

    async def record(self, project: str, document_id: str) -> int:
        """Leave an empty tombstone; return 0 where nothing was left to erase. Emits DocumentDeleted."""
        submission = Submission(
            door=SubmissionChannel.ERASURE, id=derived_id(project, SubmissionChannel.ERASURE.value, document_id)
        )
        now = self.clock.now()

        def change(document: Document) -> None:
            document.keep = self.limits.keep
            if document.says_something:
                document.erase(submission, now=now)

        try:
            if not (await self.documents.get(project, document_id)).says_something:
                return 0
            await self.documents.update(project, document_id, change, request=Request.internal())
        except DocumentNotFound:
            return 0
        return 1

    async def stored_texts(self, project: str, document_id: str) -> int:
        """Delete every object of the document that no version needs, and return how many those were."""
        stored = await self.texts.of_document(project, document_id)
        uses = (await self.uses.of(project, [document_id])).get(document_id)
        kept = uses.kept if uses else frozenset()
        unneeded = [text.key for text in stored if text.key not in kept]
        await self.texts.delete(unneeded)
        return len(unneeded)
