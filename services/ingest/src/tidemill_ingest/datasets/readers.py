"""Which documents that examples show are not for a caller."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_ingest.datasets.domain.example import CitedPassage
from tidemill_ingest.documents.ports import Documents

_BATCH_SIZE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """Asks the documents themselves, as they are now. One that the project does not have is no secret of it."""

    documents: Documents

    async def __call__(self, caller: Caller, shown: AbstractSet[CitedPassage]) -> frozenset[CitedPassage]:
        """Return which of these versions the caller may not read."""
        names, restricted = sorted({each.document for each in shown}), set[CitedPassage]()
        for start in range(0, len(names), _BATCH_SIZE):
            batch: Sequence[str] = names[start : start + _BATCH_SIZE]
            known = await self.documents.get_many(caller.project, batch)
            for each in shown:
                document = known.get(each.document)
                if document is None:
                    continue
                version = next((found for found in document.versions if found.number == each.version), None)
                if not document.readable_by(caller, version):
                    restricted.add(each)
        return frozenset(restricted)
