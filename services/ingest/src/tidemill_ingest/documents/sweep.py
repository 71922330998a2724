"""Delete what is not needed any more: ends erasures that a crash interrupted, retention, garbage, quarantine."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_core.application import Clock, Request
from tidemill_core.errors import DependencyUnavailable, NotFound, TidemillError
from tidemill_ingest.documents.domain.texts import RetainedSince, TextUses
from tidemill_ingest.documents.ports import (
    Documents,
    Quarantine,
    Records,
    StoredText,
    SweepCursor,
    SweepRules,
    Texts,
    VersionTexts,
)
from tidemill_ingest.labels.ports import Labels
from tidemill_ingest.projects import Projects
from tidemill_ingest.sources.ports import Sources

_BATCH_SIZE = 200
_FOR_EVER = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """How much went, and how much is still to go."""

    texts: int = 0
    quarantined: int = 0
    postponed: int = 0
    """Documents that could not be swept this time."""
    spared: int = 0
    """Documents of projects of which something is held, or of which that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Goes by what lies in the bucket, so that it needs no list of what is to be done; repeating it is harmless."""

    sources: Sources
    documents: Documents
    uses: VersionTexts
    texts: Texts
    records: Records
    quarantine: Quarantine
    cursor: SweepCursor
    clock: Clock
    rules: SweepRules
    projects: Projects
    labels: Labels

    async def __call__(self, *, epoch: int) -> Swept:
        """Go through a bounded number of documents after the last ones, under a lease with this epoch."""
        now, deleted, postponed, spared, left = self.clock.now(), 0, 0, 0, self.rules.documents
        retentions: dict[tuple[str, str], int] = {}
        async for project, batch in _batches(
            self.texts.by_document(after=await self.cursor.position()), size=min(_BATCH_SIZE, left)
        ):
            if self.projects.spares(project):
                spared += len(batch)
            elif self.projects.deleted(project):
                deleted += await self._delete_left(project, batch)
            else:
                texts, failed = await self._sweep_documents(project, batch, retentions, now)
                deleted, postponed = deleted + texts, postponed + failed
            left -= len(batch)
            await self.cursor.advance(max(text.key for stored in batch.values() for text in stored), epoch=epoch)
            if left <= 0:
                break
        else:
            await self.cursor.advance("", epoch=epoch)
        quarantined = await self.quarantine.sweep(lambda project: self._quarantined_since(project, now))
        return Swept(texts=deleted, quarantined=quarantined, postponed=postponed, spared=spared)

    async def _sweep_documents(
        self,
        project: str,
        batch: Mapping[str, Sequence[StoredText]],
        retentions: dict[tuple[str, str], int],
        now: datetime,
    ) -> tuple[int, int]:
        """Return how many texts went, and how many documents could not be swept."""
        deleted, postponed = 0, 0
        uses = await self.uses.of(project, list(batch))
        for document_id, stored in batch.items():
            try:
                of_document = uses.get(document_id)
                if of_document is not None:
                    of_document = await self._expired(project, document_id, of_document, retentions, now)
                if self._unneeded(of_document, stored, now):
                    deleted += await self._delete_unneeded(project, document_id, now)
            except DependencyUnavailable:
                raise
            except TidemillError:
                postponed += 1  # it is in the middle of something else, and a later sweep meets it again
        return deleted, postponed

    async def _delete_left(self, project: str, batch: Mapping[str, Sequence[StoredText]]) -> int:
        """Delete what a process stored that slept through the erasure of the project."""
        keys = [text.key for stored in batch.values() for text in stored]
        await self.records.remove_all(project)
        await self.texts.delete(keys)
        return len(keys)

    def _quarantined_since(self, project: str, now: datetime) -> datetime | None:
        """Return from when on something stays in quarantine; None where all stays."""
        if self.projects.spares(project):
            return None
        if self.projects.deleted(project):
            return now
        own = self.projects.keeps_quarantine(project) or self.rules.quarantine_after
        return now - min(own, self.rules.quarantine_after)

    async def _expired(
        self, project: str, document_id: str, uses: TextUses, retentions: dict[tuple[str, str], int], now: datetime
    ) -> TextUses:
        """Return the uses after the retention of the source, looked up once for all its documents, was applied."""
        if (project, uses.source) not in retentions:
            try:
                retentions[project, uses.source] = (await self.sources.get(project, uses.source)).retention_days
            except NotFound:
                retentions[project, uses.source] = _FOR_EVER
        days, deleted = retentions[project, uses.source], self.projects.keeps_deleted_documents(project)
        since = RetainedSince(
            superseded=None if days == _FOR_EVER else now - timedelta(days=days),
            deleted=None if deleted is None else now - deleted,
        )
        if not uses.has_expired(since):
            return uses
        expired = await self.documents.update(
            project, document_id, lambda each: each.expire(since), request=Request.internal()
        )
        return expired.texts

    async def _delete_unneeded(self, project: str, document_id: str, now: datetime) -> int:
        """Check again right before: what was unneeded when the sweep began may have been submitted anew since."""
        stored = await self.texts.of_document(project, document_id)
        uses = (await self.uses.of(project, [document_id])).get(document_id)
        unneeded = self._unneeded(uses, stored, now)
        if uses is not None and uses.deleted and not uses.kept:
            while await self.labels.erase_document(project, document_id):
                pass
        await self.texts.delete(unneeded)
        return len(unneeded)

    def _unneeded(self, uses: TextUses | None, stored: Sequence[StoredText], now: datetime) -> list[str]:
        kept = uses.kept if uses else frozenset()
        given_up = uses.given_up if uses else frozenset()
        garbage_before = now - self.rules.unreferenced_after
        return [
            text.key
            for text in stored
            if text.key in given_up or (text.key not in kept and text.stored_at < garbage_before)
        ]


async def _batches(
    found: AsyncIterator[tuple[str, str, Sequence[StoredText]]], *, size: int
) -> AsyncIterator[tuple[str, Mapping[str, Sequence[StoredText]]]]:
    """Yield documents of one project together, a few at a time."""
    project, batch = "", dict[str, Sequence[StoredText]]()
    async for of_project, document_id, stored in found:
        if batch and (of_project != project or len(batch) == size):
            yield project, batch
            batch = {}
        project = of_project
        batch[document_id] = stored
    if batch:
        yield project, batch
