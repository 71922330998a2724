"""How long a project keeps its data."""

from dataclasses import replace

import pytest

from services.monitor.tests.erasures.harness import ADA, EVE, Erasing, write
from tidemill_core.application import PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_monitor.errors import ProjectIsDeleted, RetentionNotFound
from tidemill_monitor.retention.crud import RetentionCrud
from tidemill_monitor.retention.domain import Retention, RetentionBounds, RetentionChanged, RetentionKind
from tidemill_monitor.retention.mongo import RETENTION
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.stores import InMemoryAggregates


def store() -> InMemoryAggregates[Retention]:
    return InMemoryAggregates(codec=RETENTION, missing=RetentionNotFound)


def crud(retention: InMemoryAggregates[Retention]) -> RetentionCrud:
    return RetentionCrud(
        retention=retention,
        projects=Erasing().projects,
        bounds=RetentionBounds(min_days=7, max_days=365),
        clock=FixedClock(),
    )


async def test_what_is_set_is_published_each_time_it_changes() -> None:
    stored = store()
    retention = crud(stored)

    for days in (30, 30, 0, 60):
        await retention.set(ADA, RetentionKind.ANSWERS, days, write())
    await retention.set(ADA, RetentionKind.FEEDBACK, 7, write())

    events = [each for each in stored.published if isinstance(each, RetentionChanged)]
    assert [(each.record_key, each.days) for each in events] == [
        ("retention/acme/answers", 30),
        ("retention/acme/answers", 0),
        ("retention/acme/answers", 60),
        ("retention/acme/feedback", 7),
    ]
    listed = (await retention.list(ADA, PageRequest())).items
    assert {(each.kind, each.days) for each in listed} == {(RetentionKind.ANSWERS, 60), (RetentionKind.FEEDBACK, 7)}
    assert (await retention.list(EVE, PageRequest())).items == []


@pytest.mark.parametrize("days", [-1, 1, 6, 366])
async def test_days_out_of_the_operator_s_bounds_are_refused(days: int) -> None:
    stored = store()

    with pytest.raises(InvalidInput, match="MONITOR_RETENTION_MAX_DAYS"):
        await crud(stored).set(ADA, RetentionKind.ANSWERS, days, write())

    assert stored.all() == []


async def test_a_validated_request_sets_nothing() -> None:
    stored = store()
    retention = crud(stored)
    await retention.set(ADA, RetentionKind.ANSWERS, 30, write())

    preview = await retention.set(ADA, RetentionKind.ANSWERS, 60, write(validate_only=True))

    assert (preview.days, stored.all()[0].days) == (60, 30)


async def test_a_deleted_project_sets_nothing_any_more() -> None:
    erasing, stored = Erasing(), store()
    await erasing.deleted_project()

    with pytest.raises(ProjectIsDeleted):
        await replace(crud(stored), projects=erasing.projects).set(ADA, RetentionKind.ANSWERS, 30, write())

    assert stored.all() == []
