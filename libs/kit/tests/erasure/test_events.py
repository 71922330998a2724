"""Every requested erasure becomes a row of the service, once."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tidemill_core.application import ResourceKey
from tidemill_core.errors import InvalidInput
from tidemill_kit.erasure.codec import ErasureCodec
from tidemill_kit.erasure.erasures import Erasure, ErasureNotFound, State
from tidemill_kit.erasure.events import REQUESTED, requests
from tidemill_kit.erasure.steps import Scope
from tidemill_kit.events.bodies import body_of
from tidemill_kit.events.subscriptions import EventContext
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stores import InMemoryAggregates

EXAMPLE = json.loads((Path(__file__).parents[4] / "protos" / "examples" / f"{REQUESTED}.json").read_text("utf-8"))


class Harness:
    def __init__(self) -> None:
        self.rows = InMemoryAggregates[Erasure](codec=ErasureCodec("rag"), missing=ErasureNotFound)
        self.enqueued: list[ResourceKey] = []
        self.subscription = requests("rag", self.rows, self.enqueued.append)

    async def receive(self, project: str = "acme", **changes: object) -> None:
        data = json.dumps({**EXAMPLE, **changes}).encode()
        place: dict[str, Any] = {"topic": "t", "partition": 0, "offset": 0, "time": NOON, "seq": 1}
        context = EventContext(
            id="1", source="/tidemill/monitor", type=REQUESTED, subject="s", project=project, data=data, **place
        )
        route = self.subscription.routes[REQUESTED]
        await route.handle(context, body_of(route.model, data))


async def test_a_requested_erasure_is_stored_and_begun_once_however_often_it_comes() -> None:
    harness = Harness()

    await harness.receive()
    await harness.receive(not_before=(NOON + timedelta(days=1)).isoformat())

    [row] = harness.rows.all()
    assert (row.id, row.project, row.scope, row.subject) == (EXAMPLE["id"], "acme", Scope.END_USER, "u-17")
    assert (row.request_time, row.not_before, row.state) == (NOON, NOON, State.PENDING)
    assert harness.enqueued == [ResourceKey(project="acme", id=EXAMPLE["id"])] * 2


@pytest.mark.parametrize("changes", [{"project": "globex"}, {"subject": ""}, {"scope": "ERASURE_SCOPE_PROJECT"}])
async def test_what_cannot_be_meant_is_refused(changes: dict[str, str]) -> None:
    harness = Harness()

    with pytest.raises(InvalidInput):
        await harness.receive(**changes)
    assert harness.rows.all() == []


def test_the_requests_of_deleted_projects_are_handled() -> None:
    assert Harness().subscription.of_deleted
