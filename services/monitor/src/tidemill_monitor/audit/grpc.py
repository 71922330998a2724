"""AuditService: message -> use case -> message."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from tidemill.monitor.v1 import audit_service_pb2 as pb
from tidemill.monitor.v1.audit_service_pb2_grpc import AuditServiceServicer
from tidemill_core.application import PageRequest
from tidemill_core.paging import MAX_PAGE_SIZE
from tidemill_kit.grpc.requests import DEFAULT_PAGE_SIZE
from tidemill_kit.grpc.server import current_caller
from tidemill_monitor.audit.domain import INSTALLATION
from tidemill_monitor.audit.messages import anchor_message, filter_of, record_message
from tidemill_monitor.audit.read_records import ReadRecords


@dataclass(frozen=True, kw_only=True)
class GrpcAuditService(AuditServiceServicer):
    """Reads the chain of the caller's project, and that of the installation."""

    read: ReadRecords

    async def ListAuditRecords(
        self, request: pb.ListAuditRecordsRequest, _context: object
    ) -> pb.ListAuditRecordsResponse:
        """See the contract."""
        return pb.ListAuditRecordsResponse(**await self._page(current_caller().project, request))

    async def ExportAuditRecords(
        self, _request: pb.ExportAuditRecordsRequest, _context: object
    ) -> AsyncIterator[pb.ExportAuditRecordsResponse]:
        """See the contract."""
        async for piece in self.read.export(current_caller().project):
            yield pb.ExportAuditRecordsResponse(
                chunk=piece.chunk, records=piece.records, total_records=piece.total_records
            )

    async def GetAuditHead(self, request: pb.GetAuditHeadRequest, _context: object) -> pb.GetAuditHeadResponse:
        """See the contract."""
        return pb.GetAuditHeadResponse(**await self._head(current_caller().project, request))

    async def ListInstallationAuditRecords(
        self, request: pb.ListInstallationAuditRecordsRequest, _context: object
    ) -> pb.ListInstallationAuditRecordsResponse:
        """See the contract."""
        return pb.ListInstallationAuditRecordsResponse(**await self._page(INSTALLATION, request))

    async def ExportInstallationAuditRecords(
        self, _request: pb.ExportInstallationAuditRecordsRequest, _context: object
    ) -> AsyncIterator[pb.ExportInstallationAuditRecordsResponse]:
        """See the contract."""
        async for piece in self.read.export(INSTALLATION):
            yield pb.ExportInstallationAuditRecordsResponse(
                chunk=piece.chunk, records=piece.records, total_records=piece.total_records
            )

    async def GetInstallationAuditHead(
        self, request: pb.GetInstallationAuditHeadRequest, _context: object
    ) -> pb.GetInstallationAuditHeadResponse:
        """See the contract."""
        return pb.GetInstallationAuditHeadResponse(**await self._head(INSTALLATION, request))

    async def _page(
        self, chain: str, request: pb.ListAuditRecordsRequest | pb.ListInstallationAuditRecordsRequest
    ) -> dict[str, Any]:
        page = PageRequest(size=request.page_size or DEFAULT_PAGE_SIZE, token=request.page_token)
        found = await self.read.list(chain, filter_of(request.filter), page)
        return {"records": [*map(record_message, found.items)], "next_page_token": found.next_token}

    async def _head(
        self, chain: str, request: pb.GetAuditHeadRequest | pb.GetInstallationAuditHeadRequest
    ) -> dict[str, Any]:
        page = PageRequest(size=request.page_size or MAX_PAGE_SIZE, token=request.page_token)
        head, anchors = await self.read.head(chain, page)
        found = [*map(anchor_message, anchors.items)]
        return {"seq": head.seq, "hash": head.hash, "anchors": found, "next_page_token": anchors.next_token}
