"""The composition root: the only module that sees adapters and entry points."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from tidemill.trainer.v1.model_registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server
from tidemill_kit import mongo
from tidemill_kit.aggregates import MongoAggregates
from tidemill_kit.application import SystemClock
from tidemill_kit.jobs import Leases
from tidemill_kit.kafka import Publisher
from tidemill_kit.objects import ObjectStore
from tidemill_kit.relay import Relay
from tidemill_kit.service import App, Dependency, Worker
from tidemill_trainer.adapters.exchange_artifacts import ExchangeArtifacts
from tidemill_trainer.adapters.file_inspector import FileInspector
from tidemill_trainer.adapters.file_spool import FileSpool
from tidemill_trainer.adapters.hugging_face_hub import HuggingFaceHub
from tidemill_trainer.adapters.model_codec import ModelCodec
from tidemill_trainer.adapters.model_version_codec import ModelVersionCodec
from tidemill_trainer.adapters.mongo_import_leases import MongoImportLeases
from tidemill_trainer.adapters.mongo_wanted import MongoWanted
from tidemill_trainer.application.browse_models import BrowseModels
from tidemill_trainer.application.complete_model_version import CompleteModelVersion
from tidemill_trainer.application.delete_model import DeleteModel
from tidemill_trainer.application.fetch_version import FetchVersion
from tidemill_trainer.application.import_model import ImportModel
from tidemill_trainer.application.references import References
from tidemill_trainer.application.upload_model_file import UploadModelFile
from tidemill_trainer.domain.errors import ModelNotFound, ModelVersionNotFound
from tidemill_trainer.domain.limits import ImportLimits
from tidemill_trainer.domain.model import Model
from tidemill_trainer.domain.model_version import ModelVersion
from tidemill_trainer.entrypoints.grpc_model_registry_service import GrpcModelRegistryService, UseCases
from tidemill_trainer.entrypoints.workers import ImportWorker
from tidemill_trainer.settings import TrainerSettings

SOURCE = "/tidemill/trainer"
MODEL_TOPIC = "tidemill.trainer.model.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """Everything behind the ports, and the clients that it stands on."""

    database: mongo.Database
    publisher: Publisher
    relay: Relay
    store: ObjectStore
    models: MongoAggregates[Model]
    versions: MongoAggregates[ModelVersion]
    artifacts: ExchangeArtifacts
    spool: FileSpool
    hub: HuggingFaceHub
    leases: MongoImportLeases
    wanted: MongoWanted


async def build_app(settings: TrainerSettings) -> App:
    """Put trainer together, on the event loop that it will live on. Nothing is connected yet."""
    adapters = _adapters(settings)
    use_cases, worker = _use_cases(settings, adapters)
    client = adapters.database.client
    return App(
        settings=settings,
        servicers=[(add_ModelRegistryServiceServicer_to_server, GrpcModelRegistryService(use_cases))],
        dependencies=[
            Dependency(name="mongodb", probe=lambda: mongo.ping(client)),
            Dependency(name="s3", probe=adapters.store.ping),
            Dependency(name="kafka", probe=adapters.publisher.ping),
        ],
        components=[
            Stores(adapters, bucket=settings.exchange_bucket),
            adapters.publisher,
            adapters.relay,
            Worker("imports", worker.run),
        ],
        outbox_length=adapters.relay.outbox_length,
    )


class Stores:
    """The component that prepares what the others write to."""

    def __init__(self, adapters: Adapters, *, bucket: str) -> None:
        self._adapters = adapters
        self._bucket = bucket

    async def start(self) -> None:
        """Create bucket, indexes and folders; repeating it changes nothing."""
        await asyncio.to_thread(self._adapters.spool.prepare)
        await asyncio.to_thread(self._adapters.hub.prepare)
        await self._adapters.store.ensure_bucket(self._bucket)
        for indexed in (self._adapters.models, self._adapters.versions, self._adapters.wanted):
            await indexed.ensure_indexes()

    async def stop(self) -> None:
        """Close the connections to MongoDB."""
        self._adapters.database.client.close()


def _adapters(settings: TrainerSettings) -> Adapters:
    database = mongo.connect(settings.mongo_uri, timeout_s=settings.dependency_timeout_s)[settings.mongo_database]
    publisher = Publisher(settings.kafka_bootstrap_servers)
    models, versions = database["models"], database["model_versions"]
    relay = Relay([models, versions], publisher)
    store = ObjectStore(
        settings.s3_endpoint,
        settings.s3_access_key,
        settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
        timeout_s=settings.s3_timeout_s,
    )
    return Adapters(
        database=database,
        publisher=publisher,
        relay=relay,
        store=store,
        models=MongoAggregates(
            models,
            codec=ModelCodec(),
            topic=MODEL_TOPIC,
            source=SOURCE,
            missing=ModelNotFound,
            wake=relay.waker(models),
        ),
        versions=MongoAggregates(
            versions,
            codec=ModelVersionCodec(),
            topic=MODEL_TOPIC,
            source=SOURCE,
            missing=ModelVersionNotFound,
            wake=relay.waker(versions),
        ),
        artifacts=ExchangeArtifacts(store, bucket=settings.exchange_bucket),
        spool=FileSpool(settings.data_dir / "uploads", at_once=settings.uploads_at_once),
        hub=HuggingFaceHub(
            settings.data_dir / "downloads",
            endpoint=settings.hugging_face_endpoint,
            token=settings.hugging_face_token.get_secret_value(),
            timeout_s=settings.hugging_face_timeout_s,
        ),
        leases=MongoImportLeases(
            Leases(
                database["import_leases"],
                owner=str(uuid4()),
                ttl=timedelta(seconds=settings.lease_s),
                clock=SystemClock(),
            )
        ),
        wanted=MongoWanted(versions),
    )


def _use_cases(settings: TrainerSettings, adapters: Adapters) -> tuple[UseCases, ImportWorker]:
    clock, inspector = SystemClock(), FileInspector()
    references = References(models=adapters.models, versions=adapters.versions)
    limits = ImportLimits(
        files=settings.max_files, file_bytes=settings.max_file_bytes, total_bytes=settings.max_version_bytes
    )
    fetch = FetchVersion(
        models=adapters.models,
        versions=adapters.versions,
        hub=adapters.hub,
        inspector=inspector,
        artifacts=adapters.artifacts,
        leases=adapters.leases,
        limits=limits,
        clock=clock,
    )
    worker = ImportWorker(
        wanted=adapters.wanted,
        fetch=fetch,
        at_once=settings.imports_at_once,
        retry_after_s=settings.import_retry_s,
    )
    use_cases = UseCases(
        import_model=ImportModel(
            models=adapters.models,
            versions=adapters.versions,
            hub=adapters.hub,
            limits=limits,
            clock=clock,
            wake=worker.wake,
        ),
        upload_model_file=UploadModelFile(
            versions=adapters.versions,
            references=references,
            spool=adapters.spool,
            inspector=inspector,
            artifacts=adapters.artifacts,
            clock=clock,
        ),
        complete_model_version=CompleteModelVersion(
            versions=adapters.versions, references=references, artifacts=adapters.artifacts, clock=clock
        ),
        browse_models=BrowseModels(models=adapters.models, references=references),
        delete_model=DeleteModel(
            models=adapters.models, versions=adapters.versions, references=references, clock=clock
        ),
    )
    return use_cases, worker
