"""BatchService: message -> use case -> message."""

from tidemill.inference.v1 import batch_service_pb2 as pb
from tidemill.inference.v1.batch_service_pb2_grpc import BatchServiceServicer
from tidemill_inference.batches.crud import BatchCrud
from tidemill_inference.batches.messages import batch_message, batch_request_of
from tidemill_kit.grpc.server import current_caller, page_of, request_of, write_of


class GrpcBatchService(BatchServiceServicer):
    """Serves batches; errors are mapped by the kit's interceptor."""

    def __init__(self, crud: BatchCrud) -> None:
        self._crud = crud

    async def CreateBatch(self, request: pb.CreateBatchRequest, _context: object) -> pb.CreateBatchResponse:
        """Begin a batch."""
        batch = await self._crud.create(current_caller(), batch_request_of(request.batch), write_of(request))
        return pb.CreateBatchResponse(batch=batch_message(batch))

    async def GetBatch(self, request: pb.GetBatchRequest, _context: object) -> pb.GetBatchResponse:
        """Return one batch."""
        return pb.GetBatchResponse(batch=batch_message(await self._crud.get(current_caller(), request.id)))

    async def ListBatches(self, request: pb.ListBatchesRequest, _context: object) -> pb.ListBatchesResponse:
        """Return a page of batches."""
        page = await self._crud.list(current_caller(), page=page_of(request, filters={}))
        return pb.ListBatchesResponse(batches=map(batch_message, page.items), next_page_token=page.next_token)

    async def CancelBatch(self, request: pb.CancelBatchRequest, _context: object) -> pb.CancelBatchResponse:
        """End a batch early."""
        batch = await self._crud.cancel(current_caller(), request.id, request=request_of(request))
        return pb.CancelBatchResponse(batch=batch_message(batch))
