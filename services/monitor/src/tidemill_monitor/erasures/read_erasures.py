"""Use cases: get and list erasures, and get a certificate."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_monitor.erasures.domain.erasure import Erasure, ErasureState
from tidemill_monitor.erasures.ports import Certificates, Erasures, LegalHolds
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
        return await self.overview(await self.erasures.get(caller.project, erasure))

    async def list(self, caller: Caller, page: PageRequest) -> Page[ErasureOverview]:
        """Return a page of erasures."""
        found = await self.erasures.list(caller.project, page=page)
        return Page(items=[await self.overview(each) for each in found.items], next_token=found.next_token)

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

    async def overview(self, erasure: Erasure) -> ErasureOverview:
        """Return an erasure with the hold that it waits for."""
        if erasure.completed:
            return ErasureOverview(erasure=erasure)
        hold = await self.holds.covering(erasure.project, end_user=erasure.end_user, document=erasure.document)
        return ErasureOverview(erasure=erasure, hold=hold)
