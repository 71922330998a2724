"""Client of ingest's datasets."""

import grpc

from tidemill.ingest.v1 import dataset_service_pb2
from tidemill.ingest.v1.dataset_service_pb2_grpc import DatasetServiceStub
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller
from tidemill_core.grpc.context import acting_as
from tidemill_evaluator.suites.domain.cases import CaseSet
from tidemill_kit.mapping import REST, from_message


class IngestDatasets:
    """Implements `ports.Datasets`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._datasets = DatasetServiceStub(channel)

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
