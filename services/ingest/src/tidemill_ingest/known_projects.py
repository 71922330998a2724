"""What the topic of revocations says of projects."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_kit.access.holds import Scope
from tidemill_kit.access.retention import RetentionKind
from tidemill_kit.service.backend import Backend


@dataclass(frozen=True, slots=True)
class KnownProjects:
    """Implements `projects.Projects`."""

    backend: Backend

    def deleted(self, project: str) -> bool:
        """See `Projects.deleted`."""
        return self.backend.access.revocations.deleted(project)

    def spares(self, project: str) -> bool:
        """See `Projects.spares`."""
        return self.backend.holds.spares(project)

    def check_erasure(self, project: str, document_id: str) -> None:
        """See `Projects.check_erasure`."""
        self.backend.holds.check(project, {Scope.DOCUMENT: document_id})

    async def erased_until(self, project: str, document_id: str) -> datetime | None:
        """See `Projects.erased_until`."""
        return (await self.backend.erased(project, Scope.DOCUMENT, [document_id])).get(document_id)

    def keeps_deleted_documents(self, project: str) -> timedelta | None:
        """See `Projects.keeps_deleted_documents`."""
        return self.backend.retention.of(project, RetentionKind.DELETED_DOCUMENTS)

    def keeps_quarantine(self, project: str) -> timedelta | None:
        """See `Projects.keeps_quarantine`."""
        return self.backend.retention.of(project, RetentionKind.QUARANTINE)
