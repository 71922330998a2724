"""Find of which document of the project a text is a duplicate, and decide again when that one changes.

An original is a current version that is no duplicate itself. Of two texts that are stored at the same time the earlier
one is the original, once both are checked again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Clock, Request
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.fingerprints import StoredFingerprint
from tidemill_ingest.documents.domain.version import Prepared, Version, text_name
from tidemill_ingest.documents.ports import Documents, Fingerprints
from tidemill_ingest.errors import DocumentRefused, SourceNotFound
from tidemill_ingest.limits import Limits
from tidemill_ingest.projects import Projects
from tidemill_ingest.quality.fingerprint import Fingerprint, similarity
from tidemill_ingest.quality.policy import Duplicate, DuplicatePolicy, Quality
from tidemill_ingest.sources.ports import Sources

CHECK_AFTER = timedelta(seconds=30)
"""When a text that was stored is checked again: most submissions are saved by then."""
_MAX_SIMILAR = 8
"""Similar texts whose documents are read; most are of the first one."""

Order = tuple[datetime, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareDocuments:
    """Reads and writes the fingerprints of one submission."""

    documents: Documents
    fingerprints: Fingerprints
    clock: Clock

    async def original_of(
        self,
        project: str,
        document: str,
        prepared: Prepared,
        quality: Quality,
    ) -> Duplicate | None:
        """Return what a new text of a document is a duplicate of.

        Raises:
            DocumentRefused: it is one, and its source rejects these.

        """
        made = prepared.fingerprint
        if made is None:
            return None
        duplicate = await self.find(project, document, made, readers=prepared.readers, quality=quality)
        if duplicate is not None and quality.duplicates is DuplicatePolicy.REJECT:
            reason = "DUPLICATE" if duplicate.exact else "NEAR_DUPLICATE"
            text = (
                f"has {duplicate.words}, and its source takes no duplicates: delete that one first, or leave this out"
            )
            raise DocumentRefused(reason=reason, field="content", description=text)
        return duplicate

    async def find(  # noqa: PLR0913 - a text, and what it may be a duplicate of
        self,
        project: str,
        document: str,
        made: Fingerprint,
        *,
        readers: Sequence[str],
        quality: Quality,
        decided: Version | None = None,
    ) -> Duplicate | None:
        """Return the most similar original that all readers of the text may read.

        For a version that was `decided` about before, later ones are none, but for the document that it duplicates:
        that one may have had other versions since.
        """
        before = (decided.create_time, document) if decided else None
        known = decided.duplicate.document if decided and decided.duplicate else ""
        candidates = await self.fingerprints.near(project, made, but=document)
        compared = [(similarity(made, each.fingerprint), each) for each in candidates]
        similar = sorted(
            ((share, each) for share, each in compared if share >= quality.similarity),
            key=lambda pair: (-pair[0], pair[1].name),
        )[:_MAX_SIMILAR]
        found = await self.documents.get_many(project, [each.document for _, each in similar]) if similar else {}
        for share, each in similar:
            order = before if each.document != known else None
            if each.document in found and _is_original(found[each.document], each, readers, order):
                exact = each.fingerprint.text_digest == made.text_digest
                return Duplicate(document=each.document, similarity=share, exact=exact)
        return None

    async def remember(
        self, project: str, document: str, prepared: Prepared, *, ref: ObjectRef, duplicate: Duplicate | None
    ) -> None:
        """Store the fingerprint of a text that is about to be saved; one that is not saved is removed again."""
        if prepared.fingerprint is None:
            return
        now = self.clock.now()
        stored = StoredFingerprint(
            document=document,
            text=text_name(ref),
            fingerprint=prepared.fingerprint,
            stored_at=now,
            original=duplicate.document if duplicate else "",
        )
        await self.fingerprints.check(project, [document], due=now + CHECK_AFTER)
        await self.fingerprints.put(project, stored)

    async def changing(self, project: str, document: str) -> bool:
        """Return whether the texts of a document that is about to be saved were compared with others.

        It is checked a little later then, also where the process ends before it says that it `changed`.
        """
        compared = await self.fingerprints.known(project, document)
        if compared:
            await self.fingerprints.check(project, [document], due=self.clock.now() + CHECK_AFTER)
        return compared

    async def changed(self, project: str, document: str) -> None:
        """Have a document checked at once that is not what it was: its duplicates may need another original."""
        await self.fingerprints.check(project, [document], due=self.clock.now())

    async def erase(self, project: str, document: str) -> int:
        """Remove the fingerprints of a document, and return how many there were."""
        found = await self.fingerprints.of_document(project, document)
        if found:  # its duplicates are decided again, also where this is interrupted
            await self.fingerprints.check(project, [document], due=self.clock.now())
        for each in found:
            await self.fingerprints.remove(project, each)
        return len(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeDuplicates:
    """Looks again at the fingerprints of a document, and at its duplicates; repeating it is harmless."""

    compare: CompareDocuments
    sources: Sources
    documents: Documents
    fingerprints: Fingerprints
    clock: Clock
    limits: Limits
    projects: Projects

    async def __call__(self, project: str, document_id: str) -> None:
        """Remove the fingerprints of texts that are not the document's, and decide anew what is a duplicate of what."""
        if self.projects.deleted(project):
            return
        asked, now = await self.fingerprints.asked(project, document_id), self.clock.now()
        document = (await self.documents.get_many(project, [document_id])).get(document_id)
        again: datetime | None = None
        for stored in await self.fingerprints.of_document(project, document_id):
            saved_until = stored.stored_at + self.limits.unsaved_after
            if document is not None and _version(document, stored):
                await self._judge(document, stored)
            elif saved_until > now:  # it may be of a submission that is being saved
                again = saved_until
            else:
                await self.fingerprints.remove(project, stored)
        await self._judge_duplicates(project, document_id)
        await self.fingerprints.checked(project, document_id, asked=asked, again=again)

    async def _judge_duplicates(self, project: str, original: str) -> None:
        """Decide about those that lead to this one, the earliest first: it may be the original of the others."""
        after = ""
        while names := await self.fingerprints.duplicates_of(project, original, after=after):
            found = await self.documents.get_many(project, names)
            for document in sorted(found.values(), key=_order):
                for stored in await self.fingerprints.of_document(project, document.id):
                    await self._judge(document, stored)
            after = names[-1]

    async def _judge(self, document: Document, stored: StoredFingerprint) -> None:
        project, version = document.project, _version(document, stored)
        if version is None or version != document.newest:
            return
        quality = await self._quality(document)
        duplicate = None
        if quality.duplicates is not None:
            duplicate = await self.compare.find(
                project,
                document.id,
                stored.fingerprint,
                readers=version.readers,
                quality=quality,
                decided=version,
            )
        now = self.clock.now()

        def change(each: Document) -> None:
            each.keep = self.limits.keep
            each.judge_duplicate(version, duplicate, quality, now=now)

        if version.duplicate != duplicate:
            await self.documents.update(project, document.id, change, request=Request.internal(), known=document)
        original = duplicate.document if duplicate else ""
        if stored.original != original:
            await self.fingerprints.put(project, replace(stored, original=original))
            await self.fingerprints.check(project, [document.id], due=now + CHECK_AFTER)

    async def _quality(self, document: Document) -> Quality:
        try:
            return (await self.sources.get(document.project, document.source)).quality
        except SourceNotFound:
            return Quality()


def _version(document: Document, stored: StoredFingerprint) -> Version | None:
    """Return the version that has the text, where it is current or withheld."""
    versions = (document.current, document.withheld)
    return next((each for each in versions if each is not None and each.text_name == stored.text), None)


def _is_original(document: Document, stored: StoredFingerprint, readers: Sequence[str], before: Order | None) -> bool:
    current = document.current
    if current is None or current.text_name != stored.text or current.duplicate is not None:
        return False
    if before is not None and (current.create_time, document.id) >= before:
        return False
    return not current.readers or (bool(readers) and set(readers) <= set(current.readers))


def _order(document: Document) -> Order:
    newest = document.newest
    return newest.create_time if newest else datetime.max.replace(tzinfo=UTC), document.id
