"""rag's search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tidemill_inference.domain.content import Passage
from tidemill_inference.domain.deployment import Retrieval


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Passages, best first, with ids from "1" on; `index` is the index version that was searched."""

    passages: tuple[Passage, ...]
    index: int
    warnings: tuple[str, ...] = ()
    """rag's warnings."""


class Retriever(Protocol):
    """rag's search."""

    async def check(self, project: str, retrieval: Retrieval) -> None:
        """Refuse a collection or a pinned index that does not exist.

        Raises:
            ReferenceNotFound: lists what exists.
            DependencyUnavailable: rag does not answer.

        """
        ...

    async def search(
        self, project: str, retrieval: Retrieval, *, question: str, principals: Sequence[str], timeout_s: float
    ) -> Found:
        """Return the passages for a question.

        Raises:
            PreconditionFailed: the collection is gone, or has no live index yet.
            DependencyUnavailable: rag does not answer in time.

        """
        ...
