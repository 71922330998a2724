"""ServedModelService: message -> use case -> message."""

from tidemill.inference.v1 import served_model_service_pb2 as pb
from tidemill.inference.v1.served_model_pb2 import ModelCapability
from tidemill.inference.v1.served_model_pb2 import ServedModel as ServedModelMessage
from tidemill.inference.v1.served_model_service_pb2_grpc import ServedModelServiceServicer
from tidemill_inference.served_models.domain.served_model import ServedModel
from tidemill_inference.served_models.read_served_models import ReadServedModels
from tidemill_kit.grpc.server import current_caller, page_of
from tidemill_kit.mapping import to_message


class GrpcServedModelService(ServedModelServiceServicer):
    """Serves what clients choose from; errors are mapped by the kit's interceptor."""

    def __init__(self, reading: ReadServedModels) -> None:
        self._reading = reading

    async def GetServedModel(self, request: pb.GetServedModelRequest, _context: object) -> pb.GetServedModelResponse:
        """Return what one deployment serves."""
        return pb.GetServedModelResponse(served_model=_message(await self._reading.get(current_caller(), request.id)))

    async def ListServedModels(
        self, request: pb.ListServedModelsRequest, _context: object
    ) -> pb.ListServedModelsResponse:
        """Return a page."""
        page = await self._reading.list(current_caller(), page=page_of(request, filters={}))
        return pb.ListServedModelsResponse(
            served_models=[_message(each) for each in page.items], next_page_token=page.next_token
        )


def _message(served: ServedModel) -> ServedModelMessage:
    names = sorted(f"MODEL_CAPABILITY_{each.name}" for each in served.capabilities or ())
    return to_message(ServedModelMessage, served, capabilities=[ModelCapability.Value(each) for each in names])
