"""Datasets, put together."""

from datetime import timedelta

from tidemill.ingest.v1.dataset_service_pb2_grpc import add_DatasetServiceServicer_to_server
from tidemill_core.application import ResourceKey, SystemClock
from tidemill_ingest.datasets.approve_version import ApproveVersion
from tidemill_ingest.datasets.crud import ManageDatasets
from tidemill_ingest.datasets.domain.division import Minimum
from tidemill_ingest.datasets.erase_examples import EraseExamples
from tidemill_ingest.datasets.erasures import Erasures
from tidemill_ingest.datasets.events import Curations
from tidemill_ingest.datasets.feedback import FeedbackReviewQueues, UnknownReviewQueues
from tidemill_ingest.datasets.grpc import DatasetServicer
from tidemill_ingest.datasets.masking import ProcessExampleMasking
from tidemill_ingest.datasets.mongo import MongoGroups, datasets_with_offers
from tidemill_ingest.datasets.objects import DatasetParts, FeedbackBatches
from tidemill_ingest.datasets.offer_examples import OfferExamples
from tidemill_ingest.datasets.ports import Datasets, ErasedSubject, ReviewQueues
from tidemill_ingest.datasets.publish_versions import PublishVersions
from tidemill_ingest.datasets.read_versions import ReadVersions
from tidemill_ingest.datasets.readers import Readers
from tidemill_ingest.datasets.reconcile import sweep_controller
from tidemill_ingest.datasets.sweep import SweepDatasets
from tidemill_ingest.documents.ports import Documents
from tidemill_ingest.errors import DatasetBusy
from tidemill_ingest.feature import Wired
from tidemill_ingest.labels.ports import Labels
from tidemill_ingest.processes import Processes
from tidemill_ingest.projects import Projects
from tidemill_ingest.settings import IngestSettings
from tidemill_kit.access.grants import Shared
from tidemill_kit.erasure.documents import documents as documents_step
from tidemill_kit.erasure.objects import objects as objects_step
from tidemill_kit.erasure.steps import NotYet, Scope, Step, Steps, Target
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases


def wire_datasets(  # noqa: PLR0913 - what datasets share with other features
    backend: Backend,
    settings: IngestSettings,
    *,
    datasets: Datasets,
    parts: DatasetParts,
    documents: Documents,
    processes: Processes,
    projects: Projects,
    labels: Labels,
) -> Wired:
    """Put DatasetService, the consumer of curations, the making of versions and the sweep together."""
    queues = _queues(backend, settings)
    clock, limits, leases = SystemClock(), settings.limits, backend.leases("dataset_leases")
    batches = FeedbackBatches(backend.objects, settings.feedback_exchange_bucket, limits=limits)
    publish = PublishVersions(
        datasets=datasets,
        batches=batches,
        masking=ProcessExampleMasking(processes, phone_regions=settings.phone_regions),
        parts=parts,
        groups=MongoGroups(backend.database["dataset_groups"]),
        erasures=Erasures(documents=documents, users=backend.erased.end_users),
        labels=labels,
        queues=queues,
        common_from=settings.dataset_common_answers_from,
        minimum=Minimum(train=settings.dataset_min_train, held_out=settings.dataset_min_held_out),
        kept_versions=limits.kept_dataset_versions,
        clock=clock,
        projects=projects,
    )
    controller = _controller(backend, settings, publish, leases)
    offering = OfferExamples(datasets=datasets, batches=batches, limits=limits, clock=clock, enqueue=controller.enqueue)
    servicer = DatasetServicer(
        datasets=ManageDatasets(datasets=datasets, queues=queues, clock=clock),
        approve=ApproveVersion(datasets=datasets, clock=clock),
        versions=ReadVersions(
            datasets=datasets,
            parts=parts,
            limits=limits,
            restricted=Readers(documents=documents),
            shared=backend.shared(Shared.DATASET),
        ),
    )
    return Wired(
        servicer=(add_DatasetServiceServicer_to_server, servicer),
        consumers=[Curations(offering=offering).subscription(settings.curation_topics)],
        workers=[controller, _sweep(settings, datasets, parts, leases, projects, labels)],
        erasures=_erasures(backend, settings, EraseExamples(datasets=datasets, parts=parts, leases=leases)),
    )


def _queues(backend: Backend, settings: IngestSettings) -> ReviewQueues:
    if not settings.feedback_address:
        return UnknownReviewQueues()
    return FeedbackReviewQueues(backend.channel("feedback", settings.feedback_address))


def _erasures(backend: Backend, settings: IngestSettings, erase: EraseExamples) -> Steps:
    async def examples(target: Target) -> int:
        named = {"document" if target.scope is Scope.DOCUMENT else "end_user": target.subject}
        try:
            return await erase(target.project, ErasedSubject(**named))
        except DatasetBusy as error:
            raise NotYet(error.message) from error

    return {
        Scope.PROJECT: [
            documents_step("datasets", backend.database["datasets"]),
            documents_step("dataset groups", backend.database["dataset_groups"]),
            objects_step("dataset parts", backend.objects, settings.datasets_bucket),
        ],
        Scope.DOCUMENT: [Step(kind="dataset examples", erase=examples)],
        Scope.END_USER: [Step(kind="dataset examples", erase=examples)],
    }


def _controller(
    backend: Backend, settings: IngestSettings, publish: PublishVersions, leases: Leases
) -> Controller[ResourceKey]:
    return Controller(
        "datasets",
        reconcile=lambda name, epoch: publish(name, epoch=epoch),
        pending=backend.indexed(datasets_with_offers(backend.database["datasets"])),
        leases=leases,
        max_concurrent=settings.dataset_max_concurrent,
        poll_interval=timedelta(seconds=settings.dataset_poll_interval_s),
    )


def _sweep(  # noqa: PLR0913, PLR0917 - the stores that it goes through
    settings: IngestSettings,
    datasets: Datasets,
    parts: DatasetParts,
    leases: Leases,
    projects: Projects,
    labels: Labels,
) -> Controller[ResourceKey]:
    sweep = SweepDatasets(
        datasets=datasets,
        parts=parts,
        clock=SystemClock(),
        deleted_after=timedelta(hours=settings.dataset_hours),
        unreferenced_after=timedelta(hours=settings.garbage_after_hours),
        projects=projects,
        labels=labels,
    )
    poll_interval = timedelta(seconds=settings.sweep_poll_interval_s)
    return sweep_controller(sweep, pending=parts.pending, leases=leases, poll_interval=poll_interval)
