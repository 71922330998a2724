"""What holds need of others."""

from typing import Protocol

from tidemill_core.application import Aggregates
from tidemill_monitor.holds.domain import Hold

Holds = Aggregates[Hold]


class NotErased(Protocol):
    """Projects that still have data."""

    async def check_not_erased(self, project: str) -> None:
        """Refuse one that was deleted and has nothing left.

        Raises:
            ProjectIsDeleted: it is such a one.

        """
        ...
