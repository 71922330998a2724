"""What erasures need of others."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Aggregates
from tidemill_monitor.erasures.domain.erasure import Erasure

Erasures = Aggregates[Erasure]


class DueErasures(Protocol):
    """Erasures of all projects."""

    async def pending_before(self, moment: datetime, *, limit: int) -> Sequence[Erasure]:
        """Return those that were due before and are not completed, the oldest first."""
        ...


class Certificates(Protocol):
    """Where certificates lie."""

    async def put(self, project: str, erasure: str, content: bytes) -> ObjectRef:
        """Store a certificate; the same one again changes nothing."""
        ...

    async def get(self, erasure: str, ref: ObjectRef) -> bytes:
        """Return a certificate.

        Raises:
            CertificateMissing: it is gone.
            CertificateChanged: it has another digest.

        """
        ...


class LegalHold(Protocol):
    """Something that may not be erased."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    def covers(self, *, end_user: str, document: str) -> bool:
        """Return whether it holds this; with neither, whether it holds anything of the project."""
        ...


class LegalHolds(Protocol):
    """What may not be erased."""

    async def active(self, project: str) -> Sequence[LegalHold]:
        """Return the holds of a project that are not released."""
        ...


class DeletedProjects(Protocol):
    """Projects that are being deleted."""

    async def deletion(self, project: str) -> "Deletion | None":
        """Return the deletion that is under way, None where there is none."""
        ...

    async def finish(self, project: str) -> None:
        """Have a project that is being deleted be deleted; of another one nothing changes."""
        ...


class Deletion(Protocol):
    """Who deletes a project, and when that was decided."""

    @property
    def requester(self) -> str:
        """The caller."""
        ...

    @property
    def time(self) -> datetime:
        """When credentials were revoked."""
        ...
