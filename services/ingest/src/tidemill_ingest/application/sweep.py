"""Delete what nobody needs any more: ends erasures that a crash interrupted, retention, garbage, quarantine."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_ingest.application.ports import Documents, Quarantine, Sources, StoredText, SweepRules, Texts
from tidemill_ingest.domain.document import Document
from tidemill_kit.application import Clock, Request, derived_id
from tidemill_kit.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """How much went."""

    texts: int = 0
    quarantined: int = 0


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
        now, deleted = self.clock.now(), 0
        async for project, document_id, stored in self.texts.by_document():
            document = await self._expired(project, document_id, now)
            unneeded = self._unneeded(document, stored, now)
            await self.texts.delete(unneeded)
            deleted += len(unneeded)
        quarantined = await self.quarantine.sweep(older_than=now - self.rules.quarantine_after)
        return Swept(texts=deleted, quarantined=quarantined)

    async def _expired(self, project: str, document_id: str, now: datetime) -> Document | None:
        """Return the document after the retention of its source was applied; None where there is none."""
        try:
            document = await self.documents.get(project, document_id)
            source = await self.sources.get(project, document.source)
        except NotFound:
            return (await self.documents.get_many(project, [document_id])).get(document_id)
        if not source.retention_days:
            return document
        before = now - timedelta(days=source.retention_days)
        if not document.has_expired(superseded_before=before):
            return document
        request = Request(id=derived_id(project, document_id, "expire", before.isoformat()), digest="")
        return await self.documents.update(
            project, document_id, lambda each: each.expire(superseded_before=before), request=request
        )

    def _unneeded(self, document: Document | None, stored: Sequence[StoredText], now: datetime) -> list[str]:
        kept = document.kept_keys() if document else frozenset()
        given_up = document.given_up_keys() if document else frozenset()
        garbage_before = now - self.rules.unreferenced_after
        return [
            text.key
            for text in stored
            if text.key in given_up or (text.key not in kept and text.stored_at < garbage_before)
        ]
