"""Read the profile of a dataset version: its examples are counted when it is asked for, and nothing is stored."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_ingest.datasets.domain.version import DatasetVersion
from tidemill_ingest.datasets.ports import Datasets, Parts
from tidemill_ingest.errors import DifferenceTooLarge
from tidemill_ingest.labels.domain import ItemLabels, values_of
from tidemill_ingest.labels.ports import Labels
from tidemill_ingest.limits import Limits
from tidemill_ingest.profiles.domain.profile import OF_DATASETS
from tidemill_ingest.profiles.ports import CountExamples, ExampleLabels
from tidemill_ingest.profiles.read_profiles import Comparison, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetComparison:
    """The profiles, and the versions that they are of."""

    comparison: Comparison
    version: str
    baseline: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileDatasets:
    """Versions are immutable but for erasures: what is counted anew says no more than what is there."""

    datasets: Datasets
    parts: Parts
    count: CountExamples
    labels: Labels
    limits: Limits

    async def __call__(
        self, caller: Caller, reference: str, *, baseline: str, significance: float
    ) -> DatasetComparison:
        """Return the profile of a version, compared with another one where that is named.

        Raises:
            InvalidInput: no version is named.
            DatasetNotFound, DatasetVersionNotFound: there is no such thing.
            DifferenceTooLarge: they have more examples than are compared.

        """
        if not reference:
            raise InvalidInput.at(field="version", text="is empty: name dataset@number, or dataset for the newest")
        version = await self._version(caller, reference)
        before = await self._version(caller, baseline) if baseline else None
        count = sum(each.examples for each in (version, before) if each)
        if count > self.limits.compared_examples:
            raise DifferenceTooLarge(examples=count, limit=self.limits.compared_examples)
        side = await self._side(caller, version)
        other = await self._side(caller, before) if before else None
        comparison = await asyncio.to_thread(Comparison.of, side, other, significance=significance, columns=OF_DATASETS)
        return DatasetComparison(comparison=comparison, version=version.id, baseline=before.id if before else "")

    async def _version(self, caller: Caller, reference: str) -> DatasetVersion:
        dataset = await self.datasets.get(caller.project, reference.partition("@")[0])
        return dataset.version_named(reference)

    async def _side(self, caller: Caller, version: DatasetVersion) -> Side:
        parts = {
            "train": await self.parts.lines(version.draft.train.object),
            "held_out": await self.parts.lines(version.draft.held_out.object),
        }
        found = await self.labels.of_dataset(caller.project, version.dataset, limit=self.limits.compared_examples)
        return await self.count(caller.project, parts, await asyncio.to_thread(_values_by_example, found)), ()


def _values_by_example(found: Mapping[str, Sequence[ItemLabels]]) -> ExampleLabels:
    return {example: [*dict.fromkeys(values_of(items))] for example, items in found.items()}
