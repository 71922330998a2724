"""Audit records: listed, exported and verified."""

from collections.abc import AsyncIterator
from typing import Any

from tidemill.monitor.v1 import audit_service_pb2 as pb
from tidemill.monitor.v1.audit_pb2 import AuditRecord
from tidemill_client.connection import Connection
from tidemill_client.pages import each

_UNLIMITED_S = 24 * 3600.0


class Audit:
    """The chain of the connection's project, or with `installation` that of the installation.

    What was exported is verified by `tidemill_core.audit.verify`, without a connection.
    """

    def __init__(self, connection: Connection, *, installation: bool = False) -> None:
        self._connection = connection
        self._kind = "Installation" if installation else ""

    async def page(self, chosen: pb.AuditFilter, *, size: int = 50, token: str = "") -> pb.ListAuditRecordsResponse:
        """Return a page of records, the newest first."""
        request = self._request("List{}AuditRecords", filter=chosen, page_size=size, page_token=token)
        found = await self._rpc("List{}AuditRecords")(request)
        return pb.ListAuditRecordsResponse(records=found.records, next_page_token=found.next_page_token)

    def all(self, chosen: pb.AuditFilter | None = None) -> AsyncIterator[AuditRecord]:
        """Yield the records, the newest first."""
        request = self._request("List{}AuditRecords", filter=chosen)
        return each(self._rpc("List{}AuditRecords"), request, lambda page: page.records)

    async def export(self) -> AsyncIterator[pb.ExportAuditRecordsResponse]:
        """Yield the chain as pieces of JSON lines."""
        request = self._request("Export{}AuditRecords")
        async for piece in self._rpc("Export{}AuditRecords")(request, timeout=_UNLIMITED_S):
            yield pb.ExportAuditRecordsResponse(
                chunk=piece.chunk, records=piece.records, total_records=piece.total_records
            )

    async def head(self, *, size: int = 0, token: str = "") -> pb.GetAuditHeadResponse:
        """Return the end of the chain, and a page of its anchors: the newest, and by the token those before."""
        request = self._request("Get{}AuditHead", page_size=size, page_token=token)
        found = await self._rpc("Get{}AuditHead")(request)
        anchors, next_token = found.anchors, found.next_page_token
        return pb.GetAuditHeadResponse(seq=found.seq, hash=found.hash, anchors=anchors, next_page_token=next_token)

    def _rpc(self, name: str) -> Any:  # noqa: ANN401 - of either chain
        return getattr(self._connection.audit, name.format(self._kind))

    def _request(self, name: str, **fields: Any) -> Any:  # noqa: ANN401 - of either chain
        return getattr(pb, f"{name.format(self._kind)}Request")(**fields)
