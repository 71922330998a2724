"""Documents in MongoDB, and how far their sweep is."""

from collections.abc import Mapping, Sequence

from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.steps import Rejection
from tidemill_ingest.documents.domain.texts import TextUse, TextUses
from tidemill_ingest.documents.domain.version import Provenance, Text, Version
from tidemill_ingest.documents.messages import payload_of
from tidemill_ingest.documents.ports import SWEEP
from tidemill_kit.erasure.documents import erase_documents
from tidemill_kit.mapping import DocumentCodec, Form, as_pairs
from tidemill_kit.store.mongo import Collection, document_id, ids_of, translated
from tidemill_kit.workers.pending import PendingDocuments

TOPIC = "tidemill.ingest.document.v1"
_TEXT_FIELDS = {"id": 1, "state.source": 1, "state.state": 1} | {
    f"state.versions.{name}": 1 for name in ("object.key", "text", "superseded_at")
}


DOCUMENTS = DocumentCodec(
    Document,
    {
        Document: Form(
            omits={"keep"},
            sparse={"parent", "contents"},
            derived={"withheld": lambda document: "yes" if document.withheld else ""},
        ),
        Provenance: Form(sparse={"quality", "removed"}),
        Rejection: Form(renames={"reject_time": "rejected_at"}),
        Version: Form(
            renames={"create_time": "accepted_at"},
            fields={"metadata": as_pairs},
            sparse={"measures", "withheld", "duplicate", "released"},
        ),
    },
    event=payload_of,
)
"""`source`, `state`, `withheld` and `parent` filter lists; the controller of members queries `contents`."""


def documents_to_unpack(documents: Collection) -> PendingDocuments:
    """Find the documents whose members are to be read or deleted."""
    pending = "state.contents.pending"
    return PendingDocuments(documents, {pending: True}, index=pending, partialFilterExpression={pending: {"$eq": True}})


class MongoOutbox:
    """Implements `ports.Outbox`."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def waiting(self, project: str, document_id_: str) -> frozenset[int]:
        """See `ports.Outbox.waiting`."""
        with translated():
            found = await self._collection.find_one({"_id": document_id(project, document_id_)}, {"outbox.seq": True})
        return frozenset(entry["seq"] for entry in (found or {}).get("outbox", []))


class MongoVersionTexts:
    """Implements `ports.VersionTexts`."""

    def __init__(self, documents: Collection) -> None:
        self._documents = documents

    async def of(self, project: str, document_ids: Sequence[str]) -> Mapping[str, TextUses]:
        """See `VersionTexts.of`."""
        keys = [document_id(project, each) for each in document_ids]
        with translated():
            found = await self._documents.find({"_id": {"$in": keys}}, _TEXT_FIELDS).to_list(len(keys))
        return {
            each["id"]: TextUses(
                each["state"]["source"],
                tuple(
                    TextUse(version["object"]["key"], Text(version["text"]), version.get("superseded_at"))
                    for version in each["state"].get("versions", [])
                ),
                deleted=each["state"]["state"] == DocumentState.DELETED.value,
            )
            for each in found
        }


class MongoRecords:
    """Implements `ports.Records`, of documents and of what a process that accepts them stores beside them."""

    def __init__(self, *collections: Collection) -> None:
        self._collections = collections

    async def remove_all(self, project: str) -> None:
        """See `Records.remove_all`."""
        for collection in self._collections:
            while await erase_documents(collection, ids_of(project)):
                pass


class MongoSweepCursor:
    """Implements `ports.SweepCursor`: how far the sweep is stands beside its lease."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def position(self) -> str:
        """See `SweepCursor.position`."""
        with translated():
            found = await self._collection.find_one({"_id": SWEEP.key}, {"after": True})
        return str((found or {}).get("after", ""))

    async def advance(self, after: str, *, epoch: int) -> None:
        """See `SweepCursor.advance`."""
        with translated():
            await self._collection.update_one({"_id": SWEEP.key, "lease.epoch": epoch}, {"$set": {"after": after}})
