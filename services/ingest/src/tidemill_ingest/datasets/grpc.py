"""DatasetService."""

from collections.abc import AsyncIterator
from typing import Any

from grpc.aio import ServicerContext

from tidemill.ingest.v1 import dataset_service_pb2 as pb
from tidemill.ingest.v1 import dataset_service_pb2_grpc
from tidemill_ingest.datasets.crud import CHANGEABLE, ManageDatasets
from tidemill_ingest.datasets.messages import dataset_message, dataset_of, split_of, version_message
from tidemill_ingest.datasets.read_versions import ReadVersions
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, required, write_of
from tidemill_kit.mapping import to_message

Context = ServicerContext[Any, Any]

CHUNK_BYTES = 1_000_000


class DatasetServicer(dataset_service_pb2_grpc.DatasetServiceServicer):
    """Message -> command -> use case -> message."""

    def __init__(self, *, datasets: ManageDatasets, versions: ReadVersions) -> None:
        self._datasets = datasets
        self._versions = versions

    async def CreateDataset(self, request: pb.CreateDatasetRequest, context: Context) -> pb.CreateDatasetResponse:  # noqa: ARG002
        """See the contract."""
        caller = current_caller()
        required(request, "dataset")
        dataset = await self._datasets.create(caller, dataset_of(request.dataset, caller.project), write_of(request))
        return pb.CreateDatasetResponse(dataset=dataset_message(dataset))

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Context) -> pb.GetDatasetResponse:  # noqa: ARG002
        """See the contract."""
        dataset = await self._datasets.get(current_caller(), request.id)
        return pb.GetDatasetResponse(dataset=dataset_message(dataset))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Context) -> pb.ListDatasetsResponse:  # noqa: ARG002
        """See the contract."""
        page = await self._datasets.list(current_caller(), page_of(request, filters={}))
        return pb.ListDatasetsResponse(
            datasets=[dataset_message(each) for each in page.items], next_page_token=page.next_token
        )

    async def UpdateDataset(self, request: pb.UpdateDatasetRequest, context: Context) -> pb.UpdateDatasetResponse:  # noqa: ARG002
        """See the contract."""
        caller = current_caller()
        required(request, "dataset")
        fields = paths_of(request.update_mask, allowed=CHANGEABLE)
        write = write_of(request, etag=request.dataset.etag)
        dataset = await self._datasets.update(caller, dataset_of(request.dataset, caller.project), fields, write)
        return pb.UpdateDatasetResponse(dataset=dataset_message(dataset))

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Context) -> pb.DeleteDatasetResponse:  # noqa: ARG002
        """See the contract."""
        deleted = await self._datasets.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteDatasetResponse(dataset=dataset_message(deleted))

    async def GetDatasetVersion(
        self,
        request: pb.GetDatasetVersionRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.GetDatasetVersionResponse:
        """See the contract."""
        caller = current_caller()
        version = await self._versions.version(caller, request.id)
        return pb.GetDatasetVersionResponse(version=version_message(version, caller.project))

    async def ListDatasetVersions(
        self,
        request: pb.ListDatasetVersionsRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.ListDatasetVersionsResponse:
        """See the contract."""
        caller = current_caller()
        page = await self._versions.versions(caller, request.dataset, page_of(request, filters={}))
        return pb.ListDatasetVersionsResponse(
            versions=[version_message(each, caller.project) for each in page.items], next_page_token=page.next_token
        )

    async def DiffDatasetVersions(
        self,
        request: pb.DiffDatasetVersionsRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.DiffDatasetVersionsResponse:
        """See the contract."""
        difference = await self._versions.difference(current_caller(), request.base, request.target)
        return to_message(pb.DiffDatasetVersionsResponse, difference)

    async def ExportDatasetVersion(
        self,
        request: pb.ExportDatasetVersionRequest,
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[pb.ExportDatasetVersionResponse]:
        """See the contract."""
        lines = await self._versions.part(current_caller(), request.id, split_of(request.part))
        for start in range(0, len(lines), CHUNK_BYTES):
            yield pb.ExportDatasetVersionResponse(chunk=lines[start : start + CHUNK_BYTES])
