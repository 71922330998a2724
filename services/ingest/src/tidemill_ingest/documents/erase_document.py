"""Erase a document as its erasure was requested: nothing that people wrote in it is left, wherever it came to."""

from collections.abc import Callable
from dataclasses import dataclass

from tidemill_core.application import Clock, Request, ResourceKey, derived_id
from tidemill_ingest.documents.boilerplate import FindBoilerplate
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.submission import Submission, SubmissionChannel
from tidemill_ingest.documents.duplicates import CompareDocuments
from tidemill_ingest.documents.ports import Documents, Texts, VersionTexts, ignored
from tidemill_ingest.errors import DocumentNotFound, MembersUnderWay, SubmissionsUnderWay
from tidemill_ingest.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseDocument:
    """The record goes first, the texts after it; repeating either is harmless, and a kill between them too."""

    documents: Documents
    uses: VersionTexts
    texts: Texts
    compare: CompareDocuments
    boilerplate: FindBoilerplate
    clock: Clock
    limits: Limits
    enqueue: Callable[[ResourceKey], None] = ignored
    """Called with a document whose members are to be erased too."""

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
            erased = await self.documents.update(project, document_id, change, request=Request.internal())
        except DocumentNotFound:
            return 0
        if erased.contents.pending:
            self.enqueue(ResourceKey(project=project, id=document_id))
        return 1

    async def fingerprints(self, project: str, document_id: str) -> int:
        """Remove what its texts are compared with others by, and return how many that were."""
        return await self.compare.erase(project, document_id)

    async def counted_blocks(self, project: str, document_id: str) -> int:
        """Remove what was counted of its blocks, and return how many that were."""
        try:
            document = await self.documents.get(project, document_id)
        except DocumentNotFound:
            return 0
        return await self.boilerplate.erase(project, document.source, document_id)

    async def stored_texts(self, project: str, document_id: str) -> int:
        """Delete the objects of the document that no version needs, and return how many those were.

        One that no version names may be of a submission that is being saved: it goes when none can save it any more.

        Raises:
            MembersUnderWay: what is inside of it is not erased yet.
            SubmissionsUnderWay: that is all that is left.

        """
        await self._check_members(project, document_id)
        stored = await self.texts.of_document(project, document_id)
        uses = (await self.uses.of(project, [document_id])).get(document_id)
        kept, given_up = (uses.kept, uses.given_up) if uses else (frozenset[str](), frozenset[str]())
        unneeded = [text for text in stored if text.key not in kept]
        unsaved_before = self.clock.now() - self.limits.unsaved_after
        erased = [text.key for text in unneeded if text.key in given_up or text.stored_at < unsaved_before]
        if unneeded and not erased:
            raise SubmissionsUnderWay(document_id)
        await self.texts.delete(erased)
        return len(erased)

    async def _check_members(self, project: str, document_id: str) -> None:
        try:
            document = await self.documents.get(project, document_id)
        except DocumentNotFound:
            return
        if document.contents.erase_up_to:
            raise MembersUnderWay(document_id)
