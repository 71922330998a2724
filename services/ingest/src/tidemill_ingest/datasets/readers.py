"""Which documents that examples show are not for a caller."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from tidemill_core.application import Caller
from tidemill_ingest.datasets.cited_documents import passages_where
from tidemill_ingest.datasets.domain.example import CitedPassage
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.ports import Documents


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """Asks the documents themselves, as they are now. One that the project does not have is no secret of it."""

    documents: Documents

    async def __call__(self, caller: Caller, shown: AbstractSet[CitedPassage]) -> frozenset[CitedPassage]:
        """Return which of these versions the caller may not read."""

        def is_restricted(document: Document, number: int) -> bool:
            return not document.readable_by(caller, document.known_version(number))

        return await passages_where(self.documents, caller.project, shown, is_restricted)
