"""Erase examples that show a document, or that an end user asked or wrote, in every version of every dataset."""

from dataclasses import dataclass

from tidemill_core.application import Request, ResourceKey
from tidemill_ingest.datasets.domain.version import Part
from tidemill_ingest.datasets.ports import DatasetLeases, Datasets, ErasedSubject, Parts
from tidemill_ingest.errors import DatasetBusy, DatasetNotFound

_BATCH_SIZE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseExamples:
    """Writes the parts anew without the examples of the subject, and deletes what they were.

    Goes by what lies in the bucket, so that objects that a kill left without a version are found too. The versions
    keep their numbers and content hashes. A dataset's lease is held meanwhile: a worker could publish what was erased.
    """

    datasets: Datasets
    parts: Parts
    leases: DatasetLeases

    async def __call__(self, project: str, subject: ErasedSubject) -> int:
        """Erase a bounded number of examples, and return how many; 0 where none is left.

        Raises:
            DatasetBusy: a worker makes a version of a dataset that has such examples.

        """
        erased = 0
        for name in await self.parts.datasets_of(project):
            stored = [each.key for each in await self.parts.of_dataset(name)]
            holding = [key for key in stored if await self.parts.left_without(key, subject) is not None]
            if not holding:
                continue
            async with self.leases.held(name.key) as lease:
                if lease is None:
                    raise DatasetBusy(name.id)
                for key in holding:
                    erased += await self._erase(name, key, subject, lease.epoch)
            if erased >= _BATCH_SIZE:
                break
        return erased

    async def _erase(self, name: ResourceKey, key: str, subject: ErasedSubject, epoch: int) -> int:
        left = await self.parts.left_without(key, subject)
        if left is None:
            return 0
        if await self._is_needed(name, key):
            part = Part(object=await self.parts.put_part(name, left.lines), examples=left.examples)
            await self.datasets.update(
                name.project,
                name.id,
                lambda dataset: dataset.rewrite(key, part, epoch=epoch),
                request=Request.internal(),
            )
        await self.parts.delete([key])
        return left.erased

    async def _is_needed(self, name: ResourceKey, key: str) -> bool:
        try:
            return key in (await self.datasets.get(name.project, name.id)).kept_keys()
        except DatasetNotFound:
            return False
