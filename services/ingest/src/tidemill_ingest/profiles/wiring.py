"""Profiles, put together."""

from datetime import timedelta

from tidemill.ingest.v1.profile_service_pb2_grpc import add_ProfileServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_ingest.datasets.ports import Datasets, Parts
from tidemill_ingest.feature import Wired
from tidemill_ingest.labels.ports import Labels
from tidemill_ingest.processes import Processes
from tidemill_ingest.profiles.count_versions import CountVersions, ExpectNothing, ExpectVersions
from tidemill_ingest.profiles.examples import ProcessExamples
from tidemill_ingest.profiles.grpc import ProfileServicer
from tidemill_ingest.profiles.mongo import MongoNewVersions, MongoOutcomes, MongoSketches, versions_due
from tidemill_ingest.profiles.ports import CountNewVersion
from tidemill_ingest.profiles.profile_datasets import ProfileDatasets
from tidemill_ingest.profiles.read_profiles import ReadProfiles
from tidemill_ingest.profiles.reconcile import profiles_controller
from tidemill_ingest.projects import Projects
from tidemill_ingest.settings import IngestSettings
from tidemill_ingest.sources.ports import Sources
from tidemill_kit.erasure.documents import documents, erase_documents
from tidemill_kit.erasure.steps import Scope, Step, Target
from tidemill_kit.service.backend import Backend
from tidemill_kit.store.mongo import document_id


def wire_profiles(  # noqa: PLR0913 - what it shares with other features
    backend: Backend,
    settings: IngestSettings,
    *,
    sources: Sources,
    datasets: Datasets,
    parts: Parts,
    processes: Processes,
    projects: Projects,
    labels: Labels,
) -> tuple[Wired, CountNewVersion]:
    """Put ProfileService together, and what other features say to it of the versions that they store."""
    stored, days, clock = backend.database["profile_versions"], backend.database["profile_days"], SystemClock()
    versions, sketches = backend.indexed(MongoNewVersions(stored)), MongoSketches(days)
    count = CountVersions(
        versions=versions,
        sketches=sketches,
        outcomes=MongoOutcomes(backend.database["documents"]),
        clock=clock,
        limits=settings.limits,
        projects=projects,
        keep_days=settings.profile_days,
    )
    controller = profiles_controller(
        count,
        pending=backend.indexed(versions_due(stored, clock.now)),
        leases=backend.leases("profile_leases"),
        poll_interval=timedelta(seconds=settings.profile_poll_interval_s),
    )

    async def of_document(target: Target) -> int:
        below = document_id(target.project, target.subject)
        return await erase_documents(stored, {"_id": {"$gte": f"{below}/", "$lt": f"{below}0"}})

    of_datasets = ProfileDatasets(
        datasets=datasets, parts=parts, count=ProcessExamples(processes), labels=labels, limits=settings.limits
    )
    servicer = ProfileServicer(
        ReadProfiles(sources=sources, sketches=sketches, labels=labels), datasets=of_datasets, clock=clock
    )
    wired = Wired(
        servicer=(add_ProfileServiceServicer_to_server, servicer),
        workers=[controller],
        erasures={
            Scope.PROJECT: [documents("versions to be profiled", stored), documents("profiles", days)],
            Scope.DOCUMENT: [Step(kind="versions to be profiled", erase=of_document)],
        },
    )
    expect = ExpectVersions(versions=versions, enqueue=controller.enqueue) if settings.profile_days else ExpectNothing()
    return wired, expect
