"""The consumer of ingest's document events."""

from datetime import datetime

from pydantic import BaseModel

from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import PermissionDenied
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription
from tidemill_rag.indexing.domain.ledger import DesiredDocument
from tidemill_rag.indexing.record_document import RecordDocument

TOPIC = "tidemill.ingest.document.v1"
_GATHER_S = 0.1
"""Later than that nothing becomes searchable by it: many documents that come are embedded together anyway."""
INGESTED = "tidemill.ingest.document.ingested.v1"


class VersionFields(BaseModel):
    """The fields of a document version that rag reads."""

    number: int
    object: ObjectRef
    create_time: datetime | None = None


class DocumentDeleted(BaseModel):
    """The fields of document.deleted that rag reads."""

    document: str
    seq: int
    source: str
    key: str


class DocumentUpdated(DocumentDeleted):
    """The fields of document.ingested and document.updated that rag reads."""

    version: VersionFields


def documents(record: RecordDocument) -> Subscription:
    """Return the subscription. document.rejected is ignored: the version before it stays current."""

    async def there(event: EventContext, body: DocumentUpdated) -> None:
        content = body.version.object
        if not content.key.startswith(f"{event.project}/"):
            message = f"document {body.document} refers to content outside its project"
            raise PermissionDenied(message, document=body.document)
        desired = DesiredDocument(
            document=body.document,
            source=body.source,
            key=body.key,
            seq=body.seq,
            version=body.version.number,
            version_time=body.version.create_time,
            content=content,
            begins=INGESTED in {event.type, *event.supersedes},
        )
        await record(event.caller, desired)

    async def gone(event: EventContext, body: DocumentDeleted) -> None:
        await record(
            event.caller, DesiredDocument(document=body.document, source=body.source, key=body.key, seq=body.seq)
        )

    return Subscription(
        name="rag.documents",
        topics=(TOPIC,),
        delivery=Delivery.LATEST,
        gather_s=_GATHER_S,
        routes={
            INGESTED: Route(DocumentUpdated, there),
            "tidemill.ingest.document.updated.v1": Route(DocumentUpdated, there),
            "tidemill.ingest.document.deleted.v1": Route(DocumentDeleted, gone),
        },
    )
