"""ErasureService: message -> use case -> message."""

from dataclasses import dataclass

from tidemill.monitor.v1 import erasure_service_pb2 as pb
from tidemill.monitor.v1.erasure_service_pb2_grpc import ErasureServiceServicer
from tidemill_kit.grpc.server import current_caller, page_of, write_of
from tidemill_monitor.erasures.messages import erasure_message
from tidemill_monitor.erasures.read_erasures import ReadErasures
from tidemill_monitor.erasures.request_erasure import RequestErasure


@dataclass(frozen=True, kw_only=True)
class GrpcErasureService(ErasureServiceServicer):
    """Requests erasures, and says how far they are."""

    request_erasure: RequestErasure
    read: ReadErasures

    async def RequestErasure(self, request: pb.RequestErasureRequest, _context: object) -> pb.RequestErasureResponse:
        """See the contract."""
        requested = await self.request_erasure(
            current_caller(), end_user=request.end_user, document=request.document, write=write_of(request)
        )
        (overview,) = await self.read.overviews([requested])
        return pb.RequestErasureResponse(erasure=erasure_message(overview))

    async def GetErasure(self, request: pb.GetErasureRequest, _context: object) -> pb.GetErasureResponse:
        """See the contract."""
        return pb.GetErasureResponse(erasure=erasure_message(await self.read.get(current_caller(), request.id)))

    async def ListErasures(self, request: pb.ListErasuresRequest, _context: object) -> pb.ListErasuresResponse:
        """See the contract."""
        page = await self.read.list(current_caller(), page_of(request, filters={}))
        return pb.ListErasuresResponse(erasures=[*map(erasure_message, page.items)], next_page_token=page.next_token)

    async def GetErasureCertificate(
        self, request: pb.GetErasureCertificateRequest, _context: object
    ) -> pb.GetErasureCertificateResponse:
        """See the contract."""
        certificate, sha256 = await self.read.certificate(current_caller(), request.id)
        return pb.GetErasureCertificateResponse(certificate=certificate, sha256=sha256)
