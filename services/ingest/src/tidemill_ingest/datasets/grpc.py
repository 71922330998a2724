"""DatasetService."""

from collections.abc import AsyncIterator

from tidemill.ingest.v1 import dataset_service_pb2 as pb
from tidemill.ingest.v1 import dataset_service_pb2_grpc
from tidemill_core.resources import owner_of
from tidemill_ingest.datasets.approve_version import ApproveVersion
from tidemill_ingest.datasets.crud import CHANGEABLE, ManageDatasets
from tidemill_ingest.datasets.messages import dataset_message, dataset_of, split_of, version_message
from tidemill_ingest.datasets.read_versions import ReadVersions
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, required, write_of
from tidemill_kit.mapping import to_message

CHUNK_BYTES = 1_000_000


class DatasetServicer(dataset_service_pb2_grpc.DatasetServiceServicer):
    """Message -> command -> use case -> message."""

    def __init__(self, *, datasets: ManageDatasets, versions: ReadVersions, approve: ApproveVersion) -> None:
        self._approve = approve
        self._datasets = datasets
        self._versions = versions

    async def CreateDataset(self, request: pb.CreateDatasetRequest, _context: object) -> pb.CreateDatasetResponse:
        """See the contract."""
        caller = current_caller()
        required(request, "dataset")
        dataset = await self._datasets.create(caller, dataset_of(request.dataset, caller.project), write_of(request))
        return pb.CreateDatasetResponse(dataset=dataset_message(dataset))

    async def GetDataset(self, request: pb.GetDatasetRequest, _context: object) -> pb.GetDatasetResponse:
        """See the contract."""
        dataset = await self._datasets.get(current_caller(), request.id)
        return pb.GetDatasetResponse(dataset=dataset_message(dataset))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, _context: object) -> pb.ListDatasetsResponse:
        """See the contract."""
        page = await self._datasets.list(current_caller(), page_of(request, filters={}))
        return pb.ListDatasetsResponse(
            datasets=[dataset_message(each) for each in page.items], next_page_token=page.next_token
        )

    async def UpdateDataset(self, request: pb.UpdateDatasetRequest, _context: object) -> pb.UpdateDatasetResponse:
        """See the contract."""
        caller = current_caller()
        required(request, "dataset")
        fields = paths_of(request.update_mask, allowed=CHANGEABLE)
        write = write_of(request, etag=request.dataset.etag)
        dataset = await self._datasets.update(caller, dataset_of(request.dataset, caller.project), fields, write)
        return pb.UpdateDatasetResponse(dataset=dataset_message(dataset))

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, _context: object) -> pb.DeleteDatasetResponse:
        """See the contract."""
        deleted = await self._datasets.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteDatasetResponse(dataset=dataset_message(deleted))

    async def GetDatasetVersion(
        self, request: pb.GetDatasetVersionRequest, _context: object
    ) -> pb.GetDatasetVersionResponse:
        """See the contract."""
        caller = current_caller()
        version = await self._versions.version(caller, request.id)
        owner = owner_of(version.dataset, caller.project)
        return pb.GetDatasetVersionResponse(version=version_message(version, owner))

    async def ListDatasetVersions(
        self, request: pb.ListDatasetVersionsRequest, _context: object
    ) -> pb.ListDatasetVersionsResponse:
        """See the contract."""
        caller = current_caller()
        page = await self._versions.versions(caller, request.dataset, page_of(request, filters={}))
        return pb.ListDatasetVersionsResponse(
            versions=[version_message(each, caller.project) for each in page.items], next_page_token=page.next_token
        )

    async def DiffDatasetVersions(
        self, request: pb.DiffDatasetVersionsRequest, _context: object
    ) -> pb.DiffDatasetVersionsResponse:
        """See the contract."""
        difference = await self._versions.difference(current_caller(), request.base, request.target)
        return to_message(pb.DiffDatasetVersionsResponse, difference)

    async def ApproveDatasetVersion(
        self, request: pb.ApproveDatasetVersionRequest, _context: object
    ) -> pb.ApproveDatasetVersionResponse:
        """See the contract."""
        caller = current_caller()
        version = await self._approve(caller, request.id, rationale=request.rationale, write=write_of(request))
        return pb.ApproveDatasetVersionResponse(version=version_message(version, caller.project))

    async def ExportDatasetVersion(
        self, request: pb.ExportDatasetVersionRequest, _context: object
    ) -> AsyncIterator[pb.ExportDatasetVersionResponse]:
        """See the contract."""
        lines = await self._versions.part(current_caller(), request.id, split_of(request.part))
        for start in range(0, len(lines), CHUNK_BYTES):
            yield pb.ExportDatasetVersionResponse(chunk=lines[start : start + CHUNK_BYTES])
