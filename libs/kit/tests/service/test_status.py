import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from libs.kit.tests.access.support import revocation
from libs.kit.tests.service.running import living
from tidemill_core.application import Page, Requeue
from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.workers.controller import Controller
from tidemill_testkit.access import TestIssuer, access_of
from tidemill_testkit.polling import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("lines")


@dataclass(frozen=True)
class Progress:
    name: str
    lag: int = 3
    handled: int = 5
    dead_lettered: int = 1
    waiting_for: str = "mongodb"


@pytest.mark.parametrize("plain", [True, False])
async def test_the_status_reports_consumers_and_outbox(plain: bool) -> None:  # noqa: FBT001 - a parameter
    async def consumers() -> list[Progress]:
        return [Progress("rag.documents")]

    async def outbox_length() -> int:
        return 7

    sides: dict[str, Callable[[], object]] = (
        {"consumers": lambda: [Progress("rag.documents")], "outbox_length": lambda: 7}
        if plain
        else {"consumers": consumers, "outbox_length": outbox_length}
    )
    async with living(**sides) as service:
        await service.becomes(ready=True)
        status = await service.status()

    (consumer,) = status.consumers
    assert (consumer.name, consumer.lag, consumer.handled) == ("rag.documents", 3, 5)
    assert (consumer.dead_lettered, consumer.waiting_for) == (1, "mongodb")
    assert (status.service, status.outbox_length) == ("probe", 7)
    assert status.resident_bytes > 1_000_000


async def test_the_status_shows_what_credentials_are_checked_by(tmp_path: Path) -> None:
    issuer = TestIssuer(tmp_path)
    access = access_of(issuer)
    async with living(access=access) as service:
        before = (await service.status()).access
        await next(iter(access.keys)).refresh()
        access.revocations.apply(revocation("KEY", "acme", "the-key"))
        after = (await service.status()).access

    assert [(each.name, each.keys, each.HasField("read_time")) for each in before.issuers] == [
        (issuer.issuer, 0, False)
    ]
    assert (after.issuers[0].keys, after.revocations) == (1, 1)
    for moment in (after.issuers[0].read_time, after.revocations_time):
        assert abs(moment.ToSeconds() - time.time()) < 60


async def test_the_status_shows_the_controllers_among_the_components() -> None:
    async def pending(_token: str, /, *, without: frozenset[str]) -> Page[Name]:  # noqa: ARG001 - the protocol's name
        message = "no answer"
        raise DependencyUnavailable(message, dependency="mongodb")

    async def fail(_key: Name, _epoch: int) -> Requeue:
        return Requeue()

    things = Controller("things", reconcile=fail, pending=pending, max_concurrent=1, poll_interval=timedelta(minutes=1))
    things.enqueue(Name())
    async with living(components=[things]) as service:
        await service.becomes(ready=True)
        await eventually(lambda: things.status.retrying == 1 and things.status.message)
        (shown,) = (await service.status()).controllers

    assert (shown.name, shown.queued, shown.running, shown.retrying, shown.message) == ("things", 1, 0, 1, "no answer")


@dataclass(frozen=True)
class Name:
    """A key of a controller."""

    project: str = "acme"
    key: str = "acme/a"


async def test_the_status_answers_while_the_store_does_not() -> None:
    async def outbox_length() -> int:
        message = "mongodb does not answer"
        raise DependencyUnavailable(message, dependency="mongodb")

    async with living(outbox_length=outbox_length) as service:
        assert (await service.status()).outbox_length == -1
