"""Events of monitor itself, which every service publishes: audited calls."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """An audited call, as its service recorded it; times as proto-JSON has them."""

    id: str
    project: str = ""
    subject: str = ""
    via: str = ""
    credential: str = ""
    method: str = ""
    resource: str = ""
    request_digest: str = ""
    etag_before: str = ""
    etag_after: str = ""
    reply_digest: str = ""
    outcome: str = ""
    code: str = ""
    reason: str = ""
    address: str = ""
    trace_id: str = ""
    count: int = 1
    begin_time: str = ""
    end_time: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecorded:
    """audit.recorded."""

    record: RecordedCall
    seq: int


TYPES: Mapping[str, type] = {"tidemill.monitor.audit.recorded.v1": AuditRecorded}
