"""What finding texts by similarity needs: a ledger of what is kept."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from tidemill_rag.similarity.domain import SimilarText


class SimilarTexts(Protocol):
    """Which texts have vectors, by project and id: a vector that is not in it counts for nothing.

    Every method may raise DependencyUnavailable, and is idempotent.
    """

    async def put(self, project: str, text: SimilarText) -> None:
        """Keep a text in place of the one with its id."""
        ...

    async def current(self, project: str, ids: Sequence[str], *, place: str, now: datetime) -> Collection[str]:
        """Return which of the ids are kept there and have not expired."""
        ...

    async def get(self, project: str, ids: Sequence[str]) -> Sequence[SimilarText]:
        """Return those of the ids that are there."""
        ...

    async def of_end_user(self, project: str, end_user: str, *, limit: int) -> Sequence[SimilarText]:
        """Return some texts of a person."""
        ...

    async def expired(self, before: datetime, *, limit: int) -> Sequence[tuple[str, SimilarText]]:
        """Return some that have expired, of all projects."""
        ...

    async def first(self, project: str, *, limit: int) -> Sequence[SimilarText]:
        """Return those of a project that expire first."""
        ...

    async def count(self, project: str, *, limit: int) -> int:
        """Return how many a project has, counting no further than `limit`."""
        ...

    async def remove(self, project: str, ids: Sequence[str]) -> None:
        """Remove texts."""
        ...

    async def add_index(self, project: str, dimensions: int) -> None:
        """Remember that a project has an index of so many dimensions."""
        ...

    async def indexes(self, project: str) -> Sequence[int]:
        """Return the dimensions of a project's indexes."""
        ...
