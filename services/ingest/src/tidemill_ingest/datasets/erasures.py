"""Which examples show what was erased: a text of a document, or what an end user has asked or written."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_ingest.datasets.cited_documents import passages_where
from tidemill_ingest.datasets.domain.example import Example
from tidemill_ingest.datasets.ports import ErasedUsers
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.ports import Documents


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasures:
    """Asks the documents themselves, and what is known of erased users.

    A document that ingest does not know was never erased. Of a user a batch may have examples that are older than the
    erasure: feedback may have offered it before it erased them.
    """

    documents: Documents
    users: ErasedUsers

    async def among(self, project: str, examples: Sequence[Example]) -> frozenset[str]:
        """Return the ids of the examples of which a passage, or a person, is erased."""
        return await self._showing(project, examples) | await self._of_users(project, examples)

    async def _of_users(self, project: str, examples: Sequence[Example]) -> frozenset[str]:
        users = {user for each in examples for user in (each.end_user, each.asked_by) if user}
        until = await self.users(project, users) if users else {}
        return frozenset(
            each.id
            for each in examples
            for user in (each.end_user, each.asked_by)
            if user in until and each.observed_at <= until[user]
        )

    async def _showing(self, project: str, examples: Sequence[Example]) -> frozenset[str]:
        cited = (passage for each in examples for passage in each.passages)
        erased = await passages_where(self.documents, project, cited, Document.was_erased)
        return frozenset(each.id for each in examples if not erased.isdisjoint(each.passages))
