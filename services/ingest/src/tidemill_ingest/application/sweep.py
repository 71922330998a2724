"""Delete what nobody needs any more: ends erasures that a crash interrupted, retention, garbage, quarantine."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_ingest.application.ports import Documents, Quarantine, Sources, StoredText, SweepRules, Texts
from tidemill_ingest.domain.document import Document
from tidemill_kit.application import Clock, Request, derived_id
from tidemill_kit.errors import DependencyUnavailable, NotFound, TidemillError

_AT_ONCE = 200
_FOR_EVER = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """How much went, and how much is still to go."""

    texts: int = 0
    quarantined: int = 0
    postponed: int = 0
    """Documents that could not be swept this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Goes by what lies in the bucket, so that it needs no list of what is to be done; repeating it is harmless."""

    sources: Sources
    documents: Documents
    texts: Texts
    quarantine: Quarantine
    clock: Clock
    rules: SweepRules

    async def __call__(self) -> Swept:
        """Go once through everything."""
        now, deleted, postponed = self.clock.now(), 0, 0
        retentions: dict[tuple[str, str], int] = {}
        async for project, batch in _batches(self.texts.by_document()):
            documents = await self.documents.get_many(project, list(batch))
            for document_id, stored in batch.items():
                try:
                    document = documents.get(document_id)
                    if document is not None:
                        document = await self._expired(document, retentions, now)
                    if self._unneeded(document, stored, now):
                        deleted += await self._delete_unneeded(project, document_id, now)
                except DependencyUnavailable:
                    raise
                except TidemillError:
                    postponed += 1  # it is in the middle of something else, and the next sweep meets it again
        quarantined = await self.quarantine.sweep(older_than=now - self.rules.quarantine_after)
        return Swept(texts=deleted, quarantined=quarantined, postponed=postponed)

    async def _expired(self, document: Document, retentions: dict[tuple[str, str], int], now: datetime) -> Document:
        """Return the document after the retention of its source, looked up once for all its documents, was applied."""
        project = document.project
        if (project, document.source) not in retentions:
            try:
                retentions[project, document.source] = (await self.sources.get(project, document.source)).retention_days
            except NotFound:
                retentions[project, document.source] = _FOR_EVER
        days = retentions[project, document.source]
        before = now - timedelta(days=days)
        if days == _FOR_EVER or not document.has_expired(superseded_before=before):
            return document
        request = Request(id=derived_id(project, document.id, "expire", before.isoformat()), digest="")
        return await self.documents.update(
            project, document.id, lambda each: each.expire(superseded_before=before), request=request
        )

    async def _delete_unneeded(self, project: str, document_id: str, now: datetime) -> int:
        """Look again right before: what was unneeded when the sweep began may have been submitted anew since."""
        stored = await self.texts.of_document(project, document_id)
        document = (await self.documents.get_many(project, [document_id])).get(document_id)
        unneeded = self._unneeded(document, stored, now)
        await self.texts.delete(unneeded)
        return len(unneeded)

    def _unneeded(self, document: Document | None, stored: Sequence[StoredText], now: datetime) -> list[str]:
        kept = document.kept_keys() if document else frozenset()
        given_up = document.given_up_keys() if document else frozenset()
        garbage_before = now - self.rules.unreferenced_after
        return [
            text.key
            for text in stored
            if text.key in given_up or (text.key not in kept and text.stored_at < garbage_before)
        ]


async def _batches(
    found: AsyncIterator[tuple[str, str, Sequence[StoredText]]],
) -> AsyncIterator[tuple[str, Mapping[str, Sequence[StoredText]]]]:
    """Yield documents of one project together, a few at a time."""
    project, batch = "", dict[str, Sequence[StoredText]]()
    async for of_project, document_id, stored in found:
        if batch and (of_project != project or len(batch) == _AT_ONCE):
            yield project, batch
            batch = {}
        project = of_project
        batch[document_id] = stored
    if batch:
        yield project, batch
