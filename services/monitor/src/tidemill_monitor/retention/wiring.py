"""Wires retention."""

from tidemill_core.application import SystemClock
from tidemill_kit.access.revocations import TOPIC
from tidemill_kit.service.backend import Backend
from tidemill_monitor.errors import RetentionNotFound
from tidemill_monitor.retention.crud import RetentionCrud
from tidemill_monitor.retention.domain import RetentionBounds
from tidemill_monitor.retention.grpc import GrpcRetentionService
from tidemill_monitor.retention.mongo import RETENTION
from tidemill_monitor.retention.ports import Active
from tidemill_monitor.settings import MonitorSettings


def wire_retention(settings: MonitorSettings, backend: Backend, *, projects: Active) -> GrpcRetentionService:
    """Return what serves retention."""
    crud = RetentionCrud(
        retention=backend.aggregates("retention", RETENTION, missing=RetentionNotFound, topic=TOPIC),
        projects=projects,
        bounds=RetentionBounds(min_days=settings.retention_min_days, max_days=settings.retention_max_days),
        clock=SystemClock(),
    )
    return GrpcRetentionService(retention=crud)
