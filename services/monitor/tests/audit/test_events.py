"""Recorded calls are read as services publish them, and end in a chain."""

import json
from pathlib import Path

from google.protobuf.json_format import MessageToJson, Parse

from tidemill.monitor.v1.audit_events_pb2 import AuditRecorded as Published
from tidemill.monitor.v1.audit_pb2 import AuditRecord
from tidemill_core.audit import Record
from tidemill_kit.audit.trail import RECORDED
from tidemill_kit.events.subscriptions import EventContext
from tidemill_monitor.audit.append_record import AppendRecord
from tidemill_monitor.audit.domain import ChainedRecord
from tidemill_monitor.audit.events import audit
from tidemill_monitor.audit.messages import record_message
from tidemill_monitor.events.monitor import AuditRecorded, RecordedCall
from tidemill_monitor.events.subscription import EVENT_TYPES, model_of
from tidemill_testkit.clocks import NOON

EXAMPLE = Path(__file__).parents[4] / "protos" / "examples" / f"{RECORDED}.json"


class Chains:
    """Keeps what is appended."""

    def __init__(self) -> None:
        self.appended: list[tuple[str, Record]] = []

    async def append(self, chain: str, _event: str, record: Record) -> bool:
        self.appended.append((chain, record))
        return True


def context(ce_type: str, data: bytes, *, project: str = "acme", service: str = "ingest") -> EventContext:
    return EventContext(
        id="e",
        source=f"/tidemill/{service}",
        type=ce_type,
        subject="helpdesk",
        project=project,
        time=NOON,
        seq=1,
        topic="t",
        partition=0,
        offset=0,
        data=data,
    )


async def test_the_example_is_appended_and_shown_as_it_was_recorded() -> None:
    chains, data = Chains(), EXAMPLE.read_bytes()
    route = audit(AppendRecord(chains=chains)).routes[RECORDED]  # type: ignore[arg-type] # it only appends
    await route.handle(context(RECORDED, data), route.model.model_validate_json(data))

    ((chain, record),) = chains.appended
    assert (chain, record["service"], record["outcome"], record["count"]) == ("acme", "ingest", "succeeded", 1)
    shown = record_message(ChainedRecord(seq=1, hash="h", previous="p", text=json.dumps({**record, "seq": 1})))
    published = Parse(data, Published()).record
    assert (shown.seq, shown.hash) == (1, "h")
    shown.ClearField("seq")
    shown.ClearField("hash")
    assert shown == published


async def test_a_service_cannot_record_in_another_s_name() -> None:
    chains, data = Chains(), EXAMPLE.read_bytes()
    route = audit(AppendRecord(chains=chains)).routes[RECORDED]  # type: ignore[arg-type] # it only appends
    await route.handle(context(RECORDED, data, service="rag"), route.model.model_validate_json(data))
    assert chains.appended[0][1]["service"] == "rag"


async def test_a_decision_is_appended_to_its_project_s_chain() -> None:
    chains, ce_type = Chains(), "tidemill.trainer.model.deleted.v1"
    route = audit(AppendRecord(chains=chains)).routes[ce_type]  # type: ignore[arg-type] # it only appends
    await route.handle(context(ce_type, b"{}", service="trainer"), model_of(EVENT_TYPES[ce_type]).model_validate({}))
    ((chain, record),) = chains.appended
    assert (chain, record["subject"], record["method"]) == ("acme", "service:trainer", ce_type)


def test_every_field_that_is_read_is_one_that_is_published() -> None:
    message = Published()
    message.record.begin_time.FromDatetime(NOON)
    text = MessageToJson(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    body = model_of(AuditRecorded).model_validate_json(text).root
    assert isinstance(body, AuditRecorded)
    fields = set(RecordedCall.__dataclass_fields__)
    declared = set(AuditRecord.DESCRIPTOR.fields_by_name)
    assert fields <= declared
    assert declared - fields == {"service", "seq", "hash"}
