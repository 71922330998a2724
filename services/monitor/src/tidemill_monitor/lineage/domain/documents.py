"""What events of ingest and rag add to the graph."""

from tidemill_monitor.events.ingest import (
    DatasetVersionPublished,
    DatasetVersionWithheld,
    DocumentDeleted,
    DocumentIsThere,
)
from tidemill_monitor.events.meta import EventMeta, version_id
from tidemill_monitor.events.rag import IndexBuildStarted, IndexWentLive
from tidemill_monitor.lineage.domain.graph import NodeUpdate, Ref
from tidemill_monitor.lineage.domain.kinds import EMBEDDED, PUBLISHED_AS, VERSION_OF, Kind
from tidemill_monitor.lineage.domain.parts import Updates, curation_ref, event_part, sources_of, state_part, updates_of


@updates_of.register
def _(event: DocumentIsThere, meta: EventMeta) -> Updates:
    version = event.version
    ref = Ref(Kind.DOCUMENT_VERSION, version_id(event.document, version.number))
    born = EventMeta(type=meta.type, time=version.create_time)
    document = state_part(meta, event.seq, state="present", version=version.number, source=event.source, key=event.key)
    facts = state_part(
        born,
        event.seq,
        source=event.source,
        key=event.key,
        revision=version.revision,
        media_type=version.media_type,
        language=version.language,
    )
    return (
        NodeUpdate(ref=Ref(Kind.DOCUMENT, event.document), part=document),
        NodeUpdate(ref=ref, part=facts, sources=sources_of(ref, (VERSION_OF, event.document))),
    )


@updates_of.register
def _(event: DocumentDeleted, meta: EventMeta) -> Updates:
    state = "erased" if event.erased else "deleted"
    part = state_part(meta, event.seq, state=state, source=event.source, key=event.key)
    return (NodeUpdate(ref=Ref(Kind.DOCUMENT, event.document), part=part),)


@updates_of.register
def _(event: DatasetVersionPublished, meta: EventMeta) -> Updates:
    train, held_out = event.train.examples, event.held_out.examples
    message = f"{event.version} is published: {train} examples to train on, {held_out} held out"
    ref = Ref(Kind.DATASET_VERSION, event.version)
    curation = curation_ref(event.curation, event.curation_seq).id if event.curation else ""
    facts = {"digest": event.digest, "deployment": event.deployment}
    part = event_part(meta, event.seq, message, train=train, held_out=held_out, **facts)
    return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (PUBLISHED_AS, curation))),)


@updates_of.register
def _(event: DatasetVersionWithheld, meta: EventMeta) -> Updates:
    message = f"no new version of {event.dataset}: {event.message or event.reason}"
    part = event_part(meta, event.seq, message, dataset=event.dataset, withheld=event.reason)
    return (NodeUpdate(ref=curation_ref(event.curation, event.curation_seq), part=part),)


@updates_of.register
def _(event: IndexBuildStarted, meta: EventMeta) -> Updates:
    ref = Ref(Kind.INDEX_VERSION, version_id(event.collection, event.index))
    part = event_part(meta, event.seq, state="building", embedding=event.embedding)
    return (NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (EMBEDDED, event.embedding))),)


@updates_of.register
def _(event: IndexWentLive, meta: EventMeta) -> Updates:
    ref = Ref(Kind.INDEX_VERSION, version_id(event.collection, event.index))
    live = NodeUpdate(ref=ref, part=event_part(meta, event.seq, state="live", documents=event.documents))
    if not event.replaced:
        return (live,)
    before = Ref(Kind.INDEX_VERSION, version_id(event.collection, event.replaced))
    return (live, NodeUpdate(ref=before, part=event_part(meta, event.seq, state="retired")))
