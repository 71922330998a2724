"""Reports in evaluator's bucket; no other service reads them."""

from dataclasses import dataclass

from tidemill_core.aggregate import ObjectRef
from tidemill_kit.store.objects import ExchangeBucket

_MEDIA_TYPE = "application/gzip"


@dataclass(frozen=True, slots=True)
class ExchangeReports:
    """Implements `ports.Reports`."""

    bucket: ExchangeBucket

    async def name(self, project: str, run: str, report: bytes) -> ObjectRef:
        """See `Reports.name`."""
        return await self.bucket.ref_of(project, run, report)

    async def put(self, project: str, run: str, report: bytes) -> None:
        """See `Reports.put`."""
        await self.bucket.put(project, run, report, media_type=_MEDIA_TYPE)

    async def read(self, report: ObjectRef) -> bytes:
        """See `Reports.read`."""
        return await self.bucket.get(report)

    async def remove(self, project: str, run: str) -> None:
        """See `Reports.remove`."""
        await self.bucket.erase(project, run)
