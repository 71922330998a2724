"""Published revocations stay readable, and say what they say at any time."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from services.monitor.tests.access.harness import ADA, Access, write
from tidemill_core.aggregate import Event
from tidemill_monitor.access.messages import REVOKED, access_payload
from tidemill_testkit.clocks import NOON

EXAMPLES = Path(__file__).parents[4] / "protos" / "examples"


async def test_a_revocation_equals_its_example() -> None:
    access = Access()
    await access.with_project()
    account = await access.with_account("operator")
    lower = replace(account, roles=("viewer",))
    await access.service_accounts.update(ADA, lower, frozenset({"roles"}), write())

    ce_type, payload = access_payload(account, access.revoked[0], 1)

    assert ce_type == REVOKED
    example = json.loads((EXAMPLES / f"{REVOKED}.json").read_text())
    assert MessageToDict(payload, preserving_proto_field_name=True) == example


def test_other_events_are_no_events_of_access() -> None:
    with pytest.raises(TypeError):
        access_payload(object(), Event(occurred_at=NOON + timedelta()), 1)  # type: ignore[arg-type]
