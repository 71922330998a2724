"""What holds need of others."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from tidemill_core.application import Aggregates
from tidemill_monitor.holds.domain import Hold

Holds = Aggregates[Hold]
Known = Callable[[Hold], Awaitable[None]]
"""Returns once a hold stands where every service reads it; raises DependencyUnavailable if that takes too long."""


class NotErased(Protocol):
    """Projects that still have data."""

    async def check_not_erased(self, project: str) -> None:
        """Refuse one that was deleted and has nothing left.

        Raises:
            ProjectIsDeleted: it is such a one.

        """
        ...
