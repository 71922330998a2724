"""Which examples show a text that was erased."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_ingest.datasets.domain.example import Example
from tidemill_ingest.documents.ports import Documents

_BATCH_SIZE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasures:
    """Asks the documents themselves. A document that ingest does not know was never erased."""

    documents: Documents

    async def among(self, project: str, examples: Sequence[Example]) -> frozenset[str]:
        """Return the ids of the examples of which a passage comes from an erased version."""
        versions = defaultdict[str, set[int]](set)
        for passage in (passage for each in examples for passage in each.passages):
            versions[passage.document].add(passage.version)
        cited = sorted(versions)
        erased: set[tuple[str, int]] = set()
        for start in range(0, len(cited), _BATCH_SIZE):
            known = await self.documents.get_many(project, cited[start : start + _BATCH_SIZE])
            erased |= {
                (name, number)
                for name, document in known.items()
                for number in versions[name]
                if document.was_erased(number)
            }
        return frozenset(
            each.id
            for each in examples
            if any((passage.document, passage.version) in erased for passage in each.passages)
        )
