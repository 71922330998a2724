"""Create, change and delete datasets."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_ingest.datasets.domain.dataset import Dataset
from tidemill_ingest.datasets.ports import Datasets
from tidemill_ingest.errors import DatasetChanged, DatasetNotFound
from tidemill_ingest.limits import Limits

CHANGEABLE = frozenset({"labels", "held_out_share", "group_by"})
_FIELDS = {"labels": "labels", "held_out_share": "share", "group_by": "group_by"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateDatasetCommand:
    """The dataset as its owner describes it."""

    dataset: Dataset
    request: Request
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateDatasetCommand:
    """`fields` names what changes to what `dataset` says; `etag` is what the caller read."""

    dataset: Dataset
    fields: frozenset[str]
    request: Request
    etag: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteDatasetCommand:
    """`etag` is what the caller read."""

    dataset_id: str
    request: Request
    etag: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeDatasets:
    """Emits nothing: versions have events of their own. The same request again has no second effect."""

    datasets: Datasets
    clock: Clock
    limits: Limits

    async def create(self, command: CreateDatasetCommand) -> Dataset:
        """Return the new dataset; one that was deleted goes on with its groups and numbers.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            DatasetExists: the id is taken.

        """
        desired = command.dataset
        desired.check(self.limits)

        def change(dataset: Dataset) -> None:
            dataset.declare(desired)

        fresh = Dataset(id=desired.id, project=desired.project)
        if command.validate_only:
            return await self._preview(fresh, change)
        return await self.datasets.upsert(fresh, change, request=command.request)

    async def update(self, command: UpdateDatasetCommand) -> Dataset:
        """Return the changed dataset; another share counts for groups that are new from now on.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            DatasetNotFound: there is none.
            DatasetChanged: it changed since the etag.

        """
        desired = command.dataset

        def change(dataset: Dataset) -> None:
            _require(dataset, command.etag)
            for name in command.fields:
                setattr(dataset, _FIELDS[name], getattr(desired, _FIELDS[name]))
            dataset.check(self.limits)

        return await self._change(desired.project, desired.id, change, command)

    async def delete(self, caller: Caller, command: DeleteDatasetCommand) -> Dataset:
        """Return the dataset as it is now; its versions stay readable for their retention.

        Raises:
            DatasetNotFound: there is none.
            DatasetChanged: it changed since the etag.

        """
        now = self.clock.now()

        def change(dataset: Dataset) -> None:
            _require(dataset, command.etag)
            dataset.delete(now=now)

        return await self._change(caller.project, command.dataset_id, change, command)

    async def _change(
        self,
        project: str,
        dataset_id: str,
        change: Callable[[Dataset], None],
        command: UpdateDatasetCommand | DeleteDatasetCommand,
    ) -> Dataset:
        if command.validate_only:
            preview = deepcopy(await self.datasets.get(project, dataset_id))
            change(preview)
            return preview
        return await self.datasets.update(project, dataset_id, change, request=command.request)

    async def _preview(self, fresh: Dataset, change: Callable[[Dataset], None]) -> Dataset:
        try:
            preview = deepcopy(await self.datasets.get(fresh.project, fresh.id))
        except DatasetNotFound:
            preview = fresh
        change(preview)
        return preview


def _require(dataset: Dataset, etag: str) -> None:
    dataset.require_active()
    if etag and etag != str(dataset.version):
        raise DatasetChanged(dataset.id, etag=etag)
