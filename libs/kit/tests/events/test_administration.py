"""ACLs are applied once the broker goes by them; the controller acknowledges them earlier."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.protocol.admin import DescribeAclsRequest

from tidemill_core.errors import DependencyUnavailable
from tidemill_core.transport_security import KafkaServers
from tidemill_kit.events.acls import Acl
from tidemill_kit.events.administration import Administrator

ENTRY = Acl(principal="User:ada", operation="READ", resource="topic", pattern="literal", name="tidemill.x.v1")
SHOWN = (2, ENTRY.name, 3, [(ENTRY.principal, ENTRY.host, 3, 3)])


class SlowBroker:
    """Takes entries, and shows them from the given description on (counted from one)."""

    def __init__(self, *, shown_from: float) -> None:
        self.descriptions = 0
        self._shown_from = shown_from

    async def _send_request(self, request: Any) -> Any:  # noqa: ANN401 - aiokafka types no requests
        if not isinstance(request, DescribeAclsRequest):
            return SimpleNamespace(creation_responses=[(0, None)])
        self.descriptions += 1
        resources = [SHOWN] if self.descriptions >= self._shown_from else []
        return SimpleNamespace(error_code=0, error_message=None, resources=resources)


async def test_a_table_is_applied_when_the_broker_shows_it() -> None:
    broker = SlowBroker(shown_from=4)
    admin = Administrator(broker, KafkaServers.of("127.0.0.1:1"), timeout_s=30)
    applied = await admin.apply([ENTRY])
    assert (applied.added, broker.descriptions) == ([ENTRY], 4)
    assert await admin.acls() == {ENTRY}


async def test_a_broker_that_never_shows_it_is_reported() -> None:
    admin = Administrator(SlowBroker(shown_from=float("inf")), KafkaServers.of("127.0.0.1:1"), timeout_s=0.2)
    with pytest.raises(DependencyUnavailable, match=r"took 1 ACLs and does not go by them after 0\.2 s"):
        await admin.apply([ENTRY])
