"""Texts of documents, as ingest keeps them."""

import grpc

from tidemill.ingest.v1 import document_service_pb2, document_service_pb2_grpc
from tidemill_core.application import Caller
from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable, Internal, InvalidInput, NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_inference.errors import ServiceNotNamed, TextGone


class IngestTexts:
    """Implements `ports.DocumentTexts`; None knows no ingest."""

    def __init__(self, channel: grpc.aio.Channel | None, *, timeout_s: float) -> None:
        self._documents = document_service_pb2_grpc.DocumentServiceStub(channel) if channel else None
        self._timeout_s = timeout_s

    async def get(self, caller: Caller, document: str, version: int) -> str:
        """See `DocumentTexts.get`."""
        if self._documents is None:
            raise ServiceNotNamed(service="ingest", setting="INFERENCE_INGEST_ADDRESS")
        request = document_service_pb2.GetDocumentTextRequest(id=document, version=version)
        try:
            with acting_as(caller):
                return (await self._documents.GetDocumentText(request, timeout=self._timeout_s)).text
        except (NotFound, InvalidInput) as error:
            raise TextGone(document, version=version) from error
        except (DeadlineExceeded, Internal) as error:
            message = f"ingest does not answer: {error.message}"
            raise DependencyUnavailable(message, dependency="ingest") from error
