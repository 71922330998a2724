"""The store of what matures."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from tidemill_core.application import Page, PageRequest, ResourceKey
from tidemill_feedback.maturity.domain import ExpectedValue


class ExpectedValues(Protocol):
    """Values that are expected, by answer and metric."""

    async def add(self, values: Sequence[ExpectedValue]) -> None:
        """Add values; one that is there stays as it is."""
        ...

    async def get(self, key: ResourceKey) -> ExpectedValue | None:
        """Return a value, or None where it is expected no more."""
        ...

    async def due(self, now: datetime, *, page: PageRequest, without: frozenset[str]) -> Page[ResourceKey]:
        """Return the values that are due, the oldest first, but for those of the projects in `without`."""
        ...

    async def put_off(self, key: ResourceKey, *, until: datetime) -> None:
        """Expect a value until then; nothing where it is expected no more."""
        ...

    async def remove(self, key: ResourceKey) -> None:
        """Expect a value no more; idempotent."""
        ...
