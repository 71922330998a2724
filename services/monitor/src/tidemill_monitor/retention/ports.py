"""What retention needs of others."""

from typing import Protocol

from tidemill_core.application import Aggregates
from tidemill_monitor.retention.domain import Retention

Retentions = Aggregates[Retention]


class Active(Protocol):
    """Projects in use."""

    async def check_active(self, project: str) -> None:
        """Refuse one that was deleted.

        Raises:
            ProjectIsDeleted: it was.

        """
        ...
