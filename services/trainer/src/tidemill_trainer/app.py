"""The composition root: the only module that sees adapters and entry points."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import grpc

from tidemill.trainer.v1.model_registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server
from tidemill.trainer.v1.training_service_pb2_grpc import add_TrainingServiceServicer_to_server
from tidemill_core.application import ResourceKey, SystemClock
from tidemill_core.grpc.client import open_channel
from tidemill_kit.events.kafka import Consumers, Publisher
from tidemill_kit.events.relay import Relay
from tidemill_kit.grpc.uploads import Patience, UploadPlaces
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.service.app import App, Dependency, Worker
from tidemill_kit.store import mongo
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases
from tidemill_kit.workers.pending import PendingDocuments
from tidemill_trainer.adapters.cached_bases import CachedBases
from tidemill_trainer.adapters.exchange_artifacts import ExchangeArtifacts
from tidemill_trainer.adapters.file_inspector import FileInspector
from tidemill_trainer.adapters.file_spool import FileSpool
from tidemill_trainer.adapters.hugging_face_hub import HuggingFaceHub
from tidemill_trainer.adapters.ingest_datasets import IngestDatasets
from tidemill_trainer.adapters.model_codec import ModelCodec
from tidemill_trainer.adapters.model_version_codec import ModelVersionCodec
from tidemill_trainer.adapters.mongo_pending import deferring_plans, pending_imports, pending_runs
from tidemill_trainer.adapters.run_folders import RunFolders
from tidemill_trainer.adapters.training_plan_codec import TrainingPlanCodec
from tidemill_trainer.adapters.training_processes import ProcessSettings, TrainingProcesses
from tidemill_trainer.adapters.training_run_codec import TrainingRunCodec
from tidemill_trainer.application.browse_models import BrowseModels
from tidemill_trainer.application.browse_training import BrowseTraining
from tidemill_trainer.application.cancel_training_run import CancelTrainingRun
from tidemill_trainer.application.check_plan import CheckPlan
from tidemill_trainer.application.complete_model_version import CompleteModelVersion
from tidemill_trainer.application.create_training_plan import CreateTrainingPlan
from tidemill_trainer.application.delete_model import DeleteModel
from tidemill_trainer.application.delete_training_plan import DeleteTrainingPlan
from tidemill_trainer.application.fetch_version import FetchVersion
from tidemill_trainer.application.import_model import ImportModel
from tidemill_trainer.application.queue_run import QueueRun
from tidemill_trainer.application.references import References
from tidemill_trainer.application.register_adapter import RegisterAdapter
from tidemill_trainer.application.retry_training_run import RetryTrainingRun
from tidemill_trainer.application.start_deferred_run import StartDeferredRun
from tidemill_trainer.application.start_runs_for_dataset_version import StartRunsForDatasetVersion
from tidemill_trainer.application.start_training_run import StartTrainingRun
from tidemill_trainer.application.train_run import TrainingNeeds, TrainRun
from tidemill_trainer.application.update_training_plan import UpdateTrainingPlan
from tidemill_trainer.application.upload_model_file import UploadModelFile
from tidemill_trainer.domain.errors import (
    ModelNotFound,
    ModelVersionNotFound,
    TrainingPlanNotFound,
    TrainingRunNotFound,
)
from tidemill_trainer.domain.limits import ImportLimits
from tidemill_trainer.domain.model import Model
from tidemill_trainer.domain.model_version import ModelVersion
from tidemill_trainer.domain.training_plan import TrainingPlan
from tidemill_trainer.domain.training_run import TrainingRun
from tidemill_trainer.entrypoints.folder_sweep import sweep_folders
from tidemill_trainer.entrypoints.grpc_model_registry_service import GrpcModelRegistryService, UseCases
from tidemill_trainer.entrypoints.grpc_training_service import GrpcTrainingService, TrainingUseCases
from tidemill_trainer.entrypoints.kafka_datasets import datasets
from tidemill_trainer.settings import TrainerSettings

SOURCE = "/tidemill/trainer"
MODEL_TOPIC = "tidemill.trainer.model.v1"
RUN_TOPIC = "tidemill.trainer.run.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """All adapters, and the clients that they use."""

    database: mongo.Database
    publisher: Publisher
    relay: Relay
    store: ObjectStore
    models: MongoAggregates[Model]
    versions: MongoAggregates[ModelVersion]
    artifacts: ExchangeArtifacts
    spool: FileSpool
    hub: HuggingFaceHub
    pending_imports: PendingDocuments[ResourceKey]
    ingest: grpc.aio.Channel
    plans: MongoAggregates[TrainingPlan]
    runs: MongoAggregates[TrainingRun]
    pending_runs: PendingDocuments[ResourceKey]
    deferring_plans: PendingDocuments[ResourceKey]
    datasets: IngestDatasets


async def build_app(settings: TrainerSettings) -> App:
    """Build trainer on the running event loop; nothing connects before `start`."""
    adapters = _adapters(settings)
    use_cases, imports = _use_cases(settings, adapters)
    train = _train(settings, adapters)
    runs = Controller(
        "runs",
        reconcile=lambda name, epoch: train(name, epoch=epoch),
        pending=adapters.pending_runs,
        leases=_leases(settings, adapters, "run_leases"),
        max_concurrent=settings.run_max_concurrent,
        poll_interval=timedelta(seconds=settings.run_poll_interval_s),
    )
    training, start_runs, start_deferred = _training(settings, adapters, runs)
    deferred = Controller(
        "deferred_runs",
        reconcile=lambda name, _: start_deferred.named(name),
        pending=adapters.deferring_plans,
        max_concurrent=1,
        poll_interval=timedelta(seconds=settings.run_poll_interval_s),
    )
    consumers = Consumers(settings.kafka, [datasets(start_runs)], adapters.publisher)
    client = adapters.database.client
    return App(
        settings=settings,
        servicers=[
            (add_ModelRegistryServiceServicer_to_server, GrpcModelRegistryService(use_cases, _uploads(settings))),
            (add_TrainingServiceServicer_to_server, GrpcTrainingService(training)),
        ],
        dependencies=[
            Dependency(name="mongodb", probe=lambda: mongo.ping(client)),
            Dependency(name="s3", probe=adapters.store.ping),
            Dependency(name="kafka", probe=adapters.publisher.ping, needed_to_serve=False),
        ],
        components=[
            Stores(adapters, bucket=settings.exchange_bucket),
            adapters.publisher,
            adapters.relay,
            Worker("run_folders", lambda: sweep_folders(train.folders, lambda: runs.scheduled)),
            imports,
            runs,
            deferred,
            consumers,
        ],
        consumers=consumers.status,
        outbox_length=adapters.relay.outbox_length,
    )


class Stores:
    """Component that creates buckets, indexes and folders before the others start."""

    def __init__(self, adapters: Adapters, *, bucket: str) -> None:
        self._adapters = adapters
        self._bucket = bucket

    async def start(self) -> None:
        """Create bucket, indexes and folders; idempotent."""
        await asyncio.to_thread(self._adapters.spool.prepare)
        await asyncio.to_thread(self._adapters.hub.prepare)
        await self._adapters.store.ensure_bucket(self._bucket)
        adapters = self._adapters
        stores = (adapters.models, adapters.versions, adapters.plans, adapters.runs)
        for indexed in (*stores, adapters.pending_imports, adapters.pending_runs, adapters.deferring_plans):
            await indexed.ensure_indexes()

    async def stop(self) -> None:
        """Close the connections to ingest and MongoDB."""
        await self._adapters.ingest.close()
        self._adapters.database.client.close()


def _adapters(settings: TrainerSettings) -> Adapters:
    database = mongo.connect(settings.mongo_uri, timeout_s=settings.dependency_timeout_s)[settings.mongo_database]
    publisher = Publisher(settings.kafka)
    models, versions = database["models"], database["model_versions"]
    plans, runs = database["training_plans"], database["training_runs"]
    relay = Relay([models, versions, runs], publisher)
    ingest = open_channel(settings.ingest_address, name="ingest", tls=settings.tls)
    store = ObjectStore(
        settings.s3_endpoint,
        settings.s3_access_key,
        settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
        max_concurrent=settings.s3_max_concurrent,
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
            enqueue=relay.enqueuer(models),
            quota=settings.quota("models"),
        ),
        versions=MongoAggregates(
            versions,
            codec=ModelVersionCodec(),
            topic=MODEL_TOPIC,
            source=SOURCE,
            missing=ModelVersionNotFound,
            enqueue=relay.enqueuer(versions),
        ),
        artifacts=ExchangeArtifacts(store, bucket=settings.exchange_bucket),
        spool=FileSpool(settings.data_dir / "uploads", max_concurrent=settings.max_concurrent_uploads),
        hub=HuggingFaceHub(
            settings.data_dir / "downloads",
            endpoint=settings.hugging_face_endpoint,
            token=settings.hugging_face_token.get_secret_value(),
            token_projects=settings.hugging_face_token_projects,
            timeout_s=settings.hugging_face_timeout_s,
        ),
        pending_imports=pending_imports(versions),
        ingest=ingest,
        plans=MongoAggregates(
            plans,
            codec=TrainingPlanCodec(),
            topic=RUN_TOPIC,
            source=SOURCE,
            missing=TrainingPlanNotFound,
            quota=settings.quota("training_plans"),
        ),
        runs=MongoAggregates(
            runs,
            codec=TrainingRunCodec(),
            topic=RUN_TOPIC,
            source=SOURCE,
            missing=TrainingRunNotFound,
            enqueue=relay.enqueuer(runs),
            lists=[("plan",)],
        ),
        pending_runs=pending_runs(runs),
        deferring_plans=deferring_plans(plans),
        datasets=IngestDatasets(ingest, store, buckets=settings.dataset_buckets.split(",")),
    )


def _leases(settings: TrainerSettings, adapters: Adapters, collection: str) -> Leases:
    return Leases(
        adapters.database[collection],
        owner=str(uuid4()),
        ttl=timedelta(seconds=settings.lease_ttl_s),
        clock=SystemClock(),
        removable=True,
    )


def _use_cases(settings: TrainerSettings, adapters: Adapters) -> tuple[UseCases, Controller[ResourceKey]]:
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
        limits=limits,
        clock=clock,
    )
    imports = Controller(
        "imports",
        reconcile=lambda name, epoch: fetch(name, epoch=epoch),
        pending=adapters.pending_imports,
        leases=_leases(settings, adapters, "import_leases"),
        max_concurrent=settings.import_max_concurrent,
        poll_interval=timedelta(seconds=settings.import_poll_interval_s),
    )
    use_cases = UseCases(
        import_model=ImportModel(
            models=adapters.models,
            versions=adapters.versions,
            hub=adapters.hub,
            limits=limits,
            clock=clock,
            enqueue=imports.enqueue,
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
    return use_cases, imports


def _uploads(settings: TrainerSettings) -> UploadPlaces:
    return UploadPlaces(
        Patience(
            max_concurrent=settings.max_concurrent_uploads,
            of_project=settings.uploads_of_project,
            idle_s=settings.upload_idle_s,
            whole_s=settings.upload_whole_s,
        )
    )


def _training(
    settings: TrainerSettings, adapters: Adapters, controller: Controller[ResourceKey]
) -> tuple[TrainingUseCases, StartRunsForDatasetVersion, StartDeferredRun]:
    clock, plans, runs = SystemClock(), adapters.plans, adapters.runs
    check = CheckPlan(
        references=References(models=adapters.models, versions=adapters.versions),
        max_time=timedelta(seconds=settings.run_time_s),
        max_memory_bytes=settings.run_memory_bytes,
    )
    queue = QueueRun(runs=runs, check=check, clock=clock, enqueue=controller.enqueue)
    start_deferred = StartDeferredRun(plans=plans, queue=queue)
    use_cases = TrainingUseCases(
        create=CreateTrainingPlan(plans=plans, check=check),
        update=UpdateTrainingPlan(plans=plans, check=check, start_deferred=start_deferred),
        delete=DeleteTrainingPlan(plans=plans),
        browse=BrowseTraining(plans=plans, runs=runs),
        start=StartTrainingRun(plans=plans, runs=runs, datasets=adapters.datasets, queue=queue),
        cancel=CancelTrainingRun(runs=runs, clock=clock),
        retry=RetryTrainingRun(runs=runs, plans=plans, check=check, clock=clock, enqueue=controller.enqueue),
    )
    return (
        use_cases,
        StartRunsForDatasetVersion(plans=plans, datasets=adapters.datasets, start_deferred=start_deferred),
        start_deferred,
    )


def _train(settings: TrainerSettings, adapters: Adapters) -> TrainRun:
    clock = SystemClock()
    folders = RunFolders(settings.data_dir / "runs", keep_s=settings.run_keep_s)
    cache = ArtifactCache(settings.data_dir / "bases", ExchangeBucket(adapters.store, settings.exchange_bucket))
    process = ProcessSettings(
        min_examples=settings.run_min_examples,
        checkpoint_steps=settings.run_checkpoint_steps,
        device=settings.run_device,
        numeric_format=settings.numeric_format,
        threads=settings.run_threads,
        spare_bytes=settings.run_memory_spare_bytes,
    )
    return TrainRun(
        runs=adapters.runs,
        plans=adapters.plans,
        versions=adapters.versions,
        datasets=adapters.datasets,
        bases=CachedBases(cache),
        folders=folders,
        trainings=TrainingProcesses(process),
        register=RegisterAdapter(
            models=adapters.models,
            versions=adapters.versions,
            artifacts=adapters.artifacts,
            inspector=FileInspector(),
            folders=folders,
            clock=clock,
        ),
        needs=TrainingNeeds(
            memory_bytes=settings.run_memory_bytes,
            min_examples=settings.run_min_examples,
            max_fruitless=settings.run_fruitless_attempts,
            warn_left_out=settings.run_warn_left_out,
        ),
        clock=clock,
    )
