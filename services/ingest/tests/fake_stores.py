"""What is stored of documents beside themselves, in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.texts import TextUses
from tidemill_testkit.stores import InMemoryAggregates


@dataclass
class OutboxHere:
    """Says what a test says."""

    seqs: frozenset[int] = frozenset()

    async def waiting(self, project: str, document_id: str) -> frozenset[int]:
        assert project
        assert document_id
        return self.seqs


class VersionTextsHere:
    """Implements `ports.VersionTexts` on the documents themselves."""

    def __init__(self, documents: InMemoryAggregates[Document]) -> None:
        self._documents = documents

    async def of(self, project: str, document_ids: Sequence[str]) -> Mapping[str, TextUses]:
        found = await self._documents.get_many(project, document_ids)
        return {name: document.texts for name, document in found.items()}


class RecordsHere:
    """Implements `ports.Records` on the documents in memory."""

    def __init__(self, documents: InMemoryAggregates[Document]) -> None:
        self._documents = documents

    async def remove_all(self, project: str) -> None:
        for document in self._documents.all():
            if document.project == project:
                self._documents.remove(project, document.id)


@dataclass
class CursorHere:
    """Implements `ports.SweepCursor` for the holder of the lease, whose epoch is 1."""

    after: str = ""

    async def position(self) -> str:
        return self.after

    async def advance(self, after: str, *, epoch: int) -> None:
        if epoch == 1:
            self.after = after
