"""The composition root: the only module that sees adapters and entry points."""

from datetime import timedelta
from uuid import uuid4

import structlog

from tidemill.ingest.v1 import dataset_service_pb2_grpc, document_service_pb2_grpc, source_service_pb2_grpc
from tidemill_core.application import SystemClock
from tidemill_core.errors import DependencyUnavailable
from tidemill_ingest.datasets.crud import ChangeDatasets
from tidemill_ingest.datasets.domain.division import Minimum
from tidemill_ingest.datasets.erasures import Erasures
from tidemill_ingest.datasets.events import Curations
from tidemill_ingest.datasets.grpc import DatasetServicer
from tidemill_ingest.datasets.mongo import (
    MongoGroups,
    datasets_with_offers,
    mongo_datasets,
)
from tidemill_ingest.datasets.objects import DatasetParts, FeedbackBatches
from tidemill_ingest.datasets.offer_examples import OfferExamples
from tidemill_ingest.datasets.publish_versions import PublishVersions
from tidemill_ingest.datasets.read_datasets import ReadDatasets
from tidemill_ingest.datasets.sweep import SweepDatasets
from tidemill_ingest.documents.accept_document import AcceptDocument
from tidemill_ingest.documents.crud import ReadDocuments
from tidemill_ingest.documents.delete_document import DeleteDocument
from tidemill_ingest.documents.events import Submissions
from tidemill_ingest.documents.grpc import DocumentServicer
from tidemill_ingest.documents.mongo import MongoOutbox, mongo_documents
from tidemill_ingest.documents.mongo_sweep import MongoSweepCursor, MongoVersionTexts
from tidemill_ingest.documents.objects import ExchangeTexts, ObjectStoreQuarantine
from tidemill_ingest.documents.ports import SweepRules
from tidemill_ingest.documents.preparation import ProcessPreparation
from tidemill_ingest.documents.reconcile import dataset_sweep_controller, sweep_controller
from tidemill_ingest.documents.reject_submission import RejectSubmission
from tidemill_ingest.documents.sweep import Sweep
from tidemill_ingest.documents.uploads import Uploads
from tidemill_ingest.settings import IngestSettings
from tidemill_ingest.sources.crud import ChangeSources
from tidemill_ingest.sources.event_bindings import BindEvents
from tidemill_ingest.sources.find_source import FindSource
from tidemill_ingest.sources.grpc import SourceServicer
from tidemill_ingest.sources.mongo import mongo_event_bindings, mongo_sources
from tidemill_kit.events.kafka import Consumers, Publisher
from tidemill_kit.events.relay import Relay
from tidemill_kit.grpc.uploads import UploadPlaces
from tidemill_kit.service.app import App, Dependency
from tidemill_kit.store.mongo import Database, connect, ping
from tidemill_kit.store.objects import ObjectStore
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases

_log = structlog.get_logger(__name__)


async def build_app(settings: IngestSettings) -> App:
    """Put the service together: clients, adapters, use cases, entry points. Nothing runs yet."""
    client = connect(settings.mongo_uri, timeout_s=settings.dependency_timeout_s)
    database = client[settings.mongo_database]
    store = ObjectStore(
        settings.s3_endpoint,
        settings.s3_access_key,
        settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
        max_concurrent=settings.s3_max_concurrent,
    )
    publisher = Publisher(settings.kafka)
    relay = Relay([database["documents"], database["datasets"]], publisher)
    preparation = ProcessPreparation(
        workers=settings.preparation_workers,
        cpu_s=settings.preparation_cpu_s,
        wall_s=settings.preparation_wall_s,
        phone_regions=settings.phone_regions,
    )
    parts = _Parts(settings, database, store, relay, preparation)
    datasets = _Datasets(settings, database, store, relay, parts)
    consumers = Consumers(
        settings.kafka,
        [
            parts.submissions.subscription(settings.submission_topics),
            datasets.curations.subscription(settings.curation_topics),
        ],
        publisher,
    )
    return App(
        settings=settings,
        servicers=[
            (document_service_pb2_grpc.add_DocumentServiceServicer_to_server, parts.document_servicer),
            (source_service_pb2_grpc.add_SourceServiceServicer_to_server, parts.source_servicer),
            (dataset_service_pb2_grpc.add_DatasetServiceServicer_to_server, datasets.servicer),
        ],
        dependencies=[
            Dependency(name="mongodb", probe=lambda: ping(client)),
            Dependency(name="s3", probe=store.ping),
            Dependency(name="kafka", probe=publisher.ping, needed_to_serve=False),
        ],
        components=[
            _Ground(settings, parts, datasets, store),
            preparation,
            publisher,
            relay,
            consumers,
            datasets.controller,
            parts.sweep,
            datasets.sweep,
        ],
        consumers=consumers.status,
        outbox_length=relay.outbox_length,
    )


class _Parts:
    """Adapters, use cases and entry points of one app."""

    def __init__(
        self,
        settings: IngestSettings,
        database: Database,
        store: ObjectStore,
        relay: Relay,
        preparation: ProcessPreparation,
    ) -> None:
        clock, limits = SystemClock(), settings.limits
        self.preparation = preparation
        self.documents = mongo_documents(database["documents"], enqueue=relay.enqueuer(database["documents"]))
        self.sources = mongo_sources(database["sources"], quota=settings.quota("sources"))
        self.bindings = mongo_event_bindings(database["event_bindings"])
        texts = ExchangeTexts(store, settings.exchange_bucket)
        quarantine = ObjectStoreQuarantine(store, settings.quarantine_bucket)
        events = BindEvents(sources=self.sources, bindings=self.bindings, clock=clock)
        reading = ReadDocuments(
            sources=self.sources, documents=self.documents, texts=texts, outbox=MongoOutbox(database["documents"])
        )
        accept = AcceptDocument(
            sources=self.sources,
            documents=self.documents,
            preparation=preparation,
            quarantine=quarantine,
            texts=texts,
            clock=clock,
            limits=limits,
        )
        delete = DeleteDocument(
            sources=self.sources,
            documents=self.documents,
            reading=reading,
            preparation=preparation,
            texts=texts,
            clock=clock,
            limits=limits,
        )
        reject = RejectSubmission(documents=self.documents, preparation=preparation, clock=clock, limits=limits)
        sweep = Sweep(
            sources=self.sources,
            documents=self.documents,
            uses=MongoVersionTexts(database["documents"]),
            cursor=MongoSweepCursor(database["sweep"]),
            texts=texts,
            quarantine=quarantine,
            clock=clock,
            rules=SweepRules(
                unreferenced_after=timedelta(hours=settings.garbage_after_hours),
                quarantine_after=timedelta(hours=settings.quarantine_hours),
                documents=settings.sweep_documents,
            ),
        )
        ttl = timedelta(seconds=settings.lease_ttl_s)
        self.sweep = sweep_controller(
            sweep,
            leases=Leases(database["sweep"], owner=str(uuid4()), ttl=ttl, clock=clock),
            poll_interval=timedelta(seconds=settings.sweep_poll_interval_s),
        )
        self.submissions = Submissions(
            find_source=FindSource(events=events, clock=clock),
            accept=accept,
            delete=delete,
            reject=reject,
            limits=limits,
        )
        uploads = Uploads(limits=limits, places=UploadPlaces(settings.patience))
        self.document_servicer = DocumentServicer(accept=accept, delete=delete, reading=reading, uploads=uploads)
        self.source_servicer = SourceServicer(
            sources=self.sources, changing=ChangeSources(sources=self.sources, events=events, limits=limits)
        )


class _Datasets:
    """Adapters, use cases and entry points of datasets, which are masked and ask for erasures as documents do."""

    def __init__(
        self, settings: IngestSettings, database: Database, store: ObjectStore, relay: Relay, ingest: _Parts
    ) -> None:
        clock, limits, collection = SystemClock(), settings.limits, database["datasets"]
        self.datasets = mongo_datasets(collection, enqueue=relay.enqueuer(collection), quota=settings.quota("datasets"))
        self.pending = datasets_with_offers(collection)
        batches = FeedbackBatches(store, settings.feedback_exchange_bucket, limits=limits)
        parts = DatasetParts(store, settings.datasets_bucket)
        ttl = timedelta(seconds=settings.lease_ttl_s)
        leases = Leases(database["dataset_leases"], owner=str(uuid4()), ttl=ttl, clock=clock, removable=True)
        publish = PublishVersions(
            datasets=self.datasets,
            batches=batches,
            preparation=ingest.preparation,
            parts=parts,
            groups=MongoGroups(database["dataset_groups"]),
            erasures=Erasures(documents=ingest.documents),
            common_from=settings.dataset_common_answers_from,
            minimum=Minimum(train=settings.dataset_min_train, held_out=settings.dataset_min_held_out),
            kept_versions=limits.kept_dataset_versions,
            clock=clock,
        )
        self.controller = Controller(
            "datasets",
            reconcile=lambda name, epoch: publish(name, epoch=epoch),
            pending=self.pending,
            leases=leases,
            max_concurrent=settings.dataset_max_concurrent,
            poll_interval=timedelta(seconds=settings.dataset_poll_interval_s),
        )
        sweep = SweepDatasets(
            datasets=self.datasets,
            parts=parts,
            clock=clock,
            deleted_after=timedelta(hours=settings.dataset_hours),
            unreferenced_after=timedelta(hours=settings.garbage_after_hours),
        )
        self.sweep = dataset_sweep_controller(
            sweep,
            pending=parts.pending,
            leases=leases,
            poll_interval=timedelta(seconds=settings.sweep_poll_interval_s),
        )
        offering = OfferExamples(
            datasets=self.datasets, batches=batches, limits=limits, clock=clock, enqueue=self.controller.enqueue
        )
        self.curations = Curations(offering=offering)
        self.servicer = DatasetServicer(
            reading=ReadDatasets(datasets=self.datasets, parts=parts, limits=limits),
            changing=ChangeDatasets(datasets=self.datasets, clock=clock, limits=limits),
        )


class _Ground:
    """What must be there before the first document: buckets and indexes. Implements `service.Component`."""

    name = "ground"

    def __init__(self, settings: IngestSettings, parts: _Parts, datasets: _Datasets, store: ObjectStore) -> None:
        self._settings = settings
        self._parts = parts
        self._datasets = datasets
        self._store = store

    async def start(self) -> None:
        """Create what is missing."""
        settings = self._settings
        for bucket in (settings.quarantine_bucket, settings.exchange_bucket, settings.datasets_bucket):
            await self._store.ensure_bucket(bucket)
        days = -(-settings.quarantine_hours // 24)
        try:
            await self._store.expire_after(settings.quarantine_bucket, days=days)
        except DependencyUnavailable as error:
            # Not every S3 server knows lifecycles; the sweep is there for all of them.
            _log.info("quarantine_lifecycle_not_set", why=error.message)
        for aggregates in (self._parts.documents, self._parts.sources, self._parts.bindings):
            await aggregates.ensure_indexes()
        for indexed in (self._datasets.datasets, self._datasets.pending):
            await indexed.ensure_indexes()

    async def stop(self) -> None:
        """Leave everything."""
