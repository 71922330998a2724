"""Wires erasures: requests, reports, certificates and what serves them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import ResourceKey, SystemClock
from tidemill_kit.erasure.erasures import REQUESTS
from tidemill_kit.events.subscriptions import Subscription
from tidemill_kit.service.app import Component, Worker
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.pending import PendingDocuments
from tidemill_monitor.erasures.certify_erasure import CertifyErasure, RecordReport
from tidemill_monitor.erasures.events import erasure_reports
from tidemill_monitor.erasures.find_overdue import FindOverdue
from tidemill_monitor.erasures.grpc import GrpcErasureService
from tidemill_monitor.erasures.maintenance import OverdueCheck
from tidemill_monitor.erasures.mongo import ERASURES, MongoDueErasures, certifiable_erasures, deleting_projects
from tidemill_monitor.erasures.objects import ObjectCertificates
from tidemill_monitor.erasures.ports import DeletedProjects, Erasures, LegalHolds
from tidemill_monitor.erasures.read_erasures import ReadErasures
from tidemill_monitor.erasures.request_erasure import RequestErasure
from tidemill_monitor.errors import ErasureNotFound
from tidemill_monitor.settings import MonitorSettings

_COLLECTION = "erasure_requests"
_MAX_CONCURRENT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredErasures:
    """What `app.py` needs of erasures."""

    servicer: GrpcErasureService
    consumer: Subscription
    workers: Sequence[Component]
    erase_project: Callable[[ResourceKey], None]
    """Has the data of a project erased that is being deleted."""


def wire_erasures(
    settings: MonitorSettings, backend: Backend, *, holds: LegalHolds, projects: DeletedProjects
) -> WiredErasures:
    """Return what serves erasures."""
    erasures: Erasures = backend.aggregates(_COLLECTION, ERASURES, missing=ErasureNotFound, topic=REQUESTS)
    certificates = ObjectCertificates(backend.own_bucket(settings.certificate_bucket))
    read = ReadErasures(erasures=erasures, holds=holds, certificates=certificates)
    clock = SystemClock()
    request = RequestErasure(
        erasures=erasures,
        holds=holds,
        projects=projects,
        clock=clock,
        due=timedelta(hours=settings.erasure_due_hours),
    )
    certify = CertifyErasure(erasures=erasures, certificates=certificates, projects=projects, clock=clock)
    collection = backend.database[_COLLECTION]
    of_projects = _controller(
        "deleted_projects", settings, backend, request.of_project, deleting_projects(backend.database["projects"])
    )
    of_reports = _controller("certificates", settings, backend, certify, certifiable_erasures(collection))
    due = backend.indexed(MongoDueErasures(collection))
    check = OverdueCheck(
        find=FindOverdue(due=due, read=read, clock=clock), interval_s=settings.overdue_check_interval_s
    )
    return WiredErasures(
        servicer=GrpcErasureService(request_erasure=request, read=read),
        consumer=erasure_reports(RecordReport(erasures=erasures, enqueue=of_reports.enqueue)),
        workers=[of_projects, of_reports, Worker("overdue_erasures", check.run)],
        erase_project=of_projects.enqueue,
    )


def _controller(
    name: str,
    settings: MonitorSettings,
    backend: Backend,
    reconcile: Callable[[ResourceKey], Awaitable[None]],
    pending: PendingDocuments,
) -> Controller[ResourceKey]:
    """Return a controller without leases: what it does twice at the same time is the same."""

    async def reconciled(key: ResourceKey, _epoch: int) -> None:
        await reconcile(key)

    return Controller(
        name,
        reconcile=reconciled,
        pending=backend.indexed(pending),
        max_concurrent=_MAX_CONCURRENT,
        poll_interval=timedelta(seconds=settings.certificate_poll_interval_s),
    )
