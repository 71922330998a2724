"""Events of monitor itself, and those that every service publishes for it: audited calls and reports of erasures."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


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
    items: int = 0
    begin_time: str = ""
    end_time: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecorded:
    """audit.recorded."""

    record: RecordedCall
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedCount:
    """How many things of a kind a service erased."""

    kind: str = ""
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureCompleted:
    """erasure.completed."""

    id: str
    service: str
    counts: tuple[ErasedCount, ...] = ()
    start_time: datetime
    complete_time: datetime
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureCertified:
    """erasure.certified."""

    id: str
    certificate_sha256: str
    seq: int


TYPES: Mapping[str, type] = {
    "tidemill.monitor.audit.recorded.v1": AuditRecorded,
    "tidemill.monitor.erasure.certified.v1": ErasureCertified,
    "tidemill.monitor.erasure.completed.v1": ErasureCompleted,
}
