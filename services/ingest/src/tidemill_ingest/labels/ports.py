"""What labels need from outside, and what other features need of labels."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from tidemill_ingest.labels.domain import ItemLabels

MAX_SHOWN = 200
"""Items of review queues of which one document shows labels, the latest ones."""

MAX_COUNTED = 10_000
"""Items of review queues that the profile of a source counts."""


class Labels(Protocol):
    """What counts of items of review queues, by item; each way to find it has an index."""

    async def put(self, project: str, labels: ItemLabels) -> None:
        """Keep it, unless something later is kept of the item, or it was erased with this number or a later one.

        Of a removed item its number alone stays.
        """
        ...

    async def of_document(self, project: str, document: str) -> Sequence[ItemLabels]:
        """Return what is kept of a document, what was resolved last first, `MAX_SHOWN` items at most."""
        ...

    async def of_examples(
        self, project: str, dataset: str, examples: Collection[str]
    ) -> Mapping[str, Sequence[ItemLabels]]:
        """Return what is kept of some examples of a dataset, by example."""
        ...

    async def of_dataset(self, project: str, dataset: str, *, limit: int) -> Mapping[str, Sequence[ItemLabels]]:
        """Return what is kept of a dataset's examples, by example, of so many items at most."""
        ...

    async def of_source(self, project: str, source: str, *, limit: int) -> Sequence[ItemLabels]:
        """Return what is kept of a source's documents, of so many items at most."""
        ...

    async def documents_with(self, project: str, term: str, *, after: str, limit: int) -> Sequence[str]:
        """Return the ids of documents that a term finds (`ItemLabels.terms`), in their order after one."""
        ...

    async def erase_document(self, project: str, document: str) -> int:
        """Remove a bounded number of what is kept of a document; return how many, 0 where none is left."""
        ...

    async def forget_person(self, project: str, person: str) -> int:
        """Name a person no more in a bounded number of items; return how many, 0 where none is left."""
        ...

    async def erase_dataset(self, project: str, dataset: str) -> int:
        """Remove a bounded number of what is kept of a dataset's examples; return how many, 0 where none is left."""
        ...


class Erased(Protocol):
    """The erasures that ingest has carried out, or is about to."""

    async def documents(self, project: str, document: str, /) -> datetime | None:
        """Return until when what came of a document is erased; None where it was not."""
        ...

    async def people(self, project: str, people: Collection[str], /) -> Mapping[str, datetime]:
        """Return until when what came of people is erased, of those that were."""
        ...
