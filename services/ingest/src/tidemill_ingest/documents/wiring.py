"""Documents, put together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from tidemill.ingest.v1.document_service_pb2_grpc import add_DocumentServiceServicer_to_server
from tidemill_core.application import ResourceKey, SystemClock
from tidemill_ingest.documents.accept_document import AcceptDocument
from tidemill_ingest.documents.boilerplate import FindBoilerplate
from tidemill_ingest.documents.crud import DeleteDocument, ReadDocuments
from tidemill_ingest.documents.duplicates import CompareDocuments, JudgeDuplicates
from tidemill_ingest.documents.erase_document import EraseDocument
from tidemill_ingest.documents.events import Submissions
from tidemill_ingest.documents.grpc import DocumentServicer
from tidemill_ingest.documents.labelled import ReadLabelled
from tidemill_ingest.documents.mongo import (
    MongoOutbox,
    MongoRecords,
    MongoSweepCursor,
    MongoVersionTexts,
    documents_to_unpack,
)
from tidemill_ingest.documents.mongo_blocks import MongoBlocks, forgotten_sources
from tidemill_ingest.documents.mongo_fingerprints import MongoFingerprints, checks_due
from tidemill_ingest.documents.names import ProcessNames
from tidemill_ingest.documents.objects import ExchangeTexts, ObjectStoreQuarantine, expire_quarantine
from tidemill_ingest.documents.polled import PolledDocuments
from tidemill_ingest.documents.ports import Documents, NameModels, Quarantine, SharedBlocks, SweepRules, Texts
from tidemill_ingest.documents.preparation import ProcessPreparation
from tidemill_ingest.documents.reconcile import (
    duplicates_controller,
    forgotten_sources_controller,
    quality_controller,
    sweep_controller,
    unpack_controller,
)
from tidemill_ingest.documents.reject_submission import RejectSubmission
from tidemill_ingest.documents.reveal_pseudonyms import RevealPseudonyms
from tidemill_ingest.documents.sweep import Sweep
from tidemill_ingest.documents.trainer import NoNameModels, TrainerNameModels
from tidemill_ingest.documents.unpack_document import UnpackDocument
from tidemill_ingest.documents.uploads import Uploads
from tidemill_ingest.documents.withheld import JudgeDocuments, ReleaseDocument
from tidemill_ingest.errors import MembersUnderWay, SubmissionsUnderWay
from tidemill_ingest.feature import Wired
from tidemill_ingest.labels.ports import Labels
from tidemill_ingest.processes import Processes
from tidemill_ingest.profiles.ports import CountNewVersion
from tidemill_ingest.projects import Projects
from tidemill_ingest.pseudonyms.ports import ProjectSecrets
from tidemill_ingest.settings import IngestSettings
from tidemill_ingest.sources.ports import FindSource, Forget, Sources
from tidemill_kit.erasure.documents import documents as documents_step
from tidemill_kit.erasure.folders import folders as folders_step
from tidemill_kit.erasure.folders import sweep_folders
from tidemill_kit.erasure.objects import objects as objects_step
from tidemill_kit.erasure.steps import NotYet, Scope, Step, Steps, Target
from tidemill_kit.grpc.uploads import UploadPlaces
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller, Pending
from tidemill_kit.workers.worker import Worker

_BLOCKS = ("block_counts", "document_blocks")
_FINGERPRINTS = ("fingerprints", "fingerprint_keys", "fingerprint_links", "fingerprint_checks")


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredDocuments(Wired):
    """The feature, what makes documents of what is polled, and what is called with a source that was deleted."""

    polled: PolledDocuments
    forget: Forget


def wire_documents(  # noqa: PLR0913 - what documents share with other features
    backend: Backend,
    settings: IngestSettings,
    *,
    sources: Sources,
    find_source: FindSource,
    changed_sources: Pending[ResourceKey],
    documents: Documents,
    processes: Processes,
    projects: Projects,
    secrets: ProjectSecrets,
    profiles: CountNewVersion,
    labels: Labels,
) -> WiredDocuments:
    """Put DocumentService, the consumer of submissions and the sweep together."""
    clock, limits = SystemClock(), settings.limits
    texts = ExchangeTexts(backend.objects, settings.exchange_bucket)
    quarantine = ObjectStoreQuarantine(backend.objects, settings.quarantine_bucket)
    expire = partial(expire_quarantine, backend.objects, settings.quarantine_bucket, hours=settings.quarantine_hours)
    backend.on_start(expire)
    preparation = _preparation(backend, settings, processes)
    accept = AcceptDocument(
        sources=sources,
        documents=documents,
        preparation=preparation,
        quarantine=quarantine,
        texts=texts,
        compare=CompareDocuments(documents=documents, fingerprints=_fingerprints(backend), clock=clock),
        boilerplate=FindBoilerplate(blocks=_blocks(backend), rules=settings.boilerplate),
        clock=clock,
        limits=limits,
        projects=projects,
        secrets=secrets,
        profiles=profiles,
        enqueue=lambda key: unpacking.enqueue(key),  # noqa: PLW0108 - it is made below
    )
    reading = _reading(backend, accept)
    delete = _deleting(accept, reading, labels)
    reject = _rejecting(accept)
    submissions = Submissions(
        find_source=find_source, accept=accept, delete=delete, reject=reject, limits=limits, projects=projects
    )
    unpacking = _unpacking(backend, settings, accept, delete, reject)
    forgetting, forget = _forgetting(backend, settings, accept.boilerplate.blocks, projects)
    verify = backend.submission_check(settings.submission_topics, tolerance_s=settings.submission_tolerance_s)
    return WiredDocuments(
        polled=PolledDocuments(accept=accept, delete_document=delete, reject=reject, limits=limits),
        forget=forget,
        servicer=(add_DocumentServiceServicer_to_server, _servicer(settings, accept, delete, reading)),
        consumers=[submissions.subscription(settings.submission_topics, verify=verify)],
        components=[preparation],
        workers=[
            unpacking,
            forgetting,
            *_sweep(backend, settings, sources, documents, texts, quarantine, projects, labels),
            *_quality(backend, settings, accept.compare, sources, projects, changed_sources),
        ],
        erasures=_erasures(backend, settings, accept),
    )


def _rejecting(accept: AcceptDocument) -> RejectSubmission:
    return RejectSubmission(
        documents=accept.documents,
        preparation=accept.preparation,
        clock=accept.clock,
        limits=accept.limits,
        projects=accept.projects,
    )


def _reading(backend: Backend, accept: AcceptDocument) -> ReadDocuments:
    return ReadDocuments(
        sources=accept.sources,
        documents=accept.documents,
        texts=accept.texts,
        outbox=MongoOutbox(backend.database["documents"]),
        boilerplate=accept.boilerplate,
    )


def _servicer(
    settings: IngestSettings, accept: AcceptDocument, delete: DeleteDocument, reading: ReadDocuments
) -> DocumentServicer:
    return DocumentServicer(
        accept=accept,
        delete=delete,
        reading=reading,
        labelled=ReadLabelled(labels=delete.labels, documents=accept.documents),
        release=_releasing(accept, reading),
        reveal=RevealPseudonyms(reading=reading, texts=accept.texts, secrets=accept.secrets),
        uploads=Uploads(limits=accept.limits, places=UploadPlaces(settings.patience)),
    )


def _releasing(accept: AcceptDocument, reading: ReadDocuments) -> ReleaseDocument:
    return ReleaseDocument(
        documents=accept.documents,
        reading=reading,
        compare=accept.compare,
        clock=accept.clock,
        limits=accept.limits,
        projects=accept.projects,
    )


def _preparation(backend: Backend, settings: IngestSettings, processes: Processes) -> ProcessPreparation:
    return ProcessPreparation(
        processes,
        names=_names(backend, settings),
        phone_regions=settings.phone_regions,
        limits=settings.limits.conversion,
        profiled=settings.profile_days > 0,
    )


def _names(backend: Backend, settings: IngestSettings) -> ProcessNames:
    models: NameModels = NoNameModels()
    if settings.trainer_address:
        models = TrainerNameModels(
            backend.channel("trainer", settings.trainer_address),
            artifacts=ArtifactCache(settings.data_dir / "models", backend.bucket(settings.trainer_bucket)),
            max_bytes=settings.names_model_bytes,
        )
    names = ProcessNames(
        models,
        workers=settings.names_workers,
        cpu_s=settings.names_cpu_s,
        wall_s=settings.names_wall_s,
        memory_bytes=settings.names_memory_mb * 1024**2,
    )
    backend.on_stop(names.stop)
    return names


def _deleting(accept: AcceptDocument, reading: ReadDocuments, labels: Labels) -> DeleteDocument:
    """Return what deletes documents, on the stores of what accepts them."""
    return DeleteDocument(
        sources=accept.sources,
        documents=accept.documents,
        reading=reading,
        preparation=accept.preparation,
        texts=accept.texts,
        compare=accept.compare,
        clock=accept.clock,
        limits=accept.limits,
        projects=accept.projects,
        labels=labels,
        enqueue=accept.enqueue,
    )


def _fingerprints(backend: Backend) -> MongoFingerprints:
    return MongoFingerprints(*(backend.database[name] for name in _FINGERPRINTS))


def _blocks(backend: Backend) -> MongoBlocks:
    return MongoBlocks(*(backend.database[name] for name in _BLOCKS))


def _forgetting(
    backend: Backend, settings: IngestSettings, blocks: SharedBlocks, projects: Projects
) -> tuple[Controller[ResourceKey], Forget]:
    """Return what removes what was counted of deleted sources, and what has it do so."""
    controller = forgotten_sources_controller(
        blocks,
        pending=backend.indexed(forgotten_sources(backend.database["block_counts"])),
        leases=backend.leases("block_leases"),
        poll_interval=timedelta(seconds=settings.quality_poll_interval_s),
        projects=projects,
    )

    async def forget(project: str, source: str) -> None:
        await blocks.forget(project, source)
        controller.enqueue(ResourceKey(project=project, id=source))

    return controller, forget


def _quality(  # noqa: PLR0913, PLR0917 - what it shares with the rest
    backend: Backend,
    settings: IngestSettings,
    compare: CompareDocuments,
    sources: Sources,
    projects: Projects,
    changed_sources: Pending[ResourceKey],
) -> Sequence[Controller[ResourceKey]]:
    clock, limits, documents = SystemClock(), settings.limits, compare.documents
    poll_interval = timedelta(seconds=settings.quality_poll_interval_s)
    rules = quality_controller(
        JudgeDocuments(
            sources=sources, documents=documents, compare=compare, clock=clock, limits=limits, projects=projects
        ),
        pending=changed_sources,
        leases=backend.leases("quality_leases"),
        poll_interval=poll_interval,
    )
    judge = JudgeDuplicates(
        compare=compare,
        sources=sources,
        documents=documents,
        fingerprints=compare.fingerprints,
        clock=clock,
        limits=limits,
        projects=projects,
    )
    checks = backend.indexed(checks_due(backend.database["fingerprint_checks"], clock.now))
    return [rules, duplicates_controller(judge, pending=checks, poll_interval=poll_interval)]


def _unpacking(
    backend: Backend,
    settings: IngestSettings,
    accept: AcceptDocument,
    delete: DeleteDocument,
    reject: RejectSubmission,
) -> Controller[ResourceKey]:
    unpack = UnpackDocument(
        sources=accept.sources,
        documents=accept.documents,
        accept=accept,
        reject=reject,
        delete=delete,
        preparation=accept.preparation,
        quarantine=accept.quarantine,
        limits=accept.limits,
        projects=accept.projects,
    )
    return unpack_controller(
        unpack,
        pending=backend.indexed(documents_to_unpack(backend.database["documents"])),
        leases=backend.leases("document_leases"),
        poll_interval=timedelta(seconds=settings.unpack_poll_interval_s),
        max_concurrent=settings.unpack_max_concurrent,
    )


def _erasures(backend: Backend, settings: IngestSettings, accept: AcceptDocument) -> Steps:
    erase = EraseDocument(
        documents=accept.documents,
        compare=accept.compare,
        boilerplate=accept.boilerplate,
        uses=MongoVersionTexts(backend.database["documents"]),
        texts=accept.texts,
        clock=accept.clock,
        limits=accept.limits,
        enqueue=accept.enqueue,
    )

    async def record(target: Target) -> int:
        return await erase.record(target.project, target.subject)

    async def fingerprints(target: Target) -> int:
        return await erase.fingerprints(target.project, target.subject)

    async def counted_blocks(target: Target) -> int:
        return await erase.counted_blocks(target.project, target.subject)

    async def stored_texts(target: Target) -> int:
        try:
            return await erase.stored_texts(target.project, target.subject)
        except (MembersUnderWay, SubmissionsUnderWay) as error:
            raise NotYet(error.message) from error

    def below_document(target: Target) -> str:
        return f"{target.project}/{target.subject}/"

    quarantined, quarantine = "quarantined submissions", settings.quarantine_bucket
    return {
        Scope.PROJECT: [
            documents_step("documents", backend.database["documents"]),
            objects_step(quarantined, backend.objects, quarantine),
            objects_step("document texts", backend.objects, settings.exchange_bucket),
            folders_step("copies of models", settings.data_dir / "models", covers=("folder:data_dir",)),
            *(documents_step(name.replace("_", " "), backend.database[name]) for name in (*_FINGERPRINTS, *_BLOCKS)),
        ],
        Scope.DOCUMENT: [
            Step(kind="documents", erase=record),
            Step(kind="fingerprints", erase=fingerprints),
            Step(kind="counted blocks", erase=counted_blocks),
            objects_step(quarantined, backend.objects, quarantine, below=below_document),
            Step(kind="document texts", erase=stored_texts),
        ],
    }


def _sweep(  # noqa: PLR0913, PLR0917 - the stores that it goes through
    backend: Backend,
    settings: IngestSettings,
    sources: Sources,
    documents: Documents,
    texts: Texts,
    quarantine: Quarantine,
    projects: Projects,
    labels: Labels,
) -> Sequence[Worker]:
    sweep = Sweep(
        sources=sources,
        documents=documents,
        uses=MongoVersionTexts(backend.database["documents"]),
        cursor=MongoSweepCursor(backend.database["sweep"]),
        texts=texts,
        records=MongoRecords(*(backend.database[name] for name in ("documents", "pseudonym_keys", "labels"))),
        quarantine=quarantine,
        clock=SystemClock(),
        rules=SweepRules(
            unreferenced_after=timedelta(hours=settings.garbage_after_hours),
            quarantine_after=timedelta(hours=settings.quarantine_hours),
            documents=settings.sweep_documents,
        ),
        projects=projects,
        labels=labels,
    )
    texts_sweep = sweep_controller(
        sweep,
        leases=backend.leases("sweep", removable=False),
        poll_interval=timedelta(seconds=settings.sweep_poll_interval_s),
    )
    models, deleted, spares = [settings.data_dir / "models"], projects.deleted, projects.spares
    return [texts_sweep, Worker("deleted_models", lambda: sweep_folders(models, deleted=deleted, spares=spares))]
