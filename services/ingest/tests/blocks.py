"""Counted blocks in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tidemill_ingest.quality.boilerplate import BlockCounts


@dataclass
class BlocksHere:
    """Implements `ports.SharedBlocks`."""

    documents: dict[tuple[str, str], dict[str, tuple[str, ...]]] = field(default_factory=dict)
    forgotten: set[tuple[str, str]] = field(default_factory=set)

    async def put(self, project: str, source: str, document: str, digests: Sequence[str]) -> None:
        if (project, source) in self.forgotten:
            return
        self.documents.setdefault((project, source), {})[document] = tuple(digests)

    async def counts(self, project: str, source: str, digests: Sequence[str]) -> BlockCounts:
        forgotten = (project, source) in self.forgotten
        known = [] if forgotten else list(self.documents.get((project, source), {}).values())
        counts = {each: sum(each in blocks for blocks in known) for each in digests}
        found = {each: count for each, count in counts.items() if count}
        return BlockCounts(documents=len(known), with_block=found)

    async def of_document(self, project: str, source: str, document: str) -> Sequence[str] | None:
        if (project, source) in self.forgotten:
            return None
        return self.documents.get((project, source), {}).get(document)

    async def remove(self, project: str, source: str, document: str) -> int:
        return len(self.documents.get((project, source), {}).pop(document, ()))

    async def forget(self, project: str, source: str) -> None:
        self.forgotten.add((project, source))

    async def remove_forgotten(self, project: str, source: str) -> None:
        if (project, source) in self.forgotten:
            self.documents.pop((project, source), None)
            self.forgotten.discard((project, source))
