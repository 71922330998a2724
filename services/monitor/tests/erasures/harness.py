"""The use cases of erasures, in memory: with real holds and projects."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_core.application import Caller, Request, ResourceKey
from tidemill_core.resources import Write
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_monitor.access.deleted_projects import DeletedProjects
from tidemill_monitor.access.domain.project import Member, Project
from tidemill_monitor.access.mongo import PROJECTS
from tidemill_monitor.erasures.certify_erasure import CertifyErasure, RecordReport
from tidemill_monitor.erasures.domain.erasure import SERVICES, Count, Erasure, Report
from tidemill_monitor.erasures.find_overdue import FindOverdue
from tidemill_monitor.erasures.mongo import ERASURES
from tidemill_monitor.erasures.objects import ObjectCertificates
from tidemill_monitor.erasures.read_erasures import ReadErasures
from tidemill_monitor.erasures.request_erasure import RequestErasure
from tidemill_monitor.errors import ErasureNotFound, HoldNotFound, ProjectNotFound
from tidemill_monitor.holds.crud import HoldCrud
from tidemill_monitor.holds.domain import Hold
from tidemill_monitor.holds.mongo import HOLDS
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stores import InMemoryAggregates

BUCKET = "certificates"
DUE = timedelta(hours=24)
ADA = Caller(project="acme", subject="user:ada", roles=frozenset({"admin"}))
BOB = Caller(project="acme", subject="user:bob", roles=frozenset({"admin"}))
EVE = Caller(project="globex", subject="user:eve", roles=frozenset({"admin"}))
ROOT = Caller(project="acme", subject="user:root", roles=frozenset({"installation_admin"}))


def write(request_id: str = "", *, etag: str = "", validate_only: bool = False) -> Write:
    return Write(request=Request.of(request_id, request_id.encode()), etag=etag, validate_only=validate_only)


def report(service: str, *, at: datetime = NOON, **counts: int) -> Report:
    counted = tuple(Count(kind=kind, count=count) for kind, count in counts.items())
    return Report(service=service, counts=counted, start_time=at, complete_time=at + timedelta(minutes=1))


async def at_once(_: Hold) -> None:
    """Implements `ports.Known`: every service has read the hold."""


@dataclass(frozen=True, slots=True)
class Due:
    """Implements `ports.DueErasures` over aggregates in memory."""

    erasures: InMemoryAggregates[Erasure]

    async def pending_before(self, moment: datetime, *, limit: int) -> Sequence[Erasure]:
        return [each for each in self.erasures.all() if not each.completed and each.due_time < moment][:limit]


class Erasing:
    """Stores, fakes and use cases."""

    def __init__(self) -> None:
        self.clock, self.objects = FixedClock(), InMemoryObjects(BUCKET)
        self.store = InMemoryAggregates[Erasure](codec=ERASURES, missing=ErasureNotFound, clock=self.clock)
        self.hold_store = InMemoryAggregates[Hold](codec=HOLDS, missing=HoldNotFound, clock=self.clock)
        self.project_store = InMemoryAggregates[Project](codec=PROJECTS, missing=ProjectNotFound, clock=self.clock)
        self.projects = DeletedProjects(projects=self.project_store)
        self.holds = HoldCrud(holds=self.hold_store, projects=self.projects, clock=self.clock, known=at_once)
        self.enqueued: list[ResourceKey] = []
        certificates = ObjectCertificates(ExchangeBucket(self.objects, BUCKET))
        self.request = RequestErasure(
            erasures=self.store, holds=self.holds, projects=self.projects, clock=self.clock, due=DUE
        )
        self.read = ReadErasures(erasures=self.store, holds=self.holds, certificates=certificates)
        self.record = RecordReport(erasures=self.store, enqueue=self.enqueued.append)
        self.certify = CertifyErasure(
            erasures=self.store, certificates=certificates, projects=self.projects, clock=self.clock
        )
        self.overdue = FindOverdue(due=Due(self.store), read=self.read, clock=self.clock)

    async def of_user(self, end_user: str = "u-17", *, caller: Caller = ADA, request_id: str = "") -> Erasure:
        return await self.request(caller, end_user=end_user, document="", write=write(request_id))

    async def hold(self, name: str = "case-1", *, caller: Caller = ADA, end_user: str = "", document: str = "") -> Hold:
        hold = Hold(id=name, project="x", reason="14/2026", end_user=end_user, document=document)
        return await self.holds.create(caller, hold, write())

    async def all_report(self, erasure: Erasure, *, but: str = "") -> None:
        for service in SERVICES:
            if service != but:
                await self.record(erasure.project, erasure.id, report(service, documents=1))

    async def completed(self, erasure: Erasure) -> Erasure:
        await self.all_report(erasure)
        await self.certify(ResourceKey(project=erasure.project, id=erasure.id))
        return await self.store.get(erasure.project, erasure.id)

    async def deleted_project(self, name: str = "acme") -> Project:
        """Return a project with one member that was just deleted, and whose erasure was requested."""
        member = Member(id="m", subject="user:ada", roles=("admin",), create_time=NOON, update_time=NOON)
        project = Project(id=name, project=name, display_name="Acme Corporation", members=(member,))
        project.begin_deletion("user:root", now=self.clock.now(), lifetime=timedelta(days=1))
        saved = await self.project_store.add(project, request=Request.internal())
        await self.request.of_project(ResourceKey(project=name, id=name))
        return saved
