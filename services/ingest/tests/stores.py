"""Ingest's aggregates in MongoDB, as its app has them."""

from collections.abc import Callable

from tidemill_core.errors import NotFound
from tidemill_ingest.datasets import mongo as datasets
from tidemill_ingest.datasets.domain.dataset import Dataset
from tidemill_ingest.documents import mongo as documents
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.errors import DatasetNotFound, DocumentNotFound, SourceNotFound
from tidemill_ingest.sources.domain import EventBinding, Source
from tidemill_ingest.sources.mongo import EVENT_BINDINGS, SOURCES
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database
from tidemill_kit.store.outbox import NewEvents

_SOURCE = "/tidemill/ingest"


def documents_in(
    database: Database, *, enqueue: Callable[[NewEvents], None] = lambda _: None
) -> MongoAggregates[Document]:
    return MongoAggregates(
        database["documents"],
        codec=documents.DOCUMENTS,
        topic=documents.TOPIC,
        source=_SOURCE,
        missing=DocumentNotFound,
        lists=[("source",), ("state",), ("source", "state"), ("source", "withheld")],
        enqueue=enqueue,
    )


def datasets_in(database: Database) -> MongoAggregates[Dataset]:
    return MongoAggregates(
        database["datasets"],
        codec=datasets.DATASETS,
        topic=datasets.TOPIC,
        source=_SOURCE,
        missing=DatasetNotFound,
        lists=[("state",)],
    )


def sources_in(database: Database) -> MongoAggregates[Source]:
    return MongoAggregates(database["sources"], codec=SOURCES, topic="", source=_SOURCE, missing=SourceNotFound)


def bindings_in(database: Database) -> MongoAggregates[EventBinding]:
    return MongoAggregates(database["event_bindings"], codec=EVENT_BINDINGS, topic="", source=_SOURCE, missing=NotFound)
