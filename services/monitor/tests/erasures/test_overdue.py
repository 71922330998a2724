"""Erasures that are not completed in time are reported."""

from datetime import timedelta

import structlog
from prometheus_client import REGISTRY

from services.monitor.tests.erasures.harness import DUE, Erasing
from tidemill_monitor.erasures.maintenance import OverdueCheck


async def overdue(erasing: Erasing) -> tuple[float | None, list[dict[str, object]]]:
    with structlog.testing.capture_logs() as lines:
        await OverdueCheck(find=erasing.overdue, interval_s=1).check()
    return REGISTRY.get_sample_value("tidemill_erasures_overdue"), [dict(line) for line in lines]


async def test_an_overdue_erasure_is_counted_and_logged_with_the_services_that_are_missing() -> None:
    erasing = Erasing()
    erasure = await erasing.of_user("ada@example.org")
    await erasing.completed(await erasing.of_user("other"))
    await erasing.all_report(erasure, but="rag")
    erasing.clock.advance(DUE)
    assert await overdue(erasing) == (0, [])

    erasing.clock.advance(timedelta(seconds=1))
    count, (line,) = await overdue(erasing)

    assert count == 1
    assert (line["event"], line["log_level"], line["erasure"]) == ("erasure_overdue", "warning", erasure.id)
    assert line["awaited_services"] == ["rag"]
    assert "ada@example.org" not in str(line)


async def test_one_that_is_held_is_not_overdue() -> None:
    erasing = Erasing()
    await erasing.of_user()
    await erasing.hold()
    erasing.clock.advance(2 * DUE)

    assert await overdue(erasing) == (0, [])
