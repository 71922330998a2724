"""The sweeps: each by one process, and none stopped by another that fails."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.generation.reconcile import sweep_controller
from tidemill_kit.workers.leases import Lease
from tidemill_testkit.polling import eventually


class Leases:
    """Free, but for what another process holds."""

    @asynccontextmanager
    async def held(self, job_id: str) -> AsyncIterator[Lease | None]:
        held = Lease(job_id=job_id, owner="replica", epoch=1, expires_at=datetime.now(UTC))
        yield None if job_id == "elsewhere" else held


async def test_sweeps_go_on_whatever_becomes_of_others() -> None:
    swept: list[str] = []

    async def broken() -> int:
        swept.append("broken")
        message = "it is down"
        raise DependencyUnavailable(message, dependency="mongodb")

    async def records() -> int:
        swept.append("records")
        return 3

    async def elsewhere() -> int:
        raise AssertionError

    controller = sweep_controller(
        {"broken": broken, "records": records, "elsewhere": elsewhere},
        leases=Leases(),
        poll_interval=timedelta(seconds=0.01),
    )
    await controller.start()
    await eventually(lambda: min(swept.count("broken"), swept.count("records")) >= 2)
    await controller.stop()

    assert controller.status.retrying == 2
