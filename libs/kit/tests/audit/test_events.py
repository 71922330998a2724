"""A published record stays readable, and says what it says at any time."""

import json
from datetime import timedelta
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from tidemill.monitor.v1.audit_events_pb2 import AuditRecorded
from tidemill_core.application import Caller
from tidemill_kit.audit.calls import AuditedCall, counted, current
from tidemill_kit.audit.trail import RECORDED
from tidemill_testkit.clocks import NOON

EXAMPLE = Path(__file__).parents[4] / "protos" / "examples" / f"{RECORDED}.json"


def test_a_recorded_call_equals_its_example() -> None:
    call = AuditedCall(
        id="0b2f6c1e-6a55-4d0e-9d6a-8f1f6a1c2b3d",
        method="tidemill.ingest.v1.SourceService/UpdateSource",
        caller=Caller(project="acme", subject="user:ada", credential="c0ffee"),
        resource="cms",
        request_digest="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        etag_before="2",
        etag_after="3",
        reply_digest="60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
        address="10.0.0.7",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        begin_time=NOON,
        begun=True,
    )
    record = call.record("ingest", end_time=NOON + timedelta(milliseconds=250))

    example = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    assert MessageToDict(AuditRecorded(record=record, seq=1), preserving_proto_field_name=True) == example


def test_a_handler_counts_what_its_call_is_about_and_nothing_outside_of_one() -> None:
    call = AuditedCall(method="m")
    counted(1)
    with current(call):
        counted(3)

    assert call.record("ingest", end_time=NOON).items == 3
