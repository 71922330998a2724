"""Use cases: get and list erasures, and get a certificate."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_monitor.erasures.domain.erasure import Erasure, ErasureState
from tidemill_monitor.erasures.ports import Certificates, Erasures, LegalHold, LegalHolds
from tidemill_monitor.errors import ErasureNotCompleted


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureOverview:
    """An erasure, and the hold that it waits for."""

    erasure: Erasure
    hold: str = ""

    @property
    def state(self) -> ErasureState:
        """How far it is."""
        if self.erasure.completed:
            return ErasureState.COMPLETED
        return ErasureState.HELD if self.hold else ErasureState.PENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadErasures:
    """Of the caller's project, also of one that was deleted: an admin of the installation names it."""

    erasures: Erasures
    holds: LegalHolds
    certificates: Certificates

    async def get(self, caller: Caller, erasure: str) -> ErasureOverview:
        """Return one erasure.

        Raises:
            ErasureNotFound: there is none.

        """
        (overview,) = await self.overviews([await self.erasures.get(caller.project, erasure)])
        return overview

    async def list(self, caller: Caller, page: PageRequest) -> Page[ErasureOverview]:
        """Return a page of erasures."""
        found = await self.erasures.list(caller.project, page=page)
        return Page(items=await self.overviews(found.items), next_token=found.next_token)

    async def certificate(self, caller: Caller, erasure: str) -> tuple[bytes, str]:
        """Return the certificate with its digest, which was compared.

        Raises:
            ErasureNotFound: there is no such erasure.
            ErasureNotCompleted: it is not completed.
            CertificateMissing: the object is gone.
            CertificateChanged: the object is another one.

        """
        found = await self.erasures.get(caller.project, erasure)
        if found.certificate is None:
            raise ErasureNotCompleted(erasure, awaited=found.awaited_services)
        return await self.certificates.get(erasure, found.certificate), found.certificate.sha256

    async def overviews(self, erasures: Sequence[Erasure]) -> Sequence[ErasureOverview]:
        """Return erasures with the holds that they wait for; the holds of a project are read once."""
        waiting = {each.project for each in erasures if not each.completed}
        holds = {project: await self.holds.active(project) for project in sorted(waiting)}
        return [ErasureOverview(erasure=each, hold=_hold_of(each, holds.get(each.project, ()))) for each in erasures]


def _hold_of(erasure: Erasure, holds: Sequence[LegalHold]) -> str:
    if erasure.completed:
        return ""
    named = {"end_user": erasure.end_user, "document": erasure.document}
    return next((each.id for each in holds if each.covers(**named)), "")
