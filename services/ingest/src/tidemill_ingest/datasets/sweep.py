"""Delete what no dataset needs any more: versions and labels past their retention, and what a kill left behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_core.application import Clock, Request, ResourceKey
from tidemill_ingest.datasets.domain.dataset import Dataset
from tidemill_ingest.datasets.ports import Datasets, Parts, StoredPart
from tidemill_ingest.errors import DatasetNotFound
from tidemill_ingest.labels.ports import Labels
from tidemill_ingest.projects import Projects


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepDatasets:
    """Goes by what lies in the bucket; repeating it is harmless.

    The dataset's lease is held meanwhile: parts have the name of their content, so a worker could put again, and
    publish, what was garbage when it was listed.
    """

    datasets: Datasets
    parts: Parts
    clock: Clock
    deleted_after: timedelta
    """How long the versions of a deleted dataset stay readable."""
    unreferenced_after: timedelta
    """Longer than any version takes from its first put to its save."""
    projects: Projects
    labels: Labels

    async def __call__(self, name: ResourceKey, *, epoch: int) -> int:
        """Go once through the objects of a dataset, under a lease with this epoch, and return how many went."""
        if self.projects.spares(name.project):
            return 0
        now = self.clock.now()
        stored = await self.parts.of_dataset(name)
        dataset = await self._current(name, now)
        unneeded = self._unneeded(dataset, stored, now)
        if unneeded and dataset:  # a worker that slept through its lease saves nothing from now on
            dataset = await self.datasets.update(
                name.project, name.id, lambda each: each.claim(epoch), request=Request.internal()
            )
            unneeded = self._unneeded(dataset, stored, now)
        if dataset is not None and dataset.is_past(deleted_before=now - self.deleted_after):
            while await self.labels.erase_dataset(name.project, name.id):
                pass
        await self.parts.delete(unneeded)
        return len(unneeded)

    async def _current(self, name: ResourceKey, now: datetime) -> Dataset | None:
        try:
            dataset = await self.datasets.get(name.project, name.id)
        except DatasetNotFound:
            return None
        before = now - self.deleted_after
        if not dataset.versions or not dataset.is_past(deleted_before=before):
            return dataset
        return await self.datasets.update(
            name.project, name.id, lambda each: each.forget(deleted_before=before), request=Request.internal()
        )

    def _unneeded(self, dataset: Dataset | None, stored: Sequence[StoredPart], now: datetime) -> list[str]:
        kept = dataset.kept_keys() if dataset else frozenset()
        past = dataset is not None and dataset.is_past(deleted_before=now - self.deleted_after)
        garbage_before = now - self.unreferenced_after
        return [each.key for each in stored if each.key not in kept and (past or each.stored_at < garbage_before)]
