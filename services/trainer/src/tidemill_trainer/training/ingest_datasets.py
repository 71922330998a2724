"""Dataset versions from ingest's API, and their files from ingest's buckets."""

from collections.abc import Mapping
from pathlib import Path

import grpc

from tidemill.ingest.v1 import dataset_pb2
from tidemill.ingest.v1 import dataset_service_pb2 as pb
from tidemill.ingest.v1.dataset_service_pb2_grpc import DatasetServiceStub
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller
from tidemill_core.approvals import ApprovalMissing
from tidemill_core.errors import NotFound, PermissionDenied
from tidemill_core.grpc.context import acting_as
from tidemill_core.resources import ResolveShared, nothing_shared, owner_of
from tidemill_kit.mapping import REST, from_message
from tidemill_kit.store.objects import ExchangeBucket, ObjectMissing
from tidemill_trainer.errors import DatasetVersionNotFound
from tidemill_trainer.training.domain.plan import DatasetVersion


class IngestDatasets:
    """Implements `ports.Datasets`.

    Reads only the configured buckets, and there only objects of the project, or of one that shares the dataset with it.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        buckets: Mapping[str, ExchangeBucket],
        *,
        shared: ResolveShared = nothing_shared,
    ) -> None:
        self._ingest = DatasetServiceStub(channel)
        self._buckets = buckets
        self._shared = shared

    async def version(self, caller: Caller, reference: str) -> DatasetVersion:
        """See `Datasets.version`."""
        found = await self._found(caller, reference)
        name = f"{found.dataset}@{found.number}"
        if found.missing_approvals:
            raise ApprovalMissing(
                kind="dataset", version=name, missing=found.missing_approvals, role=found.approval.role
            )
        return DatasetVersion(
            id=name,
            train=from_message(ObjectRef, found.train, ignore=REST),
            examples=found.train.examples,
        )

    def check(self, project: str, version: DatasetVersion) -> None:
        """See `Datasets.check`."""
        self._check(project, version.id, version.train)

    async def fetch(self, project: str, version: DatasetVersion, target: Path) -> DatasetVersion:
        """See `Datasets.fetch`.

        An erasure writes the split as another object, so that the one a run was queued with may be gone.
        """
        try:
            await self._download(project, version, target)
        except ObjectMissing:
            present = await self.version(Caller.of_service(project, "trainer"), version.id)
            await self._download(project, present, target)
            return present
        return version

    async def fetch_held_out(self, project: str, version: str, target: Path) -> bool:
        """See `Datasets.fetch_held_out`. An erasure may write the split anew between the answer and the download."""
        for is_last in (False, True):
            split = (await self._found(Caller.of_service(project, "trainer"), version)).held_out
            if not split.examples:
                return False
            part = from_message(ObjectRef, split, ignore=REST)
            self._check(project, version, part, split="held-out")
            try:
                await self._buckets[part.bucket].get_file(part, target)
            except ObjectMissing:
                if is_last:
                    raise
            else:
                break
        return True

    async def _found(self, caller: Caller, reference: str) -> dataset_pb2.DatasetVersion:
        try:
            with acting_as(caller):
                return (await self._ingest.GetDatasetVersion(pb.GetDatasetVersionRequest(id=reference))).version
        except NotFound as error:
            raise DatasetVersionNotFound(reference) from error

    async def _download(self, project: str, version: DatasetVersion, target: Path) -> None:
        self.check(project, version)
        await self._buckets[version.train.bucket].get_file(version.train, target)

    def _check(self, project: str, version: str, part: ObjectRef, *, split: str = "train") -> None:
        dataset = version.partition("@")[0]
        if self._shared(project, dataset) is None:
            raise DatasetVersionNotFound(version)
        if part.bucket not in self._buckets:
            message = (
                f"the {split} split of {version} is in bucket {part.bucket}; "
                f"TRAINER_DATASET_BUCKETS allows {', '.join(self._buckets)}"
            )
            raise PermissionDenied(message, bucket=part.bucket)
        if not part.key.startswith(f"{owner_of(dataset, project)}/"):
            message = f"the {split} split of {version} is outside its project"
            raise PermissionDenied(message, dataset_version=version)
