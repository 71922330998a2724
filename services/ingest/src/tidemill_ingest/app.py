"""The composition root: the features, and what they have from one another."""

from collections.abc import Mapping, Sequence
from functools import partial

from tidemill_core.application import SystemClock
from tidemill_ingest.datasets.wiring import wire_datasets
from tidemill_ingest.documents.wiring import wire_documents
from tidemill_ingest.feature import Wired, erasures_of
from tidemill_ingest.labels.wiring import wire_labels
from tidemill_ingest.polling.wiring import source_polls, wire_polling
from tidemill_ingest.profiles.wiring import wire_profiles
from tidemill_ingest.pseudonyms.wiring import wire_pseudonyms
from tidemill_ingest.settings import IngestSettings
from tidemill_ingest.sources.known_sources import KnownSources
from tidemill_ingest.sources.mongo import sources_to_judge_by
from tidemill_ingest.sources.wiring import bind_events, wire_sources
from tidemill_ingest.stores import Shared, shared_by_features
from tidemill_kit.service.app import App
from tidemill_kit.service.backend import Backend


async def build_app(settings: IngestSettings, *, environment: Mapping[str, str] | None = None) -> App:
    """Put the service together; nothing runs yet.

    `environment` holds the secrets INGEST_SECRET_<PROJECT>__<NAME>.
    """
    backend = Backend(settings)
    for bucket in (settings.quarantine_bucket, settings.exchange_bucket, settings.datasets_bucket):
        backend.on_start(partial(backend.objects.ensure_bucket, bucket))
    shared = shared_by_features(backend, settings)
    events = bind_events(backend, shared.sources)
    profiles, count_version = wire_profiles(
        backend,
        settings,
        sources=shared.sources,
        datasets=shared.datasets,
        parts=shared.parts,
        processes=shared.processes,
        projects=shared.projects,
        labels=shared.labels,
    )
    secrets, pseudonyms = wire_pseudonyms(backend, settings, projects=shared.projects)
    of_documents = wire_documents(
        backend,
        settings,
        sources=shared.sources,
        find_source=KnownSources(events=events, clock=SystemClock()),
        changed_sources=backend.indexed(sources_to_judge_by(backend.database["sources"])),
        documents=shared.documents,
        processes=shared.processes,
        projects=shared.projects,
        profiles=count_version,
        secrets=secrets,
        labels=shared.labels,
    )
    polls = source_polls(backend)
    polling, enqueue = wire_polling(
        backend,
        settings,
        sources=shared.sources,
        polls=polls,
        submissions=of_documents.polled,
        projects=shared.projects,
        environment=environment or {},
    )
    of_sources = wire_sources(
        backend,
        sources=shared.sources,
        events=events,
        forget=of_documents.forget,
        polls=polls,
        enqueue=enqueue,
        pseudonyms=secrets.seals is not None,
    )
    labels = wire_labels(backend, settings, labels=shared.labels, documents=shared.documents, projects=shared.projects)
    features = [pseudonyms, of_sources, polling, profiles, of_documents, labels]
    features.append(_of_datasets(backend, settings, shared))
    return _app(backend, features)


def _of_datasets(backend: Backend, settings: IngestSettings, shared: Shared) -> Wired:
    return wire_datasets(
        backend,
        settings,
        datasets=shared.datasets,
        parts=shared.parts,
        documents=shared.documents,
        processes=shared.processes,
        projects=shared.projects,
        labels=shared.labels,
    )


def _app(backend: Backend, features: Sequence[Wired]) -> App:
    return backend.app(
        servicers=[each.servicer for each in features if each.servicer],
        consumers=[consumer for each in features for consumer in each.consumers],
        components=[component for each in features for component in each.components],
        workers=[worker for each in features for worker in each.workers],
        erasures=erasures_of(features),
    )
