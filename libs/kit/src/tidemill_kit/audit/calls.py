"""An audited call on its way through an edge, and the record that it becomes."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from google.protobuf.timestamp_pb2 import Timestamp

from tidemill.monitor.v1.audit_pb2 import AuditOutcome, AuditRecord
from tidemill.options.v1 import options_pb2
from tidemill_core.application import Caller
from tidemill_kit.access.policy import Policy
from tidemill_kit.access.tokens import ANY_PROJECT

SUCCEEDED = AuditOutcome.AUDIT_OUTCOME_SUCCEEDED
FAILED = AuditOutcome.AUDIT_OUTCOME_FAILED
REFUSED = AuditOutcome.AUDIT_OUTCOME_REFUSED
UNKNOWN = AuditOutcome.AUDIT_OUTCOME_UNKNOWN
OK = "OK"

NO_CALLER = Caller(project="")


@dataclass(slots=True, kw_only=True)
class AuditedCall:
    """What is recorded of one call: who, what, and how it ended; never a body, a text or a credential."""

    method: str
    address: str = ""
    trace_id: str = ""
    of_installation: bool = False
    """It belongs to no project: its record is for the installation's admins."""
    public: bool = False
    """It needs no credential; the caller is known once it has succeeded."""
    id: str = field(default_factory=lambda: str(uuid4()))
    begin_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    caller: Caller = NO_CALLER
    """As far as proven."""
    begun: bool = False
    """The handler may have run."""
    recorded: bool = False
    """The outcome is stored already."""
    resource: str = ""
    request_digest: str = ""
    etag_before: str = ""
    etag_after: str = ""
    reply_digest: str = ""
    code: str = OK
    reason: str = ""
    count: int = 1
    items: int = 0
    """How many things it was about, where the RPC counts them."""

    @property
    def project(self) -> str:
        """The project whose chain the record belongs to, "" for the installation's."""
        return "" if self.of_installation or self.caller.project == ANY_PROJECT else self.caller.project

    @property
    def outcome(self) -> AuditOutcome.ValueType:
        """How it ended."""
        if self.code == OK:
            return SUCCEEDED
        return FAILED if self.begun else REFUSED

    def record(self, service: str, *, end_time: datetime | None) -> AuditRecord:
        """Return the record; without an end of what has only begun."""
        return AuditRecord(
            id=self.id,
            project=self.project,
            service=service,
            subject=self.caller.subject,
            via=self.caller.via,
            credential=self.caller.credential,
            method=self.method,
            resource=self.resource,
            request_digest=self.request_digest,
            etag_before=self.etag_before,
            etag_after=self.etag_after,
            reply_digest=self.reply_digest,
            outcome=self.outcome if end_time else UNKNOWN,
            code=self.code if end_time else "",
            reason=self.reason,
            address=self.address,
            trace_id=self.trace_id,
            count=self.count,
            items=self.items,
            begin_time=stamp(self.begin_time),
            end_time=stamp(end_time) if end_time else None,
        )


def is_audited(policy: Policy) -> bool:
    """Return whether calls of an RPC are recorded."""
    return policy.audit == options_pb2.AUDIT_CALL


def audited(policy: Policy, *, address: str, trace_id: str) -> AuditedCall:
    """Return the record of a call that arrives."""
    return AuditedCall(
        method=policy.method,
        address=address,
        trace_id=trace_id,
        of_installation=policy.required_role == options_pb2.ROLE_INSTALLATION_ADMIN,
        public=policy.public,
    )


def stamp(time: datetime) -> Timestamp:
    """Return a time as messages have it."""
    found = Timestamp()
    found.FromDatetime(time)
    return found


_CURRENT: ContextVar[AuditedCall | None] = ContextVar("audited_call", default=None)


@contextmanager
def current(call: AuditedCall) -> Iterator[None]:
    """Let the handler that runs in the block say what only it can know: who calls, and about how much."""
    token = _CURRENT.set(call)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def identified(caller: Caller) -> None:
    """Say who a public call, such as a login, turned out to come from."""
    call = _CURRENT.get()
    if call is not None and call.public:
        call.caller = caller


def counted(items: int) -> None:
    """Say how many things the call that runs is about; its record has the number, and nothing of them."""
    call = _CURRENT.get()
    if call is not None:
        call.items = items
