"""What the features of ingest share: stores, the parts of datasets, processes and projects."""

from dataclasses import dataclass

from tidemill_ingest.datasets.mongo import DATASETS
from tidemill_ingest.datasets.mongo import TOPIC as DATASETS_TOPIC
from tidemill_ingest.datasets.objects import DatasetParts
from tidemill_ingest.datasets.ports import Datasets
from tidemill_ingest.documents.mongo import DOCUMENTS, TOPIC
from tidemill_ingest.documents.ports import Documents
from tidemill_ingest.errors import DatasetNotFound, DocumentNotFound, SourceNotFound
from tidemill_ingest.known_projects import KnownProjects
from tidemill_ingest.labels.mongo import COLLECTION, MongoLabels
from tidemill_ingest.processes import Processes
from tidemill_ingest.settings import IngestSettings
from tidemill_ingest.sources.mongo import SOURCES
from tidemill_ingest.sources.ports import Sources
from tidemill_kit.service.backend import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What features share."""

    sources: Sources
    documents: Documents
    datasets: Datasets
    parts: DatasetParts
    processes: Processes
    projects: KnownProjects
    labels: MongoLabels


def shared_by_features(backend: Backend, settings: IngestSettings) -> Shared:
    """Put together what the features share."""
    return Shared(
        sources=backend.aggregates("sources", SOURCES, missing=SourceNotFound, quota=settings.quota("sources")),
        documents=_documents(backend),
        datasets=_datasets(backend, settings),
        parts=DatasetParts(backend.objects, settings.datasets_bucket),
        processes=_processes(settings),
        projects=KnownProjects(backend),
        labels=backend.indexed(MongoLabels(backend.database[COLLECTION])),
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
        in_rounds=True,
    )


def _processes(settings: IngestSettings) -> Processes:
    return Processes(
        workers=settings.preparation_workers, cpu_s=settings.preparation_cpu_s, wall_s=settings.preparation_wall_s
    )
