"""Events of ingest and rag: documents, dataset versions, index versions."""

from dataclasses import dataclass
from datetime import datetime

from tidemill_monitor.domain.events import Counted, EventMeta, curation_ref, sources_of, version_id
from tidemill_monitor.domain.graph import NodeUpdate, Ref
from tidemill_monitor.domain.kinds import EMBEDDED, PUBLISHED_AS, VERSION_OF, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """The fields that are read of a document version."""

    number: int
    create_time: datetime
    revision: int = 0
    media_type: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentIsThere:
    """document.ingested and document.updated: there is a new version."""

    document: str
    seq: int
    version: VersionFacts
    source: str = ""
    key: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the document and its version."""
        version = self.version
        ref = Ref(Kind.DOCUMENT_VERSION, version_id(self.document, version.number))
        born = EventMeta(type=meta.type, time=version.create_time)
        document = meta.state(self.seq, state="present", version=version.number, source=self.source, key=self.key)
        facts = born.state(
            self.seq,
            source=self.source,
            key=self.key,
            revision=version.revision,
            media_type=version.media_type,
            language=version.language,
        )
        return (
            NodeUpdate(ref=Ref(Kind.DOCUMENT, self.document), part=document),
            NodeUpdate(ref=ref, part=facts, sources=sources_of(ref, (VERSION_OF, self.document))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentDeleted:
    """document.deleted: its versions stay in the history, and the document says that they are gone."""

    document: str
    seq: int
    source: str = ""
    key: str = ""
    erased: bool = False

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the document's new state."""
        state = "erased" if self.erased else "deleted"
        part = meta.state(self.seq, state=state, source=self.source, key=self.key)
        return (NodeUpdate(ref=Ref(Kind.DOCUMENT, self.document), part=part),)


@dataclass(frozen=True, slots=True)
class DocumentRejected(Counted):
    """document.rejected: what was current stays so, and no version was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPart:
    """The field that is read of a part of a dataset version."""

    examples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersionPublished:
    """dataset.version_published."""

    version: str
    seq: int
    curation: str
    curation_seq: int
    train: DatasetPart = DatasetPart()
    held_out: DatasetPart = DatasetPart()
    digest: str = ""
    deployment: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the version, which came from one completion of a curation."""
        train, held_out = self.train.examples, self.held_out.examples
        message = f"{self.version} is published: {train} examples to train on, {held_out} held out"
        facts = {"train": train, "held_out": held_out, "digest": self.digest, "deployment": self.deployment}
        ref = Ref(Kind.DATASET_VERSION, self.version)
        curation = curation_ref(self.curation, self.curation_seq).id if self.curation else ""
        part = meta.part(self.seq, message, **facts)
        return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (PUBLISHED_AS, curation))),)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersionWithheld:
    """dataset.version_withheld: without a version, the curation's node has the reason."""

    dataset: str
    seq: int
    curation: str
    curation_seq: int
    reason: str = ""
    message: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return what became of the curation."""
        message = f"no new version of {self.dataset}: {self.message or self.reason}"
        part = meta.part(self.seq, message, dataset=self.dataset, withheld=self.reason)
        return (NodeUpdate(ref=curation_ref(self.curation, self.curation_seq), part=part),)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBuildStarted:
    """index.build_started."""

    collection: str
    seq: int
    index: int
    embedding: str = ""

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the index version, which a model embeds."""
        ref = Ref(Kind.INDEX_VERSION, version_id(self.collection, self.index))
        part = meta.part(self.seq, state="building", embedding=self.embedding)
        return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (EMBEDDED, self.embedding))),)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexWentLive:
    """index.went_live: the one before is retired."""

    collection: str
    seq: int
    index: int
    replaced: int = 0
    documents: int = 0

    def updates(self, meta: EventMeta) -> tuple[NodeUpdate, ...]:
        """Return the index version, and the one that it replaced."""
        ref = Ref(Kind.INDEX_VERSION, version_id(self.collection, self.index))
        live = NodeUpdate(ref=ref, part=meta.part(self.seq, state="live", documents=self.documents))
        if not self.replaced:
            return (live,)
        before = Ref(Kind.INDEX_VERSION, version_id(self.collection, self.replaced))
        return (live, NodeUpdate(ref=before, part=meta.part(self.seq, state="retired")))


@dataclass(frozen=True, slots=True)
class CollectionDeleted(Counted):
    """index.collection_deleted: its index versions stay in the history."""
