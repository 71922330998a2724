"""Audit records, and which events announce decisions that are recorded like calls."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256

from tidemill_core.audit import Head, Record
from tidemill_core.errors import digest_of
from tidemill_monitor.events.meta import EventMeta, word_of
from tidemill_monitor.events.monitor import RecordedCall

INSTALLATION = "-"
"""The chain of what belongs to no project, which no project can be named."""

_ID = re.compile(r"[A-Za-z0-9_.@-]{1,128}")
_OUTCOME = "AUDIT_OUTCOME_"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainedRecord:
    """A record in its chain; `text` is what its hash was made of."""

    seq: int
    hash: str
    previous: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEnd:
    """Where a chain ends, and up to which number it is anchored."""

    chain: str
    head: Head
    anchored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFilter:
    """Chooses records; what is empty chooses all."""

    subject: str = ""
    method: str = ""
    resource: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A copy of a chain's end in the object store."""

    seq: int
    hash: str
    create_time: datetime


DECISIONS: Mapping[str, str] = {
    "tidemill.feedback.curation.completed.v1": "curation",
    "tidemill.ingest.dataset.version_published.v1": "curation",
    "tidemill.ingest.dataset.version_withheld.v1": "curation",
    "tidemill.trainer.run.queued.v1": "training",
    "tidemill.trainer.run.failed.v1": "training",
    "tidemill.trainer.sweep.ended.v1": "training",
    "tidemill.trainer.derivation.ended.v1": "training",
    "tidemill.evaluator.evaluation.completed.v1": "gate verdict",
    "tidemill.evaluator.evaluation.failed.v1": "gate verdict",
    "tidemill.inference.budget.exhausted.v1": "budget stop",
    "tidemill.inference.experiment.started.v1": "experiment",
    "tidemill.inference.experiment.ended.v1": "experiment",
    "tidemill.inference.rollout.started.v1": "rollout",
    "tidemill.inference.rollout.advanced.v1": "rollout",
    "tidemill.inference.rollout.refused.v1": "rollout",
    "tidemill.inference.rollout.promoted.v1": "promotion",
    "tidemill.inference.rollout.rolled_back.v1": "rollback",
    "tidemill.inference.deployment.configured.v1": "configuration",
    "tidemill.inference.deployment.deleted.v1": "deletion",
    "tidemill.ingest.document.deleted.v1": "deletion",
    "tidemill.rag.index.collection_deleted.v1": "deletion",
    "tidemill.trainer.model.deleted.v1": "deletion",
    "tidemill.monitor.erasure.certified.v1": "erasure",
}
"""What kind of decision an event announces. A new event type stands here, or in `NO_DECISIONS`."""

NO_DECISIONS = frozenset(
    {
        "tidemill.evaluator.evaluation.started.v1",
        "tidemill.evaluator.harness_run.recorded.v1",
        "tidemill.evaluator.retrieval_evaluation.completed.v1",
        "tidemill.evaluator.retrieval_evaluation.failed.v1",
        "tidemill.evaluator.retrieval_evaluation.started.v1",
        "tidemill.feedback.feedback.recorded.v1",
        "tidemill.feedback.feedback.withdrawn.v1",
        "tidemill.feedback.review.removed.v1",
        "tidemill.feedback.review.resolved.v1",
        "tidemill.inference.inference.cancelled.v1",
        "tidemill.inference.inference.completed.v1",
        "tidemill.inference.inference.failed.v1",
        "tidemill.inference.prompt.version_created.v1",
        "tidemill.inference.remote_model.changed.v1",
        "tidemill.ingest.dataset.version_approved.v1",
        "tidemill.ingest.document.ingested.v1",
        "tidemill.ingest.document.rejected.v1",
        "tidemill.ingest.document.updated.v1",
        "tidemill.rag.index.became_ready.v1",
        "tidemill.rag.index.build_started.v1",
        "tidemill.rag.index.retired.v1",
        "tidemill.rag.index.went_live.v1",
        "tidemill.trainer.model.version_failed.v1",
        "tidemill.trainer.model.version_registered.v1",
        "tidemill.trainer.run.succeeded.v1",
    }
)


def call_record(call: RecordedCall, *, service: str) -> Record:
    """Return the record of a call, as its service published it."""
    outcome = word_of(call.outcome, _OUTCOME)
    return asdict(call) | {"service": service, "outcome": outcome}


def decision_record(meta: EventMeta, body: object, *, event: "DecisionEvent") -> Record:
    """Return the record of a decision that no caller made, of which its owner published an event."""
    reason = str(getattr(body, "reason", "")) or word_of(str(getattr(body, "verdict", "")), "VERDICT_")
    time = meta.time.astimezone(UTC).isoformat().replace("+00:00", "Z")
    call = RecordedCall(
        id=event.id,
        project=event.project,
        subject=f"service:{event.service}",
        method=meta.type,
        resource=event.subject if _ID.fullmatch(event.subject) else digest_of(event.subject),
        request_digest=sha256(event.data).hexdigest(),
        etag_after=str(event.seq or ""),
        reply_digest=str(getattr(body, "certificate_sha256", "")),
        outcome=f"{_OUTCOME}SUCCEEDED",
        code="OK",
        reason=reason[:_MAX_REASON],
        trace_id=event.trace_id,
        begin_time=time,
        end_time=time,
    )
    return call_record(call, service=event.service)


_MAX_REASON = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionEvent:
    """What is recorded of an event besides its body."""

    id: str
    project: str
    service: str
    subject: str
    seq: int | None
    data: bytes
    trace_id: str = ""
