"""Which examples show what was erased: a text of a document, or what an end user has asked or written."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_ingest.datasets.domain.example import Example
from tidemill_ingest.datasets.ports import ErasedUsers
from tidemill_ingest.documents.ports import Documents

_BATCH_SIZE = 200


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
