"""Use cases: set and list how long a project keeps its data."""

from copy import deepcopy
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Page, PageRequest
from tidemill_core.resources import Write
from tidemill_monitor.retention.domain import Retention, RetentionBounds, RetentionKind
from tidemill_monitor.retention.ports import Active, Retentions


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionCrud:
    """Services remove by it at their next sweep."""

    retention: Retentions
    projects: Active
    bounds: RetentionBounds
    clock: Clock

    async def set(self, caller: Caller, kind: RetentionKind, days: int, write: Write) -> Retention:
        """Return what is set now.

        Raises:
            InvalidInput: the days are out of the operator's bounds.
            ProjectIsDeleted: the project was deleted.

        """
        self.bounds.check(days)
        await self.projects.check_active(caller.project)
        fresh, now = Retention(id=kind.value, project=caller.project, kind=kind), self.clock.now()

        def change(found: Retention) -> None:
            found.set_days(days, now=now)

        if not write.validate_only:
            return await self.retention.upsert(fresh, change, request=write.request)
        preview = deepcopy((await self.retention.get_many(caller.project, [fresh.id])).get(fresh.id, fresh))
        change(preview)
        return preview

    async def list(self, caller: Caller, page: PageRequest) -> Page[Retention]:
        """Return a page of what the project has set."""
        return await self.retention.list(caller.project, page=page)
