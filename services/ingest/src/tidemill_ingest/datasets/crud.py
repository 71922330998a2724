"""Create, read, change and delete datasets."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Page, PageRequest, Request
from tidemill_ingest.datasets.domain.dataset import Dataset, DatasetState
from tidemill_ingest.datasets.ports import Datasets
from tidemill_ingest.errors import DatasetNotFound
from tidemill_ingest.limits import Limits

_FIELDS = {"labels": "labels", "held_out_share": "share", "group_by": "group_by"}
CHANGEABLE = frozenset(_FIELDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateDataset:
    """The dataset as its owner describes it."""

    dataset: Dataset
    request: Request
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateDataset:
    """`fields` names what changes to what `dataset` says; `etag` is what the caller read."""

    dataset: Dataset
    fields: frozenset[str]
    request: Request
    etag: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteDataset:
    """`etag` is what the caller read."""

    dataset_id: str
    request: Request
    etag: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ManageDatasets:
    """Emits nothing: versions have events of their own. The same request again has no second effect."""

    datasets: Datasets
    clock: Clock
    limits: Limits

    async def create(self, caller: Caller, command: CreateDataset) -> Dataset:
        """Return the new dataset; one that was deleted goes on with its groups and numbers.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            DatasetExists: the id is taken.

        """
        desired = command.dataset
        desired.check(self.limits)
        fresh = Dataset(id=desired.id, project=caller.project)
        if not command.validate_only:
            return await self.datasets.upsert(fresh, lambda each: each.declare(desired), request=command.request)
        try:
            preview = await self.datasets.get(caller.project, desired.id)
        except DatasetNotFound:
            preview = fresh
        preview.declare(desired)
        return preview

    async def get(self, caller: Caller, dataset_id: str) -> Dataset:
        """Return the dataset; a deleted one is not found, though its versions are.

        Raises:
            DatasetNotFound: the caller's project has no such dataset.

        """
        dataset = await self.datasets.get(caller.project, dataset_id)
        dataset.require_active()
        return dataset

    async def list(self, caller: Caller, page: PageRequest) -> Page[Dataset]:
        """Return a page of datasets, oldest first."""
        return await self.datasets.list(caller.project, page=page, where={"state": DatasetState.ACTIVE.value})

    async def update(self, caller: Caller, command: UpdateDataset) -> Dataset:
        """Return the changed dataset; another share counts for groups that are new from now on.

        Raises:
            InvalidInput: naming every field that breaks its rule.
            DatasetNotFound: there is none.
            DatasetChanged: it changed since the etag.

        """

        def change(dataset: Dataset) -> None:
            for name in command.fields:
                setattr(dataset, _FIELDS[name], getattr(command.dataset, _FIELDS[name]))
            dataset.check(self.limits)

        return await self._change(caller, command.dataset.id, change, command)

    async def delete(self, caller: Caller, command: DeleteDataset) -> Dataset:
        """Return the dataset as it is now; its versions stay readable for their retention.

        Raises:
            DatasetNotFound: there is none.
            DatasetChanged: it changed since the etag.

        """
        now = self.clock.now()
        return await self._change(caller, command.dataset_id, lambda each: each.delete(now=now), command)

    async def _change(
        self,
        caller: Caller,
        dataset_id: str,
        change: Callable[[Dataset], None],
        command: UpdateDataset | DeleteDataset,
    ) -> Dataset:
        def changed(dataset: Dataset) -> None:
            dataset.require_active()
            dataset.check_etag(command.etag)
            change(dataset)

        if not command.validate_only:
            return await self.datasets.update(caller.project, dataset_id, changed, request=command.request)
        preview = deepcopy(await self.datasets.get(caller.project, dataset_id))
        changed(preview)
        return preview
