"""Which examples show a text that was erased."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_ingest.datasets.domain.example import CitedPassage, Example
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.version import Text
from tidemill_ingest.documents.ports import Documents

_BATCH_SIZE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasures:
    """Asks the documents themselves. A document that ingest does not know was never erased."""

    documents: Documents

    async def among(self, project: str, examples: Sequence[Example]) -> frozenset[str]:
        """Return the ids of the examples of which a passage comes from an erased version."""
        cited = sorted({passage.document for each in examples for passage in each.passages})
        known: dict[str, Document] = {}
        for start in range(0, len(cited), _BATCH_SIZE):
            known |= await self.documents.get_many(project, cited[start : start + _BATCH_SIZE])
        return frozenset(
            each.id
            for each in examples
            if any(
                passage.document in known and _was_erased(known[passage.document], passage) for passage in each.passages
            )
        )


def _was_erased(document: Document, passage: CitedPassage) -> bool:
    """Decide by the version; one that the document no longer remembers went with any later one."""
    numbers = {version.number for version in document.versions}
    erased = {version.number for version in document.versions if version.text is Text.ERASED}
    if passage.version in numbers:
        return passage.version in erased
    return any(number > passage.version for number in erased)
