"""What is known of projects."""

from datetime import datetime, timedelta
from typing import Protocol

from tidemill_ingest.errors import ProjectDeleted


class Projects(Protocol):
    """Which projects are deleted, whose data a legal hold keeps, and how long they keep data themselves."""

    def deleted(self, project: str) -> bool:
        """Return whether it was deleted: nothing of it may be stored any more."""
        ...

    def spares(self, project: str) -> bool:
        """Return whether nothing of it may be removed by age: something is held, or that is not known."""
        ...

    def check_erasure(self, project: str, document_id: str) -> None:
        """Pass where a document of it may be erased.

        Raises:
            PreconditionFailed: a legal hold covers it.

        """
        ...

    async def erased_until(self, project: str, document_id: str) -> datetime | None:
        """Return until when what came of a document is erased, as it was requested at monitor; None where it is not."""
        ...

    def keeps_deleted_documents(self, project: str) -> timedelta | None:
        """Return how long it keeps the texts of deleted documents, where it says so."""
        ...

    def keeps_quarantine(self, project: str) -> timedelta | None:
        """Return how long it leaves something in quarantine, where it says so."""
        ...


def require_project(projects: Projects, project: str) -> None:
    """Refuse to store anything of a deleted project. What takes time asks right before it stores.

    Raises:
        ProjectDeleted: it was deleted meanwhile.

    """
    if projects.deleted(project):
        raise ProjectDeleted(project)
