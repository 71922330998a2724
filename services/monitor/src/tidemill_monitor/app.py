"""The composition root: the only module that sees adapters and entry points."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from tidemill.monitor.v1.access_service_pb2_grpc import add_AccessServiceServicer_to_server
from tidemill.monitor.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server
from tidemill.monitor.v1.erasure_service_pb2_grpc import add_ErasureServiceServicer_to_server
from tidemill.monitor.v1.hold_service_pb2_grpc import add_HoldServiceServicer_to_server
from tidemill.monitor.v1.lineage_service_pb2_grpc import add_LineageServiceServicer_to_server
from tidemill.monitor.v1.retention_service_pb2_grpc import add_RetentionServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_kit.erasure.steps import Scope
from tidemill_kit.http.rpc import HttpRpcs, rpc_application
from tidemill_kit.http.server import server_of
from tidemill_kit.service.app import App, Worker
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases
from tidemill_monitor.access.deleted_projects import DeletedProjects
from tidemill_monitor.access.wiring import projects_of, wire_access
from tidemill_monitor.audit.wiring import wire_audit
from tidemill_monitor.erasure import erasure_steps
from tidemill_monitor.erasures.wiring import wire_erasures
from tidemill_monitor.examples.events import examples
from tidemill_monitor.examples.exchange import ExchangeExamples
from tidemill_monitor.examples.link_examples import LinkExamples
from tidemill_monitor.examples.mongo import MongoBatches, pending_batches
from tidemill_monitor.examples.request_batch import RequestBatch
from tidemill_monitor.holds.wiring import wire_holds
from tidemill_monitor.lineage.events import lineage
from tidemill_monitor.lineage.grpc import GrpcLineageService
from tidemill_monitor.lineage.maintenance import GraphMaintenance
from tidemill_monitor.lineage.mongo import MongoGraph
from tidemill_monitor.lineage.mongo_edges import MongoEdges
from tidemill_monitor.lineage.read_lineage import LineageLimits, ReadLineage
from tidemill_monitor.lineage.read_timeline import ReadTimeline
from tidemill_monitor.lineage.record_event import RecordEvent
from tidemill_monitor.lineage.sweep_inferences import SweepInferences
from tidemill_monitor.retention.wiring import wire_retention
from tidemill_monitor.settings import MonitorSettings
from tidemill_monitor.usage.count_event import CountEvent
from tidemill_monitor.usage.events import usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tidemill_kit.grpc.server import Registration


async def build_app(settings: MonitorSettings) -> App:
    """Build monitor on the running event loop; nothing connects before `start`."""
    backend = Backend(settings)
    database = backend.database
    edges = MongoEdges(database["edges"], database["edge_places"], list_length=settings.list_length)
    max_parts = settings.timeline_entries + 1  # one more than is shown, by which a timeline knows that it is cut
    graph = backend.indexed(
        MongoGraph(database["nodes"], edges, database["counts"], count_s=settings.count_s, max_parts=max_parts)
    )
    batches, pending = MongoBatches(database["batches"]), backend.indexed(pending_batches(database["batches"]))
    exchange = ExchangeExamples(backend.bucket(settings.feedback_bucket), max_bytes=settings.max_batch_bytes)
    link = LinkExamples(batches=batches, examples=exchange, graph=graph)
    controller = Controller(
        "batches",
        reconcile=lambda name, epoch: link(name, epoch=epoch),
        pending=pending,
        leases=backend.leases("batches", removable=False),
        max_concurrent=settings.batch_max_concurrent,
        poll_interval=timedelta(seconds=settings.batch_poll_interval_s),
    )
    maintenance = _maintenance(settings, graph, backend.leases("leases", removable=False))
    audit, projects = wire_audit(settings, backend), projects_of(backend)
    deleted = DeletedProjects(projects=projects)
    holds = wire_holds(settings, backend, projects=deleted)
    erasures = wire_erasures(settings, backend, holds=holds.crud, projects=deleted)
    access = wire_access(settings, backend, projects=projects, holds=holds.crud, erase=erasures.erase_project)
    steps = erasure_steps(backend, graph=graph, projects=deleted, holds=holds.crud, grants=access.resource_grants)
    servicers: Sequence[Registration] = [
        (add_LineageServiceServicer_to_server, _servicer(settings, graph)),
        (add_AccessServiceServicer_to_server, access.servicer),
        (add_AuditServiceServicer_to_server, audit.servicer),
        (add_ErasureServiceServicer_to_server, erasures.servicer),
        (add_HoldServiceServicer_to_server, holds.servicer),
        (add_RetentionServiceServicer_to_server, wire_retention(settings, backend, projects=deleted)),
    ]
    rpcs = HttpRpcs(servicers, settings, admission=backend.admission, access=backend.access, audit=backend.audit)
    http = rpc_application(rpcs, settings, dependencies=backend.dependencies, routes=access.http.routes())
    return backend.app(
        servicers=servicers,
        consumers=[
            lineage(RecordEvent(graph=graph, erased=partial(_erased_documents, backend))),
            examples(RequestBatch(batches=batches, enqueue=controller.enqueue)),
            usage(CountEvent(max_projects=settings.metric_projects)),
            audit.consumer,
            erasures.consumer,
        ],
        workers=[controller, Worker("graph_maintenance", maintenance.run), audit.worker, *erasures.workers],
        erasures=steps,
        servers=[server_of(http, settings)] if settings.http_port else [],
    )


async def _erased_documents(backend: Backend, project: str, documents: Collection[str]) -> Mapping[str, datetime]:
    return await backend.erased(project, Scope.DOCUMENT, documents)


def _maintenance(settings: MonitorSettings, graph: MongoGraph, leases: Leases) -> GraphMaintenance:
    keep = timedelta(days=settings.inference_days)
    sweep = SweepInferences(graph=graph, clock=SystemClock(), keep=keep) if settings.inference_days else None
    return GraphMaintenance(
        graph=graph,
        leases=leases,
        count_every_s=settings.count_every_s,
        delete_old=sweep,
        sweep_every_s=settings.sweep_every_s,
    )


def _servicer(settings: MonitorSettings, graph: MongoGraph) -> GrpcLineageService:
    limits = LineageLimits(
        depth=settings.depth,
        max_depth=settings.max_depth,
        nodes_of_kind=settings.nodes_of_kind,
        max_nodes_of_kind=settings.max_nodes_of_kind,
    )
    return GrpcLineageService(
        lineage=ReadLineage(graph=graph, limits=limits),
        timeline=ReadTimeline(graph=graph, max_entries=settings.timeline_entries),
    )
