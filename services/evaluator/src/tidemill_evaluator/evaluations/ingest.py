"""Client of ingest: its datasets, and who may read a document."""

from collections.abc import Sequence

import grpc

from tidemill.ingest.v1 import dataset_service_pb2, document_service_pb2
from tidemill.ingest.v1.dataset_service_pb2_grpc import DatasetServiceStub
from tidemill.ingest.v1.document_service_pb2_grpc import DocumentServiceStub
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller
from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable, Internal
from tidemill_core.grpc.context import acting_as
from tidemill_core.rights import principals
from tidemill_evaluator.suites.domain.cases import CaseSet, DocumentVersion
from tidemill_kit.mapping import REST, from_message

_MAX_CHECKED = 200
"""What ingest takes."""


class IngestDatasets:
    """Implements `ports.Datasets`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._datasets = DatasetServiceStub(channel)

    async def newest(self, caller: Caller, dataset: str) -> str:
        """See `Datasets.newest`."""
        with acting_as(caller):
            found = (await self._datasets.GetDataset(dataset_service_pb2.GetDatasetRequest(id=dataset))).dataset
        return f"{dataset}@{found.latest_version}" if found.latest_version else ""

    async def held_out(self, caller: Caller, dataset_version: str) -> CaseSet:
        """See `Datasets.held_out`."""
        request = dataset_service_pb2.GetDatasetVersionRequest(id=dataset_version)
        with acting_as(caller):
            found = (await self._datasets.GetDatasetVersion(request)).version
        part = found.held_out
        return CaseSet(
            dataset=found.dataset,
            number=found.number,
            size=part.examples,
            content=from_message(ObjectRef, part, ignore=REST),
        )


class IngestReaders:
    """Implements `ports.Readers`."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float) -> None:
        self._documents = DocumentServiceStub(channel)
        self._timeout_s = timeout_s

    async def restricted(self, caller: Caller, versions: Sequence[DocumentVersion]) -> frozenset[DocumentVersion]:
        """See `Readers.restricted`."""
        restricted = set[DocumentVersion]()
        for start in range(0, len(versions), _MAX_CHECKED):
            names = [
                document_service_pb2.VersionName(document=each.document, version=each.version)
                for each in versions[start : start + _MAX_CHECKED]
            ]
            request = document_service_pb2.CheckReadersRequest(versions=names, principals=principals(caller))
            try:
                with acting_as(caller):
                    reply = await self._documents.CheckReaders(request, timeout=self._timeout_s)
            except (DeadlineExceeded, Internal) as error:
                message = f"ingest does not answer: {error.message}"
                raise DependencyUnavailable(message, dependency="ingest") from error
            restricted |= {DocumentVersion(each.document, each.version) for each in reply.restricted}
        return frozenset(restricted)
