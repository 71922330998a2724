"""The sweeps: each by one process, and none stopped by another that fails."""

from datetime import timedelta

from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.workers.sweeps import sweep_controller
from tidemill_testkit.leases import InMemoryLeases
from tidemill_testkit.polling import eventually


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

    leases = InMemoryLeases()
    assert await leases.acquire("elsewhere")
    controller = sweep_controller(
        {"broken": broken, "records": records, "elsewhere": elsewhere},
        leases=leases,
        poll_interval=timedelta(seconds=0.01),
    )
    await controller.start()
    await eventually(lambda: min(swept.count("broken"), swept.count("records")) >= 2)
    await controller.stop()

    assert controller.status.retrying == 2
