"""Builds the registry from its adapters."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from tidemill.trainer.v1.model_registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server
from tidemill_core.application import ResourceKey, SystemClock
from tidemill_core.origins import AllowedHosts
from tidemill_kit.access.grants import Shared
from tidemill_kit.events.subscriptions import Subscription
from tidemill_kit.grpc.server import Registration
from tidemill_kit.grpc.uploads import Patience, UploadPlaces
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases
from tidemill_trainer.errors import ModelNotFound, ModelVersionNotFound
from tidemill_trainer.registry.approvals import ModelApprovals
from tidemill_trainer.registry.cached_files import CachedFiles
from tidemill_trainer.registry.crud import ModelCrud
from tidemill_trainer.registry.domain.limits import ImportLimits
from tidemill_trainer.registry.download import DownloadVersion
from tidemill_trainer.registry.events import promotions
from tidemill_trainer.registry.exchange_artifacts import ExchangeArtifacts
from tidemill_trainer.registry.fetch_version import FetchVersion
from tidemill_trainer.registry.file_inspector import FileInspector
from tidemill_trainer.registry.file_spool import FileSpool
from tidemill_trainer.registry.grpc import GrpcModelRegistryService
from tidemill_trainer.registry.hugging_face_hub import HuggingFaceHub
from tidemill_trainer.registry.import_model import ImportModel
from tidemill_trainer.registry.mongo import MODELS, VERSIONS, pending_imports
from tidemill_trainer.registry.ports import Inspector, Models, Versions
from tidemill_trainer.registry.references import References
from tidemill_trainer.registry.register_version import RegisterVersion
from tidemill_trainer.registry.shared import SharedVersions
from tidemill_trainer.registry.upload import UploadVersion
from tidemill_trainer.settings import BASES_FOLDER, DOWNLOADS_FOLDER, UPLOADS_FOLDER, TrainerSettings

TOPIC = "tidemill.trainer.model.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Entry points of the registry, and what training uses of it."""

    service: Registration
    subscription: Subscription
    imports: Controller[ResourceKey]
    leases: Leases
    """Of the imports."""
    models: Models
    versions: Versions
    shared: SharedVersions
    approvals: ModelApprovals
    files: CachedFiles
    register: RegisterVersion
    inspector: Inspector


def wire_registry(backend: Backend, settings: TrainerSettings) -> Registry:
    """Build the registry."""
    clock, inspector, hub = SystemClock(), FileInspector(), _hub(settings)
    models = backend.aggregates("models", MODELS, missing=ModelNotFound, topic=TOPIC, quota=settings.quota("models"))
    versions = backend.aggregates(
        "model_versions", VERSIONS, missing=ModelVersionNotFound, topic=TOPIC, lists=[("state",)]
    )
    references = References(models=models, versions=versions)
    shared = SharedVersions(references=references, shared=backend.shared(Shared.MODEL))
    artifacts = ExchangeArtifacts(backend.objects, backend.own_bucket(settings.exchange_bucket))
    spool = FileSpool(settings.data_dir / UPLOADS_FOLDER)
    for folder in (spool, hub):
        backend.on_start(partial(asyncio.to_thread, folder.prepare))
    limits = ImportLimits(
        files=settings.max_files, file_bytes=settings.max_file_bytes, total_bytes=settings.max_version_bytes
    )
    fetch = FetchVersion(
        models=models, versions=versions, hub=hub, inspector=inspector, artifacts=artifacts, limits=limits, clock=clock
    )
    approvals = ModelApprovals(models=models, versions=versions, references=references, clock=clock)
    leases = backend.leases("import_leases")
    imports = _imports(backend, settings, fetch, leases)
    service = GrpcModelRegistryService(
        crud=ModelCrud(models=models, versions=versions, references=references, shared=shared, clock=clock),
        approvals=approvals,
        import_model=ImportModel(
            models=models, versions=versions, hub=hub, limits=limits, clock=clock, enqueue=imports.enqueue
        ),
        upload=UploadVersion(
            versions=versions, references=references, spool=spool, inspector=inspector, artifacts=artifacts, clock=clock
        ),
        download=DownloadVersion(references=references, spool=spool, artifacts=artifacts),
        places=_upload_places(settings, kind="uploads"),
        download_places=_upload_places(settings, kind="downloads"),
    )
    return Registry(
        subscription=promotions(versions),
        service=(add_ModelRegistryServiceServicer_to_server, service),
        imports=imports,
        leases=leases,
        models=models,
        versions=versions,
        shared=shared,
        approvals=approvals,
        files=CachedFiles(ArtifactCache(settings.data_dir / BASES_FOLDER, backend.bucket(settings.exchange_bucket))),
        register=RegisterVersion(models=models, versions=versions, artifacts=artifacts, clock=clock),
        inspector=inspector,
    )


def _imports(
    backend: Backend, settings: TrainerSettings, fetch: FetchVersion, leases: Leases
) -> Controller[ResourceKey]:
    return Controller(
        "imports",
        reconcile=lambda version, epoch: fetch(version, epoch=epoch),
        pending=backend.indexed(pending_imports(backend.database["model_versions"])),
        leases=leases,
        max_concurrent=settings.import_max_concurrent,
        poll_interval=timedelta(seconds=settings.import_poll_interval_s),
    )


def _hub(settings: TrainerSettings) -> HuggingFaceHub:
    return HuggingFaceHub(
        settings.data_dir / DOWNLOADS_FOLDER,
        endpoint=settings.hugging_face_endpoint,
        token=settings.hugging_face_token.get_secret_value(),
        token_projects=settings.hugging_face_token_projects,
        allowed=AllowedHosts.of(settings.hugging_face_hosts),
        timeout_s=settings.hugging_face_timeout_s,
    )


def _upload_places(settings: TrainerSettings, *, kind: str) -> UploadPlaces:
    return UploadPlaces(
        Patience(
            max_concurrent=settings.max_concurrent_uploads,
            of_project=settings.uploads_of_project,
            idle_s=settings.upload_idle_s,
            whole_s=settings.upload_whole_s,
        ),
        kind=kind,
    )
