"""The composition root: the only module that sees adapters and entry points."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from tidemill.monitor.v1.lineage_service_pb2_grpc import add_LineageServiceServicer_to_server
from tidemill_kit.core.application import SystemClock
from tidemill_kit.events.kafka import Consumers, Publisher
from tidemill_kit.service.app import App, Dependency, Worker
from tidemill_kit.store import mongo
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_kit.workers.leases import Leases
from tidemill_monitor.adapters.exchange_examples import ExchangeExamples
from tidemill_monitor.adapters.mongo_batches import MongoBatches
from tidemill_monitor.adapters.mongo_edges import MongoEdges
from tidemill_monitor.adapters.mongo_graph import MongoGraph
from tidemill_monitor.application.link_examples import LinkExamples
from tidemill_monitor.application.read_lineage import LineageLimits, ReadLineage
from tidemill_monitor.application.read_timeline import ReadTimeline
from tidemill_monitor.application.record_event import RecordEvent
from tidemill_monitor.application.sweep_inferences import SweepInferences
from tidemill_monitor.entrypoints.grpc_lineage_service import GrpcLineageService
from tidemill_monitor.entrypoints.kafka_events import lineage
from tidemill_monitor.entrypoints.metrics import LoopMetrics
from tidemill_monitor.entrypoints.workers import ExamplesWorker, HouseKeeper
from tidemill_monitor.settings import MonitorSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """Everything behind the ports, and the clients that it stands on."""

    database: mongo.Database
    publisher: Publisher
    store: ObjectStore
    graph: MongoGraph
    batches: MongoBatches
    leases: Leases
    examples: ExchangeExamples


async def build_app(settings: MonitorSettings) -> App:
    """Put monitor together, on the event loop that it will live on. Nothing is connected yet."""
    adapters, metrics = _adapters(settings), LoopMetrics(max_projects=settings.metric_projects)
    worker = _worker(settings, adapters)
    record = RecordEvent(graph=adapters.graph, batches=adapters.batches, enqueue=worker.enqueue)
    consumers = Consumers(settings.kafka, [lineage(record, metrics)], adapters.publisher)
    client = adapters.database.client
    return App(
        settings=settings,
        servicers=[(add_LineageServiceServicer_to_server, _servicer(settings, adapters))],
        dependencies=[
            Dependency(name="mongodb", probe=lambda: mongo.ping(client)),
            Dependency(name="s3", probe=adapters.store.ping),
            Dependency(name="kafka", probe=adapters.publisher.ping, needed_to_serve=False),
        ],
        components=[
            Stores(adapters),
            adapters.publisher,
            Worker("examples", worker.run),
            Worker("house_keeping", _house_keeper(settings, adapters, metrics).run),
            consumers,
        ],
        consumers=consumers.status,
    )


class Stores:
    """The component that prepares what the others write to."""

    def __init__(self, adapters: Adapters) -> None:
        self._adapters = adapters

    async def start(self) -> None:
        """Create the indexes in MongoDB; repeating it changes nothing."""
        await self._adapters.graph.ensure_indexes()
        await self._adapters.batches.ensure_indexes()

    async def stop(self) -> None:
        """Close the connections to MongoDB."""
        self._adapters.database.client.close()


def _adapters(settings: MonitorSettings) -> Adapters:
    database = mongo.connect(settings.mongo_uri, timeout_s=settings.dependency_timeout_s)[settings.mongo_database]
    store = ObjectStore(
        settings.s3_endpoint,
        settings.s3_access_key,
        settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
        max_concurrent=settings.s3_max_concurrent,
    )
    batches = database["batches"]
    leases = Leases(batches, owner=str(uuid4()), ttl=timedelta(seconds=settings.lease_s), clock=SystemClock())
    return Adapters(
        database=database,
        publisher=Publisher(settings.kafka),
        store=store,
        graph=MongoGraph(
            database["nodes"],
            MongoEdges(database["edges"], database["edge_places"], list_length=settings.list_length),
            database["counts"],
            count_s=settings.count_s,
        ),
        leases=Leases(
            database["leases"], owner=str(uuid4()), ttl=timedelta(seconds=settings.lease_s), clock=SystemClock()
        ),
        batches=MongoBatches(batches, leases),
        examples=ExchangeExamples(ExchangeBucket(store, settings.feedback_bucket), max_bytes=settings.max_batch_bytes),
    )


def _worker(settings: MonitorSettings, adapters: Adapters) -> ExamplesWorker:
    return ExamplesWorker(
        batches=adapters.batches,
        link=LinkExamples(batches=adapters.batches, examples=adapters.examples, graph=adapters.graph),
        max_concurrent=settings.max_concurrent_batches,
        retry_after_s=settings.retry_s,
    )


def _house_keeper(settings: MonitorSettings, adapters: Adapters, metrics: LoopMetrics) -> HouseKeeper:
    keep = timedelta(days=settings.inference_days)
    sweep = SweepInferences(graph=adapters.graph, clock=SystemClock(), keep=keep) if settings.inference_days else None
    return HouseKeeper(
        graph=adapters.graph,
        leases=adapters.leases,
        metrics=metrics,
        count_every_s=settings.count_every_s,
        sweep=sweep,
        sweep_every_s=settings.sweep_every_s,
    )


def _servicer(settings: MonitorSettings, adapters: Adapters) -> GrpcLineageService:
    limits = LineageLimits(
        depth=settings.depth,
        max_depth=settings.max_depth,
        nodes_of_kind=settings.nodes_of_kind,
        max_nodes_of_kind=settings.max_nodes_of_kind,
    )
    return GrpcLineageService(
        lineage=ReadLineage(graph=adapters.graph, limits=limits),
        timeline=ReadTimeline(graph=adapters.graph, max_entries=settings.timeline_entries),
    )
