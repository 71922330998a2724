"""What MongoDB does where two writers meet, which the embedded server never does: it writes one after the other."""

from collections.abc import Awaitable, Callable
from typing import Any

from pymongo.errors import DuplicateKeyError


class LostRace:
    """A collection whose first upsert finds nothing, and is refused: `winner` has inserted the document meanwhile."""

    def __init__(self, collection: Any, winner: Callable[[], Awaitable[object]]) -> None:  # noqa: ANN401 - motor's
        self._collection = collection
        self._winner: Callable[[], Awaitable[object]] | None = winner

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401, D105 - motor's
        return getattr(self._collection, name)

    async def update_one(self, *chosen: Any, upsert: bool = False) -> Any:  # noqa: ANN401 - motor's
        """Update like the collection, but for the first upsert."""
        await self._lose(upsert=upsert)
        return await self._collection.update_one(*chosen, upsert=upsert)

    async def find_one_and_update(self, *chosen: Any, upsert: bool = False, **how: Any) -> Any:  # noqa: ANN401 - motor's
        """Update like the collection, but for the first upsert."""
        await self._lose(upsert=upsert)
        return await self._collection.find_one_and_update(*chosen, upsert=upsert, **how)

    async def _lose(self, *, upsert: bool) -> None:
        if upsert and self._winner is not None:
            winner, self._winner = self._winner, None
            await winner()
            message = "E11000 duplicate key error"
            raise DuplicateKeyError(message)
