"""Documents whose newest version breaks rules of their source: released by an operator, or decided again."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write, list_all, update
from tidemill_ingest.documents.crud import ReadDocuments
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.submission import DocumentName
from tidemill_ingest.documents.duplicates import CompareDocuments
from tidemill_ingest.documents.ports import Documents
from tidemill_ingest.errors import DocumentNotFound, NothingWithheld, SourceNotFound
from tidemill_ingest.limits import Limits
from tidemill_ingest.projects import Projects, require_project
from tidemill_ingest.sources.domain import Source
from tidemill_ingest.sources.ports import Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDocument:
    """Emits DocumentIngested or DocumentUpdated. What is released stays so until it is submitted under other rules."""

    documents: Documents
    reading: ReadDocuments
    compare: CompareDocuments
    clock: Clock
    limits: Limits
    projects: Projects

    async def __call__(self, caller: Caller, name: DocumentName, *, number: int, write: Write) -> Document:
        """Return the document, whose withheld version with this number is current.

        Raises:
            InvalidInput: the name is incomplete, or the number is missing.
            DocumentNotFound: the caller's project has no such document.
            NothingWithheld: that is not the version that is withheld.
            Conflict: it changed since the etag.

        """
        if number < 1:
            raise InvalidInput.at(field="version", text=f"is {number}; name the withheld version that you have read")
        found = await self.reading.get(caller, name)
        now = self.clock.now()

        def change(document: Document) -> None:
            require_project(self.projects, document.project)
            document.keep = self.limits.keep
            if not document.readable_by(caller):
                raise DocumentNotFound(str(name))
            if document.withheld is None or document.withheld.number != number:
                raise NothingWithheld(document.id, number=number)
            document.release(why="an operator released it", now=now)

        compared = not write.validate_only and await self.compare.changing(caller.project, found.id)
        released = await update(self.documents, caller.project, found.id, change, write)
        if compared:
            await self.compare.changed(caller.project, found.id)
        return released


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeDocuments:
    """Goes through what a source withholds after its rules changed; repeating it is harmless."""

    sources: Sources
    documents: Documents
    compare: CompareDocuments
    clock: Clock
    limits: Limits
    projects: Projects

    async def __call__(self, project: str, source_id: str) -> int:
        """Return how many documents there are of which something was withheld."""
        try:
            source = await self.sources.get(project, source_id)
        except SourceNotFound:
            return 0
        if not source.quality_changed or self.projects.deleted(project):
            return 0
        judged = 0
        where = {"source": source_id, "withheld": "yes"}
        async for document in list_all(self.documents, project, where=where):
            await self._judge(document, source)
            judged += 1

        def decided(each: Source) -> None:
            each.quality_changed = each.quality != source.quality

        await self.sources.update(project, source_id, decided, request=Request.internal())
        return judged

    async def _judge(self, document: Document, source: Source) -> None:
        project, now = document.project, self.clock.now()
        # Where nothing was current, nothing has it as its original.
        compared = document.current is not None and await self.compare.changing(project, document.id)

        def change(each: Document) -> None:
            each.keep = self.limits.keep
            each.judge_again(source.quality, now=now)

        saved = await self.documents.update(project, document.id, change, request=Request.internal(), known=document)
        if compared and saved.withheld is None:
            await self.compare.changed(project, document.id)
