"""Use cases: record what services report, and certify what all have reported."""

from collections.abc import Callable
from dataclasses import dataclass

from tidemill_core.application import Clock, Request, ResourceKey
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_monitor.erasures.domain.certificate import certificate_of
from tidemill_monitor.erasures.domain.erasure import SERVICES, ErasureScope, Report
from tidemill_monitor.erasures.ports import Certificates, DeletedProjects, Erasures


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReport:
    """A report is recorded once: the first one of each service counts."""

    erasures: Erasures
    enqueue: Callable[[ResourceKey], None]

    async def __call__(self, project: str, erasure: str, report: Report) -> None:
        """Record a report; the last one has the certificate made.

        Raises:
            InvalidInput: there is no such erasure or service.

        """
        if report.service not in SERVICES:
            message = f"a report names the service {report.service[:40]!r}: one of {', '.join(SERVICES)} is expected"
            raise InvalidInput(message)
        try:
            changed = await self.erasures.update(
                project, erasure, lambda found: found.record(report), request=Request.internal()
            )
        except NotFound:
            message = f"{report.service} reports an erasure that was never requested"
            raise InvalidInput(message) from None
        if changed.certifiable:
            self.enqueue(ResourceKey(project=project, id=erasure))


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyErasure:
    """The certificate first, then the project, and the erasure last: what breaks off is done again, the same way."""

    erasures: Erasures
    certificates: Certificates
    projects: DeletedProjects
    clock: Clock

    async def __call__(self, key: ResourceKey) -> None:
        """Certify one erasure, if all services have reported it."""
        found = (await self.erasures.get_many(key.project, [key.id])).get(key.id)
        if found is None or not found.certifiable:
            return
        ref = await self.certificates.put(key.project, key.id, certificate_of(found))
        if found.scope is ErasureScope.PROJECT:
            await self.projects.finish(key.project)
        now = self.clock.now()
        await self.erasures.update(
            key.project, key.id, lambda erasure: erasure.certify(ref, now=now), request=Request.internal()
        )
