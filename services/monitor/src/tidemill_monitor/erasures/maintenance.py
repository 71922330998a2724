"""Periodic check for erasures that are overdue: a metric, and a line of the log for each."""

import asyncio
from dataclasses import dataclass

import structlog

from tidemill_core.errors import TidemillError
from tidemill_monitor.erasures.find_overdue import FindOverdue
from tidemill_monitor.metrics import ERASURES_OVERDUE

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueCheck:
    """Reports what is overdue, at startup and periodically, in each process."""

    find: FindOverdue
    interval_s: float

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            try:
                await self.check()
            except TidemillError as error:
                _log.warning("overdue_check_postponed", reason=error.reason, why=error.message)
            await asyncio.sleep(self.interval_s)

    async def check(self) -> None:
        """Set the metric, and write a line for each that is overdue."""
        overdue = await self.find()
        ERASURES_OVERDUE.set(len(overdue))
        for each in overdue:
            _log.warning(
                "erasure_overdue",
                project=each.project,
                erasure=each.id,
                scope=each.scope.value,
                due_time=each.due_time.isoformat(),
                awaited_services=list(each.awaited_services),
            )
