"""Datasets: immutable versions of examples with a train and a held-out split."""

from collections.abc import AsyncIterator
from typing import Literal

from tidemill.ingest.v1.dataset_pb2 import Dataset, DatasetSplit, DatasetVersion
from tidemill.ingest.v1.dataset_service_pb2 import (
    ApproveDatasetVersionRequest,
    DiffDatasetVersionsRequest,
    DiffDatasetVersionsResponse,
    ExportDatasetVersionRequest,
    GetDatasetRequest,
    GetDatasetVersionRequest,
    ListDatasetsRequest,
    ListDatasetVersionsRequest,
)
from tidemill_client.connection import UPLOAD_LIMIT_S, Connection
from tidemill_client.pages import each
from tidemill_client.waiting import poll

PATIENCE_S = 600.0
Part = Literal["train", "held_out"]
PARTS: tuple[Part, ...] = ("train", "held_out")


class Datasets:
    """The datasets of a project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, dataset: str) -> Dataset:
        """Return a dataset."""
        return (await self._connection.datasets.GetDataset(GetDatasetRequest(id=dataset))).dataset

    def all(self) -> AsyncIterator[Dataset]:
        """Yield the datasets, oldest first."""
        return each(self._connection.datasets.ListDatasets, ListDatasetsRequest(), lambda page: page.datasets)

    async def version(self, reference: str) -> DatasetVersion:
        """Return `dataset@number`, or for `dataset` its newest version."""
        return (await self._connection.datasets.GetDatasetVersion(GetDatasetVersionRequest(id=reference))).version

    def versions(self, dataset: str) -> AsyncIterator[DatasetVersion]:
        """Yield the versions of a dataset, oldest first."""
        request = ListDatasetVersionsRequest(dataset=dataset)
        return each(self._connection.datasets.ListDatasetVersions, request, lambda page: page.versions)

    async def approve(self, reference: str, *, rationale: str = "") -> DatasetVersion:
        """Approve `dataset@number`; with the last approval that is required, trainings start on it."""
        request = ApproveDatasetVersionRequest(id=reference, rationale=rationale)
        return (await self._connection.datasets.ApproveDatasetVersion(request)).version

    async def diff(self, base: str, target: str) -> DiffDatasetVersionsResponse:
        """Return the ids of examples that were added, removed, changed or moved between two versions."""
        request = DiffDatasetVersionsRequest(base=base, target=target)
        return await self._connection.datasets.DiffDatasetVersions(request)

    async def export(self, reference: str, *, part: Part = "train") -> AsyncIterator[bytes]:
        """Yield the bytes of a split: JSON lines, one example each."""
        request = ExportDatasetVersionRequest(id=reference, part=DatasetSplit.Value(f"DATASET_SPLIT_{part.upper()}"))
        async for piece in self._connection.datasets.ExportDatasetVersion(request, timeout=UPLOAD_LIMIT_S):
            yield piece.chunk

    async def wait(self, dataset: str, *, number: int = 1, within_s: float = PATIENCE_S) -> DatasetVersion:
        """Wait until a dataset has this version or a later one, and return the newest.

        Raises:
            DeadlineExceeded: `within_s` has passed.

        """
        await poll(
            lambda: self.get(dataset),
            lambda found: found.latest_version >= number,
            what=f"{dataset}@{number}",
            within_s=within_s,
        )
        return await self.version(dataset)
