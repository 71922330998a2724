"""The composition root: stores that features share, and the features."""

from collections.abc import Mapping
from functools import partial

from tidemill_core.application import SystemClock
from tidemill_ingest.datasets.mongo import DATASETS
from tidemill_ingest.datasets.mongo import TOPIC as DATASETS_TOPIC
from tidemill_ingest.datasets.objects import DatasetParts
from tidemill_ingest.datasets.ports import Datasets
from tidemill_ingest.datasets.wiring import wire_datasets
from tidemill_ingest.documents.mongo import DOCUMENTS, TOPIC
from tidemill_ingest.documents.ports import Documents
from tidemill_ingest.documents.wiring import shared_blocks, wire_documents
from tidemill_ingest.errors import DatasetNotFound, DocumentNotFound, SourceNotFound
from tidemill_ingest.feature import erasures_of
from tidemill_ingest.known_projects import KnownProjects
from tidemill_ingest.polling.wiring import source_polls, wire_polling
from tidemill_ingest.processes import Processes
from tidemill_ingest.profiles.wiring import wire_profiles
from tidemill_ingest.pseudonyms.wiring import wire_pseudonyms
from tidemill_ingest.settings import IngestSettings
from tidemill_ingest.sources.known_sources import KnownSources
from tidemill_ingest.sources.mongo import SOURCES, sources_to_judge_by
from tidemill_ingest.sources.wiring import bind_events, wire_sources
from tidemill_kit.service.app import App
from tidemill_kit.service.backend import Backend


async def build_app(settings: IngestSettings, *, environment: Mapping[str, str] | None = None) -> App:
    """Put the service together; nothing runs yet.

    `environment` holds the secrets INGEST_SECRET_<PROJECT>__<NAME>.
    """
    backend = Backend(settings)
    for bucket in (settings.quarantine_bucket, settings.exchange_bucket, settings.datasets_bucket):
        backend.on_start(partial(backend.objects.ensure_bucket, bucket))
    sources = backend.aggregates("sources", SOURCES, missing=SourceNotFound, quota=settings.quota("sources"))
    documents = _documents(backend)
    events = bind_events(backend, sources)
    find_source = KnownSources(events=events, clock=SystemClock())
    processes = _processes(settings)
    projects = KnownProjects(backend)
    datasets = _datasets(backend, settings)
    parts = DatasetParts(backend.objects, settings.datasets_bucket)
    profiles, count_version = wire_profiles(
        backend,
        settings,
        sources=sources,
        datasets=datasets,
        parts=parts,
        processes=processes,
        projects=projects,
    )
    secrets, pseudonyms = wire_pseudonyms(backend, settings, projects=projects)
    polls = source_polls(backend)
    of_documents = wire_documents(
        backend,
        settings,
        sources=sources,
        find_source=find_source,
        changed_sources=backend.indexed(sources_to_judge_by(backend.database["sources"])),
        documents=documents,
        processes=processes,
        projects=projects,
        profiles=count_version,
        secrets=secrets,
    )
    polling = wire_polling(
        backend,
        settings,
        sources=sources,
        polls=polls,
        submissions=of_documents.polled,
        projects=projects,
        environment=environment or {},
    )
    features = [
        pseudonyms,
        wire_sources(
            backend,
            sources=sources,
            events=events,
            forget=shared_blocks(backend).remove_source,
            polls=polls,
            enqueue=polling.enqueue,
            pseudonyms=secrets.seals is not None,
            erasures=polling.erasures,
        ),
        profiles,
        of_documents,
        wire_datasets(
            backend,
            settings,
            datasets=datasets,
            parts=parts,
            documents=documents,
            processes=processes,
            projects=projects,
        ),
    ]
    return backend.app(
        servicers=[each.servicer for each in features if each.servicer],
        consumers=[consumer for each in features for consumer in each.consumers],
        components=[component for each in features for component in each.components],
        workers=[*(worker for each in features for worker in each.workers), polling.controller],
        erasures=erasures_of(features),
    )


def _datasets(backend: Backend, settings: IngestSettings) -> Datasets:
    return backend.aggregates(
        "datasets",
        DATASETS,
        missing=DatasetNotFound,
        topic=DATASETS_TOPIC,
        lists=[("state",)],
        quota=settings.quota("datasets"),
    )


def _documents(backend: Backend) -> Documents:
    return backend.aggregates(
        "documents",
        DOCUMENTS,
        missing=DocumentNotFound,
        topic=TOPIC,
        lists=[("source",), ("state",), ("source", "state"), ("source", "withheld"), ("parent",)],
    )


def _processes(settings: IngestSettings) -> Processes:
    return Processes(
        workers=settings.preparation_workers, cpu_s=settings.preparation_cpu_s, wall_s=settings.preparation_wall_s
    )
