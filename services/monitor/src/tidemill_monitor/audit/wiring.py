"""Wires audit: chains, anchors, use cases and what serves them."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import SystemClock
from tidemill_kit.events.subscriptions import Subscription
from tidemill_kit.service.app import Worker
from tidemill_kit.service.backend import Backend
from tidemill_monitor.audit.anchor_heads import AnchorHeads
from tidemill_monitor.audit.append_record import AppendRecord
from tidemill_monitor.audit.events import audit
from tidemill_monitor.audit.grpc import GrpcAuditService
from tidemill_monitor.audit.maintenance import AuditMaintenance
from tidemill_monitor.audit.mongo import MongoChains
from tidemill_monitor.audit.objects import ObjectAnchors
from tidemill_monitor.audit.read_records import ReadRecords
from tidemill_monitor.settings import MonitorSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredAudit:
    """What `app.py` needs of audit."""

    servicer: GrpcAuditService
    consumer: Subscription
    worker: Worker


def wire_audit(settings: MonitorSettings, backend: Backend) -> WiredAudit:
    """Return what serves audit."""
    database, bucket = backend.database, settings.audit_bucket
    backend.on_start(lambda: backend.objects.ensure_bucket(bucket))
    chains = backend.indexed(MongoChains(database["audit_records"], database["audit_heads"]))
    anchors = ObjectAnchors(backend.objects, bucket)
    keep = timedelta(days=settings.audit_days) if settings.audit_days else None
    maintenance = AuditMaintenance(
        anchor=AnchorHeads(chains=chains, anchors=anchors, clock=SystemClock(), keep=keep),
        leases=backend.leases("leases", removable=False),
        interval_s=settings.anchor_interval_s,
    )
    return WiredAudit(
        servicer=GrpcAuditService(read=ReadRecords(chains=chains, anchors=anchors)),
        consumer=audit(AppendRecord(chains=chains)),
        worker=Worker("audit_anchors", maintenance.run),
    )
