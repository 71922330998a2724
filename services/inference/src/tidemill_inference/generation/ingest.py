"""Texts of documents, and who may read them, as ingest keeps them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc

from tidemill.ingest.v1 import document_service_pb2, document_service_pb2_grpc
from tidemill_core.application import Caller
from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable, Internal, InvalidInput, NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_inference.errors import ServiceNotNamed
from tidemill_inference.generation.domain.errors import TextGone
from tidemill_inference.generation.ports import DocumentVersion

_MAX_CHECKED = 200
"""What ingest takes."""


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
            with _asking(caller):
                return (await self._documents.GetDocumentText(request, timeout=self._timeout_s)).text
        except (NotFound, InvalidInput) as error:
            raise TextGone(document, version=version) from error


class IngestReaders:
    """Implements `ports.DocumentReaders`; None knows no ingest."""

    def __init__(self, channel: grpc.aio.Channel | None, *, timeout_s: float) -> None:
        self._documents = document_service_pb2_grpc.DocumentServiceStub(channel) if channel else None
        self._timeout_s = timeout_s

    async def restricted(
        self, caller: Caller, versions: Sequence[DocumentVersion], *, principals: Sequence[str]
    ) -> frozenset[DocumentVersion]:
        """See `DocumentReaders.restricted`."""
        if self._documents is None:
            return frozenset(versions)
        names = [document_service_pb2.VersionName(document=document, version=number) for document, number in versions]
        requests = [
            document_service_pb2.CheckReadersRequest(
                versions=names[start : start + _MAX_CHECKED], principals=principals
            )
            for start in range(0, len(names), _MAX_CHECKED)
        ]
        with _asking(caller):
            replies = [await self._documents.CheckReaders(each, timeout=self._timeout_s) for each in requests]
        return frozenset((each.document, each.version) for reply in replies for each in reply.restricted)


@contextmanager
def _asking(caller: Caller) -> Iterator[None]:
    try:
        with acting_as(caller):
            yield
    except (DeadlineExceeded, Internal) as error:
        message = f"ingest does not answer: {error.message}"
        raise DependencyUnavailable(message, dependency="ingest") from error
