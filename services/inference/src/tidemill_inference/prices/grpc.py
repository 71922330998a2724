"""PriceService: message -> use case -> message."""

from dataclasses import dataclass

from tidemill.inference.v1 import price_pb2, price_service_pb2_grpc
from tidemill.inference.v1 import price_service_pb2 as pb
from tidemill_inference.prices.crud import CHANGEABLE, PriceCrud
from tidemill_inference.prices.domain.price import Price
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, required, write_of
from tidemill_kit.mapping import from_message, to_message


@dataclass(frozen=True, kw_only=True)
class GrpcPriceService(price_service_pb2_grpc.PriceServiceServicer):
    """Serves prices; errors are mapped by the kit's interceptor."""

    prices: PriceCrud

    async def CreatePrice(self, request: pb.CreatePriceRequest, _context: object) -> pb.CreatePriceResponse:
        """Create a price."""
        required(request, "price")
        caller = current_caller()
        created = await self.prices.create(caller, _price_of(request.price, caller.project), write_of(request))
        return to_message(pb.CreatePriceResponse, price=created)

    async def GetPrice(self, request: pb.GetPriceRequest, _context: object) -> pb.GetPriceResponse:
        """Return one price."""
        return to_message(pb.GetPriceResponse, price=await self.prices.get(current_caller(), request.id))

    async def ListPrices(self, request: pb.ListPricesRequest, _context: object) -> pb.ListPricesResponse:
        """Return a page of prices."""
        page = await self.prices.list(current_caller(), page_of(request, filters={}))
        return to_message(pb.ListPricesResponse, prices=page.items, next_page_token=page.next_token)

    async def UpdatePrice(self, request: pb.UpdatePriceRequest, _context: object) -> pb.UpdatePriceResponse:
        """Change the fields that the mask names."""
        required(request, "price")
        caller, paths = current_caller(), paths_of(request.update_mask, allowed=CHANGEABLE)
        write = write_of(request, etag=request.price.etag)
        updated = await self.prices.update(caller, _price_of(request.price, caller.project), paths, write)
        return to_message(pb.UpdatePriceResponse, price=updated)

    async def DeletePrice(self, request: pb.DeletePriceRequest, _context: object) -> pb.DeletePriceResponse:
        """Delete a price."""
        deleted = await self.prices.delete(current_caller(), request.id, write_of(request))
        return to_message(pb.DeletePriceResponse, price=deleted)


def _price_of(message: price_pb2.Price, project: str) -> Price:
    return from_message(Price, message, prefix="price", project=project, versions=())
