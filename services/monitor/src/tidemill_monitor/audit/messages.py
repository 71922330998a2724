"""Mapping between audit records and messages."""

import json
from datetime import datetime

from tidemill.monitor.v1 import audit_service_pb2 as pb
from tidemill.monitor.v1.audit_pb2 import AuditOutcome, AuditRecord
from tidemill_kit.grpc.server import timestamp_of
from tidemill_kit.mapping import from_message
from tidemill_monitor.audit.domain import Anchor, ChainedRecord, RecordFilter

_TIMES = ("begin_time", "end_time")


def record_message(record: ChainedRecord) -> AuditRecord:
    """Return a record as callers see it; fields that this version does not know are in the export only."""
    facts = json.loads(record.text)
    known = {name: facts[name] for name in facts.keys() & set(AuditRecord.DESCRIPTOR.fields_by_name)}
    times = {name: timestamp_of(datetime.fromisoformat(facts[name])) for name in _TIMES if facts[name]}
    outcome = AuditOutcome.Value(f"AUDIT_OUTCOME_{facts['outcome'].upper()}")
    others = {name: value for name, value in known.items() if name not in _TIMES}
    return AuditRecord(**{**others, **times, "outcome": outcome, "hash": record.hash})


def filter_of(message: pb.AuditFilter) -> RecordFilter:
    """Return which records a request chooses."""
    return from_message(RecordFilter, message)


def anchor_message(anchor: Anchor) -> pb.AuditAnchor:
    """Return an anchor as callers see it."""
    return pb.AuditAnchor(seq=anchor.seq, hash=anchor.hash, create_time=timestamp_of(anchor.create_time))
